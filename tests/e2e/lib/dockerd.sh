#!/bin/bash
# A private Docker daemon for tests: own data, own containerd, own socket, all in one directory; it never
# touches a Docker that the machine already runs. Source it for the functions, or call it:
#     dockerd.sh start DIR [NETNS|-] [dockerd option...]     dockerd.sh stop DIR
# Needs root and dockerd, curl, busybox (static), ip, tar. The socket is DIR/docker.sock.
#
# Without NETNS the daemon lives in the caller's network namespace: containers publish on its
# 127.0.0.x through docker-proxy, with no iptables rule and no sysctl changed. Bridges are removed by
# stop_dockerd.

_dk_curl() { # DIR PATH [curl option...]
    local dir=$1 path=$2
    shift 2
    curl -s --noproxy '*' --unix-socket "$dir/docker.sock" "$@" "http://docker/v1.41$path"
}

# The processes of this daemon: those whose command line names its run directory (dockerd, containerd, shims),
# and those whose root is a container's file system below its data (they outlive a killed daemon and shim).
_dk_pids_of() { # DIR
    local p
    for p in /proc/[0-9]*; do
        [ "${p#/proc/}" = $$ ] || [ "${p#/proc/}" = "$BASHPID" ] && continue
        grep -qasF -- "$1/exec" "$p/cmdline" ||
            grep -qsE -- "^[0-9]+ [0-9]+ [0-9:]+ / / .*=$1/data/" "$p/mountinfo" || continue
        echo "${p#/proc/}"
    done
}

_dk_wait_gone() { # SECONDS PID...: false when one of them is still there
    local until=$((SECONDS + $1)) p
    shift
    for p; do
        while [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null; do
            [ $SECONDS -lt $until ] || return 1
            sleep 0.05
        done
    done
}

# Starts the daemon and returns when it answers (0.2 s as a rule). Also restarts a killed one.
start_dockerd() ( # DIR [NETNS|-] [dockerd option...]
    set +e # also for callers with set -e
    local dir=$1 netns=${2:--} enter=()
    shift; [ $# -gt 0 ] && shift
    [ "$netns" = - ] || enter=(nsenter "--net=/run/netns/$netns")
    mkdir -p "$dir"
    if grep -qaF -- "$dir/" "/proc/$(cat "$dir/pid" 2>/dev/null || echo none)/cmdline" 2>/dev/null; then
        echo "dockerd in $dir is already running" >&2
        return 1
    fi
    # A containerd that died with its dockerd may stay a zombie; dockerd would wait for it in vain.
    grep -qaF -- "$dir/" "/proc/$(cat "$dir/exec/containerd/containerd.pid" 2>/dev/null || echo none)/cmdline" \
        2>/dev/null || rm -f "$dir/exec/containerd/containerd.pid"
    echo '{}' >"$dir/daemon.json"
    rm -f "$dir/pid" "$dir/docker.sock"
    setsid "${enter[@]}" dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" \
        --exec-root "$dir/exec" --pidfile "$dir/pid" -H "unix://$dir/docker.sock" \
        --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
        --userland-proxy=true --log-level=warn "$@" </dev/null >>"$dir/log" 2>&1 &
    local pid=$! until=$((SECONDS + 90))
    until [ -S "$dir/docker.sock" ] && _dk_curl "$dir" /_ping -f -m 10 >/dev/null; do
        if [ $SECONDS -ge $until ] || ! [ -d "/proc/$pid" ]; then
            echo "dockerd in $dir did not start:" >&2
            tail -n 5 "$dir/log" >&2
            return 1
        fi
        sleep 0.02
    done
)

# Removes containers and networks, ends the daemon, its containerd and shims, unmounts and deletes DIR.
# Works on a paused, killed or half-started daemon too.
stop_dockerd() ( # DIR
    set +e
    local dir=$1 id pid bridges
    [ -d "$dir" ] || return 0
    pid=$(cat "$dir/pid" 2>/dev/null)
    grep -qaF -- "$dir/" "/proc/${pid:-none}/cmdline" 2>/dev/null || pid= # the number may be another's by now
    [ -n "$pid" ] && kill -CONT "$pid"
    for id in $(_dk_curl "$dir" '/containers/json?all=1' -m 5 | grep -oE '"Id":"[0-9a-f]{64}"' | cut -d'"' -f4); do
        _dk_curl "$dir" "/containers/$id?force=1&v=1" -m 10 -X DELETE >/dev/null
    done
    bridges=$(grep -aohE '"BridgeName":"[^"/]+"' "$dir/data/network/files/local-kv.db" 2>/dev/null |
        cut -d'"' -f4 | sort -u)
    if [ -n "$pid" ]; then
        local ns=(nsenter "--net=/proc/$pid/ns/net") b
        for b in $bridges; do "${ns[@]}" ip link del "$b" 2>/dev/null; done
        kill "$pid"
        _dk_wait_gone 30 "$pid" || kill -KILL "$pid" 2>/dev/null
    fi
    local rest b
    for b in $bridges; do ip link del "$b" 2>/dev/null; done
    rest=$(_dk_pids_of "$dir" | tr '\n' ' ')
    # shellcheck disable=SC2086
    [ -z "$rest" ] || { kill -KILL $rest 2>/dev/null; _dk_wait_gone 30 $rest; }
    awk -v d="$dir/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r m; do umount -l "$m"; done
    rm -rf "$dir"
)

# SIGKILL to the daemon, as after a crash: containers and their shims go on, containerd dies with it. Returns
# when its socket refuses connections (threads of a killed process end one after the other).
kill_dockerd() ( # DIR
    set +e
    local pid rc=0
    pid=$(cat "$1/pid") && kill -KILL "$pid" || return 1
    while [ $rc != 7 ]; do
        _dk_curl "$1" /_ping -m 1 >/dev/null
        rc=$?
    done
)

# A root file system with busybox (sh, httpd, sleep, ...) and /www/index.html.
busybox_rootfs() { # ROOT
    local a busybox
    busybox=$(command -v busybox)
    mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/www" "$1/proc" "$1/dev" "$1/sys"
    cp "$busybox" "$1/bin/busybox"
    for a in sh httpd sleep cat echo nc wget; do ln -sf busybox "$1/bin/$a"; done
    echo hello >"$1/www/index.html"
}

# Makes an image out of a directory, with no registry. COMMAND is what runs in it when nobody says otherwise.
load_image() { # DIR NAME:TAG ROOT [COMMAND]
    local answer
    answer=$(tar -C "$3" --owner=0 --group=0 -c . |
        _dk_curl "$1" "/images/create?fromSrc=-&repo=${2%:*}&tag=${2##*:}${4:+&changes=CMD%20%5B%22$4%22%5D}" \
        -X POST -H 'Content-Type: application/x-tar' --data-binary @-)
    case $answer in
    *'"status":"sha256:'*) ;;
    *) echo "image $2: $answer" >&2; return 1 ;;
    esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    command=$1
    shift
    case $command in
    start) start_dockerd "$@" ;;
    stop) stop_dockerd "$@" ;;
    kill) kill_dockerd "$@" ;;
    image) rootfs=$(mktemp -d) && busybox_rootfs "$rootfs" && load_image "$1" "$2" "$rootfs"; rc=$?; rm -rf "$rootfs"; exit $rc ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
fi
