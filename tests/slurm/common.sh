# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# What up.sh and down.sh share: the names that a base port gives, which processes are a cluster's, /etc/hosts.

mark=.open-r1-slurm # in a cluster's folder, with its base port

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# All names come from the base port, a multiple of 100, so that clusters on one machine don't meet. The addresses lie
# in 198.18.0.0/15, which no network uses (RFC 2544); with --shared-network in 127.0.0.0/8.
set_names() {
    port=$1
    slot=$((port / 100))
    claim=/run/open-r1-slurm-$port
    bridge=or1slurm$slot
    node_prefix=p${port}n
    subnet=198.$((18 + slot / 256)).$((slot % 256))
    loopback=127.$((18 + slot / 256)).$((slot % 256))
}

# Daemons of the cluster in the folder $1: by their names and the configuration that they were started with.
daemons() {
    local process
    for process in /proc/[0-9]*; do
        case $(cat "$process/comm" 2>/dev/null || true) in
            munged | slurmctld | slurmscriptd | slurmd | slurmstepd) ;;
            *) continue ;;
        esac
        if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qxF "SLURM_CONF=$1/slurm.conf"; then
            printf '%s\n' "${process#/proc/}"
        fi
    done
}

# Whether the port of set_names belongs to the cluster in the folder $1, and to no other one by now.
is_ours() { [[ $(cat "$claim/folder" 2>/dev/null || true) == "$1" ]]; }

# Whether the folder $1 is that of a cluster at the port of set_names: up.sh leaves this mark in it, and nothing without
# the mark is deleted. A folder of the same name may have been made anew since.
has_mark() { [[ -f $1/$mark && $(<"$1/$mark") == "$port" ]]; }

# Puts stdin into /etc/hosts for the cluster at port $1; without input takes its lines out. The file is written in
# place: in a container it is a mount, which nothing can be renamed over. It is never empty meanwhile, since a cluster
# beside this one looks names up in it.
write_hosts() {
    local begin="# BEGIN open-r1-slurm $1" end="# END open-r1-slurm $1" block rest LC_ALL=C
    block=$(cat)
    exec 8</etc/hosts
    flock 8
    rest=$(awk -v begin="$begin" -v end="$end" \
        'index($0 " ", begin " ") == 1 {skip = 1} !skip {print} index($0 " ", end " ") == 1 {skip = 0}' /etc/hosts)
    if [[ -n $block ]]; then
        rest+=$'\n'$begin$'\n'$block$'\n'$end
    fi
    rest+=$'\n'
    { printf '%s' "$rest" 1<>/etc/hosts && truncate -s "${#rest}" /etc/hosts; } ||
        die "/etc/hosts cannot be written, and the nodes need names"
    exec 8<&-
}
