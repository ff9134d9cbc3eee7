#!/usr/bin/env bash
# A Docker host, a hypervisor, a page, a program and what a probe asks, that hang, die, answer garbage and come back, while a
# group depends on all of them; see lib/failing.sh. The servers of a platform are in sources_failing.sh. Without root, or
# where there is no Docker or no libvirt, the others are still tested.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/dockerd.sh"
. "$E2E/lib/failing.sh"

PATH=$PATH:/usr/sbin
need_command socat jq busybox curl
[ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
[ -z "${IN_WORLD:-}" ] || ip link set lo up
SUBJECTS=(web shop command)
PORT[shop]=$(pick_port)
SOURCE[shop]="driver = \"probe\"; url = \"http://127.0.0.1:${PORT[shop]}/load\";"
SOURCE[boxes]="driver = \"docker\"; hosts = [ \"unix://$WORK/docker/docker.sock\" ];"
SOURCE[machines]="driver = \"libvirt\"; hosts = [ \"qemu+unix:///system?socket=$WORK/hv/run/libvirt-sock\" ];"
METRIC+=([shop]=shop.latency_ms [boxes]=boxes.job.instances [machines]=machines.job.instances)

start_shop() { serve_knobs shop; } # what the probe asks

# --- a Docker host with one container of ours ---------------------------------------------------------------
docker_api() { # METHOD PATH [curl option…]
    _dk_curl "$WORK/docker" "$2" -X "$1" -m 30 "${@:3}"
}

make_container() {
    bash "$E2E/lib/dockerd.sh" image "$WORK/docker" bb:1 &&
        docker_api POST '/containers/create?name=job-00000001' -f -o /dev/null -H 'Content-Type: application/json' -d @- <<JSON
{ "Image": "bb:1", "Cmd": ["sleep", "100000"], "HostConfig": { "NetworkMode": "none" }, "Labels":
  { "autoscale.controller": "sources-$$", "autoscale.group": "job", "autoscale.instance": "job-00000001" } }
JSON
}

start_boxes() { # a daemon that was killed has lost what ran in it
    local first=
    [ -d "$WORK/docker" ] || first=1
    start_dockerd "$WORK/docker" || return 1
    PID[boxes]=$(<"$WORK/docker/pid")
    own_pid "${PID[boxes]}"
    [ -z "$first" ] || make_container || return 1
    docker_api POST /containers/job-00000001/start -f -o /dev/null
}

# Garbage of two kinds: what is no HTTP, and what is HTTP but nothing else.
garbage_boxes() {
    rm -f "$WORK/docker/docker.sock"
    # shellcheck disable=SC2016
    garbage_at "UNIX-LISTEN:$WORK/docker/docker.sock" '[ $(($$ % 2)) = 0 ] ||
        printf "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3000\r\n\r\n"
        head -c 3000 /dev/urandom' && wait_for 60 "the garbage's socket" test -S "$WORK/docker/docker.sock"
}

# --- a hypervisor with one machine of ours ------------------------------------------------------------------
start_machines() { # the machine outlives the daemon
    local first=
    [ -d "$WORK/hv" ] || first=1
    mkdir -p "$WORK/hv"
    bash "$E2E/lib/libvirtd.sh" start "$WORK/hv" || return 1
    PID[machines]=$(<"$WORK/hv/pid")
    own_pid "${PID[machines]}"
    [ -z "$first" ] || virsh -q -c "qemu+unix:///system?socket=$WORK/hv/run/libvirt-sock" create /dev/stdin <<XML
<domain type='qemu'><name>job-00000002</name><memory unit='MiB'>32</memory><os><type>hvm</type></os>
  <metadata><autoscale:instance xmlns:autoscale='urn:autoscale:instance:1' controller='sources-$$' group='job'
    id='job-00000002' revision='r1' created='1700000000'/></metadata>
</domain>
XML
}

# Garbage of two kinds: what has no length, and what is as long as it says.
garbage_machines() {
    rm -f "$WORK/hv/run/libvirt-sock"
    # shellcheck disable=SC2016
    garbage_at "UNIX-LISTEN:$WORK/hv/run/libvirt-sock" '[ $(($$ % 2)) = 0 ] || printf "\\0\\0\\13\\270"
        head -c 2996 /dev/urandom' && wait_for 60 "the garbage's socket" test -S "$WORK/hv/run/libvirt-sock"
}

# --- all of them --------------------------------------------------------------------------------------------
if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
    skip sources_on_docker "needs root and dockerd"
else
    SUBJECTS+=(boxes)
    cleanup_add 'stop_dockerd "$WORK/docker" 2>/dev/null'
fi
MISSING=$(bash "$E2E/lib/libvirtd.sh" missing | paste -sd';')
if [ "$(id -u)" != 0 ] || [ -n "$MISSING" ]; then
    skip sources_on_hypervisors "${MISSING:-needs root}"
else
    SUBJECTS+=(machines)
fi
fail_one_by_one "${SUBJECTS[@]}"
finish
