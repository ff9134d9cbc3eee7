# Two hypervisors for the tests of the daemon: real libvirtd with QEMU's emulation, each in a mount and network namespace
# of its own, joined by a cable each to a world of this test, in which HAProxy and autoscale run. Sourced after
# platform.sh, whose words keep their meaning with virtual machines in the place of containers:
#
#     enter_world "$0"                     first of all, before common.sh: runs the test again in namespaces of its own
#     need_hypervisors                     skips the whole file where something is missing, and says what
#     start_world N1 N2                    guest, hypervisors 1 and 2 with room for so many machines beside a foreign one,
#                                          HAProxy with a foreign site
#     write_conf [NAME=VALUE…]             group `web` on both hypervisors
#     hv K virsh's words…                  asks hypervisor K
#     start_hypervisor K · kill_hypervisor K [SIGNAL]      its libvirtd
#     machines [K]                         names of our machines on K, or on both, sorted
#     take_names LINE…                     further lines of this world's /etc/hosts
#     wait_warm N M STATE [SECONDS]        N machines serve and M are paused or saved, for the daemon and in the hosts
#     left_over                            what there is of ours beside running machines: disks, addresses
#
# Guests of hypervisor K have addresses 10.90.K.x. The cables are 10.91.K.0/30. GUEST_POOL and GUEST_NETWORK name others than
# `pool` and `guests` to left_over.

GUEST_MEMORY=96MiB
CONNECT_TIMEOUT=30s # an emulated guest on a busy machine takes its time

enter_world() { # SCRIPT: what it starts ends with it, in whatever way
    [ -z "${IN_WORLD:-}" ] && [ "$(id -u)" = 0 ] && command -v unshare >/dev/null || return 0
    export IN_WORLD=1
    exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private bash "$@"
}

take_names() { # LINE…
    { cat /etc/hosts && printf '%s\n' "$@"; } >"$WORK/hosts" && mount --bind "$WORK/hosts" /etc/hosts
}

