#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ends a cluster that up.sh started, also one of which parts were killed: its jobs, its own daemons, its network.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/slurm/common.sh
source "$here/common.sh"

usage() {
    cat <<'USAGE'
usage: tests/slurm/down.sh -d STATE_DIR [-p BASE_PORT] [--keep]

  -d STATE_DIR   the folder that up.sh was given
  -p BASE_PORT   where the folder is gone: the base port of the cluster that was in it
  --keep         leave the folder, with the daemons' logs
USAGE
}

bad_usage() { printf 'down.sh: %s\n' "$*" >&2; usage >&2; exit 2; }

dir='' port='' keep=0
while (($#)); do
    case $1 in
        -d | -p) (($# > 1)) || bad_usage "$1 needs a value" ;;&
        -d) dir=$2; shift 2 ;;
        -p) port=$2; shift 2 ;;
        --keep) keep=1; shift ;;
        -h | --help) usage; exit 0 ;;
        *) bad_usage "unknown option $1" ;;
    esac
done
[[ -n $dir ]] || bad_usage "-d STATE_DIR is missing"
if [[ -d $dir ]]; then dir=$(cd "$dir" && pwd); fi
if [[ -z $port && -f $dir/$mark ]]; then port=$(<"$dir/$mark"); fi
if [[ -z $port ]]; then
    echo "down.sh: there is no cluster in $dir: nothing is done" >&2
    exit 0
fi
[[ $port =~ ^[0-9]+$ ]] || bad_usage "$port is no base port"
set_names "$port"
if ! has_mark "$dir" && ! is_ours "$dir"; then
    die "neither is there a mark of the cluster at base port $port in $dir, nor was it started in there: nothing is done"
fi
export SLURM_CONF=$dir/slurm.conf

still_running() { [[ -n $(timeout 5 squeue --noheader 2>/dev/null) ]]; }
if [[ -r $SLURM_CONF && -n $(daemons "$dir") ]]; then
    timeout 5 squeue --noheader --format=%i 2>/dev/null |
        timeout 10 xargs --no-run-if-empty scancel --quiet 2>/dev/null
    for ((attempt = 0; attempt < 75; attempt++)); do
        still_running || break
        sleep 0.2
    done
fi

end_daemons() { # SIGNAL
    local pid
    for pid in $(daemons "$dir"); do kill "-$1" "$pid" 2>/dev/null; done
}
end_daemons TERM
for ((attempt = 0; attempt < 50; attempt++)); do
    [[ -n $(daemons "$dir") ]] || break
    sleep 0.1
done
end_daemons KILL

if is_ours "$dir"; then
    for namespace in $(ip netns list | cut -d ' ' -f 1 | grep -x "${node_prefix}[0-9]*"); do
        # Whatever runs in a node's network was started there: programs that outlived their job.
        for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid" 2>/dev/null; done
        ip netns delete "$namespace"
    done
    if ip link show "$bridge" >/dev/null 2>&1; then ip link delete "$bridge"; fi
    write_hosts "$port" </dev/null
    rm -rf "$claim"
fi
if [[ -r $dir/minder.pid ]]; then
    minder=$(<"$dir/minder.pid")
    # With an owner gone the minder has become this very process.
    if ((minder != $$)) && tr '\0' ' ' 2>/dev/null <"/proc/$minder/cmdline" | grep -qF -- "down.sh -d $dir"; then
        kill -TERM -- "-$minder" 2>/dev/null
    fi
fi
if ((!keep)) && has_mark "$dir"; then
    rm -rf "$dir"
elif ((!keep)) && [[ -e $dir ]]; then
    echo "down.sh: $dir is left as it is: it has no mark of that cluster, so somebody made it anew" >&2
fi
echo "slurm is down: $dir"
