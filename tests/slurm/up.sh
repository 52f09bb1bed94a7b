#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts a real Slurm with several nodes on this machine, without systemd. All that it writes lies in STATE_DIR, apart
# from a marked block in /etc/hosts and one bridge with a network namespace a node; down.sh takes all of it away.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/slurm/common.sh
source "$here/common.sh"

usage() {
    cat <<'USAGE'
usage: tests/slurm/up.sh -d STATE_DIR [-n NODES] [-g GPUS] [-c CPUS] [-p BASE_PORT] [-o PID] [--shared-network]

  -d STATE_DIR       empty or new folder for everything; jobs' users must be able to reach it
  -n NODES           number of nodes, 1 to 80 (default 2)
  -g GPUS            pretended GPUs a node (default 8)
  -c CPUS            pretended CPUs a node (default 16)
  -p BASE_PORT       multiple of 100; names, addresses and ports of a cluster come from it
                     (default $SLURM_BASE_PORT, else the first free one from 10000)
  -o PID             take the cluster down when this process has ended, however it ends
  --shared-network   nodes have addresses of their own, but not their own network: for containers that may not make
                     network namespaces. Two nodes then can't both listen on 0.0.0.0:8000.

Exit status: 3 where network namespaces are impossible, 1 for everything else that goes wrong.
Afterwards: source STATE_DIR/env.sh; sinfo; sbatch ...; tests/slurm/down.sh -d STATE_DIR
USAGE
}

bad_usage() { printf 'up.sh: %s\n' "$*" >&2; usage >&2; exit 2; }

dir='' nodes=2 gpus=8 cpus=16 base=${SLURM_BASE_PORT:-} owner='' namespaces=1
while (($#)); do
    case $1 in
        --shared-network) namespaces=0; shift; continue ;;
        -h | --help) usage; exit 0 ;;
        -[dngcpo]) (($# > 1)) || bad_usage "$1 needs a value" ;;
        *) bad_usage "unknown option $1" ;;
    esac
    case $1 in
        -d) dir=$2 ;;
        -n) nodes=$2 ;;
        -g) gpus=$2 ;;
        -c) cpus=$2 ;;
        -p) base=$2 ;;
        -o) owner=$2 ;;
    esac
    shift 2
done
[[ -n $dir ]] || bad_usage "-d STATE_DIR is missing"
for number in "$nodes" "$gpus" "$cpus" "${base:-0}" "${owner:-0}"; do
    [[ $number =~ ^[0-9]+$ ]] || bad_usage "$number is no number"
done
((nodes >= 1 && nodes <= 80 && cpus >= 1)) || bad_usage "a cluster has 1 to 80 nodes with at least one CPU each"
if [[ -n $base ]]; then
    ((base % 100 == 0 && base >= 1100 && base <= 51100)) ||
        bad_usage "the base port is a multiple of 100 from 1100 to 51100, not $base"
fi