need_hypervisors() {
    local missing
    need_root
    need_command haproxy socat jq curl ip nsenter "${CC:-cc}"
    missing=$(bash "$E2E/lib/libvirtd.sh" missing | paste -sd';')
    [ -z "$missing" ] || skip_all "no virtual machine is tested: $missing"
    [ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
}

# --- the hypervisors ------------------------------------------------------------------------------------
uri() { # K
    printf 'qemu+unix:///system?socket=%s/hv%d/run/libvirt-sock' "$WORK" "$1"
}

hv() { # K virsh's words…
    timeout 20 virsh -q -c "$(uri "$1")" "${@:2}"
}

inside() { # K command…
    nsenter -t "${HV_HOLDER[$1]}" -m -n -- "${@:2}"
}

# A namespace is held by a process that sleeps; a cable of two ends leads to it.
make_host() { # K
    spawn "$WORK/hv$1.log" unshare --mount --net --propagation private sleep infinity || return 1
    HV_HOLDER[$1]=$SPAWN_PID
    wait_for 10 "the namespace of hypervisor $1" namespace_differs "$SPAWN_PID" || return 1
    ip link add "hv$1" type veth peer name cable netns "$SPAWN_PID" && ip addr add "10.91.$1.1/30" dev "hv$1" &&
        ip link set "hv$1" up && inside "$1" ip link set lo up && inside "$1" ip addr add "10.91.$1.2/30" dev cable &&
        inside "$1" ip link set cable up && inside "$1" ip route add default via "10.91.$1.1" &&
        inside "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' && ip route add "10.90.$1.0/24" via "10.91.$1.2"
}

namespace_differs() { # PID
    [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ] &&
        [ "$(readlink "/proc/$1/exe")" != "$(readlink -f "$(command -v unshare)")" ]
}

start_hypervisor() { # K
    inside "$1" bash "$E2E/lib/libvirtd.sh" start "$WORK/hv$1"
}

kill_hypervisor() { # K [SIGNAL]: its daemon; machines go on
    kill -s "${2:-KILL}" "$(cat "$WORK/hv$1/pid")"
}

# Somebody else's machine, which takes this many vcpus of the host, and somebody else's disk.
make_foreign() { # K VCPUS
    hv "$1" create /dev/stdin --paused <<XML >/dev/null || return 1
<domain type='qemu'><name>web-foreign</name><memory unit='MiB'>32</memory><vcpu>$2</vcpu><os><type>hvm</type></os></domain>
XML
    echo precious >"$WORK/hv$1/pool/autoscale.other.web-00000001.qcow2"
}

foreign_untouched() { # K
    [ "$(hv "$1" domstate web-foreign)" = paused ] &&
        [ "$(cat "$WORK/hv$1/pool/autoscale.other.web-00000001.qcow2")" = precious ] && [ -f "$WORK/hv$1/pool/base.qcow2" ]
}

# Both are as large as this machine; what the foreign machines take makes them unequal.
start_world() { # MACHINES-OF-1 MACHINES-OF-2
    local k cpus
    declare -gA HV_HOLDER=()
    ip link set lo up
    mkdir -p "$WORK/serial"
    cpus=$(nproc)
    OVERCOMMIT=$(awk -v n="$cpus" 'BEGIN { o = 8 / n; printf "%.4f", o < 0.1 ? 0.1 : o }')
    CAPACITY=$(awk -v n="$cpus" -v o="$OVERCOMMIT" 'BEGIN { printf "%d", n * o + 0.001 }')
    bash "$E2E/lib/libvirtd.sh" guest "$WORK" || bail "no guest can be made"
    for k in 1 2; do
        mkdir -p "$WORK/hv$k"
        make_host "$k" && start_hypervisor "$k" && bash "$E2E/lib/libvirtd.sh" base "$WORK/hv$k" &&
            make_foreign "$k" $((CAPACITY - ${!k})) || bail "hypervisor $k does not start"
    done
    SITE_ADDRESS=127.0.0.1 SITE=http://127.0.0.1:8080
    make_web && start_balancer || bail "the balancer does not start"
}

# --- the configuration ----------------------------------------------------------------------------------
compute_block() { # more lines…
    cat <<CONF
    compute = {
      driver = "libvirt"; hosts = [ "$(uri 1)", "$(uri 2)" ];
      base = "pool/base.qcow2"; pool = "pool"; memory = "$GUEST_MEMORY"; port = 8080; type = "qemu"; machine = "q35";
      network = "guests"; subnet = [ "10.90.1.0/24", "10.90.2.0/24" ]; forward = "open";
      range = [ "10.90.1.10-10.90.1.99", "10.90.2.10-10.90.2.99" ];
      kernel = "$WORK/kernel"; initrd = "$WORK/initrd"; serial_log = "$WORK/serial";
      cpu_overcommit = $OVERCOMMIT; stop_timeout = "20s"; timeout = "120s";
      $*
    };
CONF
}

write_conf() {
    local count=1 max=9 launches=2 policies= per_instance=5.0 compute= groups= boot_timeout=120s
    [ $# = 0 ] || local "$@"
    cat >"$CONF.new" <<CONF
controller = { name = "$CONTROLLER"; interval = "500ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = { lb = { driver = "haproxy"; address = "$ADMIN"; }; };
groups = {
  web = {
    min = $count; max = $max;
$(compute_block "launches = $launches; cmdline = \"console=ttyS0 quiet\"; $compute")
    health = { http = "/healthz"; interval = "250ms"; rise = 2; timeout = "5s"; fall = 6; boot_timeout = "$boot_timeout"; };
    balancer = { driver = "haproxy"; address = "$ADMIN"; backend = "web"; inter = "500ms"; rise = 1; fall = 20;
                 drain = "5s"; };
    policies = [ $policies ];
    scale_in = { window = "2s"; period = "1s"; };
  };
  $groups
};
policies = { load = { type = "target"; metric = "lb.web.request_rate"; per_instance = $per_instance; }; };
CONF
    mv "$CONF.new" "$CONF"
}

# --- what is really there -------------------------------------------------------------------------------
machines() { # [K]
    local k
    for k in ${1:-1 2}; do hv "$k" list --name; done | grep -E '^web-[0-9a-f]{8}$' | sort
}

containers() { machines; }

our_containers() { machines | sed 's/.*/- & running/'; }

existing() { # prints "name running|paused|saved"
    local k
    for k in 1 2; do
        hv "$k" list --all | awk '$2 ~ /^web-[0-9a-f]+$/ && length($2) == 12 { print $2, $3 == "shut" ? "saved" : $3 }'
    done | sort
}

in_state() { # STATE: names
    existing | sed -n "s/ $1\$//p"
}

is_warm() { # SERVING PARKED STATE
    [ "$(in_state running | grep -c .)" = "$1" ] && [ "$(in_state "$3" | grep -c .)" = "$2" ] &&
        [ "$(existing | grep -c .)" = $(($1 + $2)) ] && [ "$(up_members)" = "$(in_state running)" ] &&
        [ "$(members)" = "$(up_members)" ] &&
        [ "$(status_json | jq -r '.groups[0] | "\(.serving) \(.parked) \(.footprint)"')" = "$1 $2 $(($1 + $2))" ]
}

wait_warm() { # SERVING PARKED STATE [SECONDS]
    wait_for "${4:-90}" "$1 that serve and $2 $3" is_warm "$@" && return 0
    note "existing: $(existing | tr '\n' ';') members: $(backend_rows web | tr '\n' ';')"
    note "instances: $(instances | tr '\n' ';') $(group_field summary) $(group_field blocked)"
    return 1
}

left_over() { # disks and addresses that no machine has
    local k
    for k in 1 2; do
        comm -23 <({
            ls "$WORK/hv$k/${GUEST_POOL:-pool}" | sed -nE "s/^autoscale\.$CONTROLLER\.(.*)\.[a-z0-9]+$/\1/p"
            hv "$k" net-dumpxml "${GUEST_NETWORK:-guests}" 2>/dev/null | sed -nE "s/.*<host mac=.* name='([^']*)'.*/\1/p"
        } | sort -u) <(machines "$k")
    done
}
