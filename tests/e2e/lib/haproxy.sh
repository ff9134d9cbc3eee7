# HAProxy for tests: private processes, ended by pid and never by name. To be sourced; POSIX sh.
#
#   start_haproxy CONF DIR     starts a master with one worker and waits until DIR/admin.sock answers. CONF must have
#                              `stats socket DIR/admin.sock … level admin`. DIR gets haproxy.pid (the master) and
#                              haproxy.log. When it does not come up: the log on stderr, nothing left, returns 1.
#   reload_haproxy DIR         SIGUSR2, then waits until a new worker answers: run-time state is lost
#   restart_haproxy CONF DIR   stop and start
#   stop_haproxy DIR           ends master and workers and waits until they are gone; may be called twice
#   haproxy_cli DIR COMMAND    one exchange on DIR/admin.sock, the answer on stdout
#   haproxy_worker DIR         pid of the worker that answers now
#   hang_haproxy DIR           stops the worker (SIGSTOP): it accepts and never answers
#   wake_haproxy DIR           lets it go on
#   start_site DIR BIND NAME LINE…   for a test with common.sh: a HAProxy that listens on BIND, in front of a backend NAME
#                              that has these lines and no server; it ends with the test
#
# Needs haproxy and socat. HAPROXY names another binary; HAPROXY_TRIES is how many times 0.05 s to wait.

: "${HAPROXY:=haproxy}"
: "${HAPROXY_TRIES:=1200}"

haproxy_cli() {
    printf '%s\n' "$2" | socat -t15 - "UNIX-CONNECT:$1/admin.sock" 2>/dev/null
}

haproxy_worker() {
    haproxy_cli "$1" 'show info' | sed -n 's/^Pid: //p'
}

start_haproxy() {
    rm -f "$2/haproxy.pid" "$2/admin.sock"
    "$HAPROXY" -W -f "$1" -p "$2/haproxy.pid" >>"$2/haproxy.log" 2>&1 &
    _master=$!
    _tries=$HAPROXY_TRIES
    while [ "$_tries" -gt 0 ] && kill -0 "$_master" 2>/dev/null; do
        [ -n "$(haproxy_worker "$2")" ] && echo "$_master" >"$2/haproxy.pid" && return 0
        _tries=$((_tries - 1))
        sleep 0.05
    done
    echo "start_haproxy: $1 did not come up:" >&2
    tail -20 "$2/haproxy.log" >&2
    kill "$_master" 2>/dev/null
    wait "$_master" 2>/dev/null
    rm -f "$2/haproxy.pid"
    return 1
}

reload_haproxy() {
    _before=$(haproxy_worker "$1")
    kill -USR2 "$(cat "$1/haproxy.pid")" || return 1
    _tries=$HAPROXY_TRIES
    while [ "$_tries" -gt 0 ]; do
        _after=$(haproxy_worker "$1")
        [ -n "$_after" ] && [ "$_after" != "$_before" ] && return 0
        _tries=$((_tries - 1))
        sleep 0.05
    done
    echo "reload_haproxy: no new worker answers in $1" >&2
    return 1
}

stop_haproxy() {
    [ -f "$1/haproxy.pid" ] || return 0
    _master=$(cat "$1/haproxy.pid")
    _workers=$(cat "/proc/$_master/task/$_master/children" 2>/dev/null)
    # TERM is passed on to the workers, the old ones of a reload too; a stopped one must be woken for it.
    kill -TERM "$_master" 2>/dev/null
    for _pid in $_workers; do
        kill -CONT "$_pid" 2>/dev/null
    done
    _tries=$HAPROXY_TRIES
    while [ "$_tries" -gt 0 ]; do
        _left=
        for _pid in $_master $_workers; do
            # A zombie is gone: its parent, this shell or init, has only not asked yet.
            case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$_pid/status" 2>/dev/null) in
            '' | Z | X) ;;
            *) _left="$_left $_pid" ;;
            esac
        done
        [ -z "$_left" ] && break
        _tries=$((_tries - 1))
        sleep 0.05
    done
    for _pid in $_left; do
        kill -KILL "$_pid" 2>/dev/null
    done
    wait "$_master" 2>/dev/null
    rm -f "$1/haproxy.pid" "$1/haproxy.hung" "$1/admin.sock"
}

restart_haproxy() {
    stop_haproxy "$2" && start_haproxy "$1" "$2"
}

hang_haproxy() {
    haproxy_worker "$1" >"$1/haproxy.hung" && kill -STOP "$(cat "$1/haproxy.hung")" || return 1
    # The signal alone is not heard at once by each thread.
    while grep -hs '^State:' "/proc/$(cat "$1/haproxy.hung")"/task/*/status | grep -qv 'T (stopped)'; do
        sleep 0.02
    done
}

wake_haproxy() {
    kill -CONT "$(cat "$1/haproxy.hung")" && rm -f "$1/haproxy.hung"
}

start_site() {
    mkdir -p "$1"
    cat >"$1/haproxy.cfg" <<CFG
global
    stats socket $1/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
    timeout check 5s
frontend site
    bind $2
    default_backend $3
backend $3
CFG
    _dir=$1
    shift 3
    printf '    %s\n' "$@" >>"$_dir/haproxy.cfg"
    cleanup_add "stop_haproxy '$_dir'"
    start_haproxy "$_dir/haproxy.cfg" "$_dir"
}