# Configuration files and munge's socket, whose path has 108 bytes at most.
[[ $dir =~ ^[[:alnum:]_./+-]+$ ]] || bad_usage "STATE_DIR has letters, digits and _ . / + - in its name, not $dir"
dir=$(realpath -m "$dir")
((${#dir} <= 90)) || bad_usage "$dir is too long a path: munge's socket in it may have 108 bytes"

(($(id -u) == 0)) || die "must be run by root: slurmd starts jobs as the users who submit them"
for program in slurmctld slurmd munged ip nsenter unshare flock; do
    command -v "$program" >/dev/null ||
        die "$program is missing: apt-get install slurm-wlm iproute2 (scripts/test_slurm.sh does)"
done
if [[ -d $dir && -n $(ls -A "$dir") ]]; then
    die "$dir is not empty; if a cluster is or was in it: tests/slurm/down.sh -d $dir"
fi

# Clusters of which nothing runs any more leave names and bridges behind: killed ones.
for old in /run/open-r1-slurm-*; do
    [[ -r $old/starting && -r $old/folder ]] || continue # none, or one that is being made
    if ! kill -0 "$(<"$old/starting")" 2>/dev/null && [[ -z $(daemons "$(<"$old/folder")") ]]; then
        "$here/down.sh" -d "$(<"$old/folder")" -p "${old##*-}"
    fi
done

no_namespaces() {
    echo "up.sh: network namespaces are impossible here ($1); in a container root needs CAP_NET_ADMIN and" \
        "CAP_SYS_ADMIN for them. Without them: --shared-network" >&2
    exit 3
}

# The first to make the folder has the port, whatever the kind of its network.
take() {
    set_names "$1"
    ! ip link show "$bridge" >/dev/null 2>&1 || return 1
    mkdir "$claim" 2>/dev/null || return 1
    printf '%s\n' "$$" >"$claim/starting"
    printf '%s\n' "$dir" >"$claim/folder"
}

mkdir -p "$dir"
if [[ -n $base ]]; then
    take "$base" || die "another cluster has the base port $base: that in $(cat "$claim/folder" 2>/dev/null || true)"
else
    for ((candidate = 10000; candidate < 20000; candidate += 100)); do
        ! take "$candidate" || break
    done
    ((candidate < 20000)) || die "all base ports from 10000 to 19900 are taken"
fi

printf '%s\n' "$port" >"$dir/$mark" # down.sh deletes no folder without it

give_up() {
    local status=$?
    if ((status != 3)); then
        printf 'up.sh: the cluster did not start; the ends of its logs:\n' >&2
        tail -n 8 "$dir"/log/* >&2 2>/dev/null || true
    fi
    "$here/down.sh" -d "$dir" -p "$port" >&2
    exit "$status"
}
trap give_up EXIT
mkdir -p "$dir"/{state,log,gpus,munge}
chmod 755 "$dir" "$dir"/{log,gpus}
chmod 700 "$dir"/state
chmod 711 "$dir"/munge
export SLURM_CONF=$dir/slurm.conf # daemons() knows ours by it

in_node=()
controller=127.0.0.1 addresses=$loopback
if ((namespaces)); then
    controller=$subnet.254 addresses=$subnet
    reason=$(ip link add "$bridge" type bridge 2>&1) || no_namespaces "$reason"
    ip address add "$controller/24" dev "$bridge"
    ip link set "$bridge" up
    for ((node = 1; node <= nodes; node++)); do
        namespace=$node_prefix$node
        reason=$(ip netns add "$namespace" 2>&1) || no_namespaces "$reason"
        ip link add "or1v$slot-$node" type veth peer name eth0 netns "$namespace"
        ip link set "or1v$slot-$node" master "$bridge" up
        ip -n "$namespace" link set lo up
        ip -n "$namespace" address add "$addresses.$node/24" dev eth0
        ip -n "$namespace" link set eth0 up
    done
fi

# --- Configuration. Jobs take their ports from their numbers, and ports repeat after 500: clusters beside each other count
# from different ones. Memory is a resource that jobs own, as on most sites; CPUs and GPUs are pretended. A requeued job
# waits for cred_expire, by default two minutes, unless cluster_bed.py ends the wait: that's short, but not shorter than a
# step may take to start on a busy machine. Whatever is told to end has a minute, what is preempted 20 seconds, and a job
# that ends at its time limit by itself is not overtaken.
for ((gpu = 0; gpu < gpus; gpu++)); do ln -s /dev/null "$dir/gpus/nvidia$gpu"; done
host=$(hostname -s)
node_names="${node_prefix}[1-$nodes]" node_hosts=$host node_ports=$((port + 11))
if ((namespaces)); then node_hosts=$node_names; fi
if ((nodes > 1)); then node_ports="[$((port + 11))-$((port + 10 + nodes))]"; fi
hardware="CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=64000"
if ((gpus > 0)); then hardware+=" Gres=gpu:h100:$gpus"; fi
cat >"$dir/slurm.conf" <<CONF
ClusterName=test$port
SlurmctldHost=$host($controller)
SlurmctldPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=20
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
EnforcePartLimits=ALL
ReturnToService=2
KillWait=60
OverTimeLimit=2
UnkillableStepTimeout=300
BatchStartTimeout=120
MessageTimeout=60
MinJobAge=86400
MaxJobCount=10000
FirstJobId=$((1 + slot % 5 * 100))
InactiveLimit=0
SlurmdTimeout=300
NodeName=$node_names NodeHostname=$node_hosts NodeAddr=$addresses.[1-$nodes] Port=$node_ports $hardware
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=gpu Nodes=ALL Default=YES MaxTime=30-0 OverSubscribe=NO GraceTime=20
PartitionName=cpu Nodes=ALL MaxTime=30-0 OverSubscribe=NO
PartitionName=urgent Nodes=ALL MaxTime=30-0 OverSubscribe=NO PriorityTier=2
CONF
: >"$dir/gres.conf"
if ((gpus > 0)); then
    echo "NodeName=$node_names Name=gpu Type=h100 File=$dir/gpus/nvidia[0-$((gpus - 1))]" >"$dir/gres.conf"
fi
echo "CgroupPlugin=cgroup/v1" >"$dir/cgroup.conf"
printf 'export SLURM_CONF=%q\n' "$dir/slurm.conf" >"$dir/env.sh"

# --- Daemons: munge with a key and a socket of this cluster's own, the controller, a slurmd in each node.
dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
chmod 400 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" --num-threads=2 2>"$dir/log/munged.out"
for ((node = 1; node <= nodes; node++)); do
    echo "$addresses.$node $node_prefix$node"
done | write_hosts "$port"
if [[ -n $owner ]]; then
    # shellcheck disable=SC2016  # the inner shell expands them
    setsid nohup bash -c 'tail --pid="$0" -f /dev/null; exec "$@"' "$owner" "$here/down.sh" -d "$dir" \
        >/dev/null 2>&1 </dev/null &
    echo $! >"$dir/minder.pid"
fi

start() {
    local log=$dir/log/$1.out
    shift
    setsid nohup "$@" >"$log" 2>&1 </dev/null &
}

start slurmctld slurmctld -D -c
for ((node = 1; node <= nodes; node++)); do
    name=$node_prefix$node
    mkdir -p "$dir/spool.$name"
    if ((namespaces)); then
        # shellcheck disable=SC2016  # the inner shell expands them
        in_node=(nsenter --net="/run/netns/$name" unshare --uts bash -c 'hostname "$0"; exec "$@"' "$name")
    fi
    start "slurmd.$name" "${in_node[@]}" slurmd -D -N "$name"
done

num_idle=0
end=$((SECONDS + 180))
while ((SECONDS < end)); do
    num_idle=$(sinfo --noheader --Node --partition=gpu --states=idle --format=%N 2>/dev/null | wc -l || true)
    ((num_idle < nodes)) || break
    sleep 0.1
done
((num_idle == nodes)) || die "after three minutes only $num_idle of $nodes nodes are ready"
if ((namespaces && nodes > 1)); then
    # shellcheck disable=SC2016
    nsenter --net="/run/netns/${node_prefix}1" timeout 30 bash -c 'exec 3<>"/dev/tcp/$0/$1"' \
        "$node_prefix$nodes" $((port + 10 + nodes)) ||
        die "the nodes can't reach each other: does a firewall drop what crosses bridges (iptables -L FORWARD)?"
fi
trap - EXIT
echo "slurm runs: source $dir/env.sh (nodes $node_names, base port $port)"
