# A whole small platform for the tests of the daemon: a private dockerd, a private HAProxy and a web image that
# says which instance answered. Sourced after common.sh; everything is on loopback, in $WORK, and gone at the end.
#
#     start_platform                       dockerd, image, HAProxy, a foreign static site in backend `other`
#     write_conf [NAME=VALUE…]             writes $CONF; NAME is one of those at the top of write_conf
#     start_autoscale [VAR=VALUE…]         runs $AUTOSCALE (with these in its environment); its log is $LOG
#     stop_autoscale · kill9_autoscale     TERM and wait · KILL and wait; instances stay
#     reload_autoscale                     asks the daemon to read $CONF again
#     subject FUNCTION…                    a part of a test; it gives up with `|| return`, which is a failure
#     reset_group                          no daemon, no container, no member, no journal: for the next subject
#     status_json · group_field NAME       the daemon's own view of group `web`
#     is_settled N · wait_settled N [S]    N wanted, N serving, N existing · waits for it (120 s)
#     containers                           instance ids of all containers with our mark, sorted: Docker's view
#     members · up_members                 ids of our servers in backend `web`, sorted: HAProxy's view
#     three_agree N                        journal, Docker and HAProxy have the same N instances
#     at_rest N · wait_rest N              all of that · waits for it (120 s)
#     ticks · wait_ticks N                 the daemon's count of its rounds · waits for N more of them
#     watch_footprint FILE                 counts our containers all the time; end it with end_watch, which waits until
#                                          it has looked often enough; see most_containers FILE and watched FILE
#     start_load NAME CURVE [OPTION…]      loadgen against $SITE; end_load NAME waits for it,
#                                          stop_load NAME ends it early, load_count NAME FIELD its numbers
#     release                              lets the instances answer the requests for /hold that they keep waiting
#     docker_api METHOD PATH [curl option…]
#
# Addresses: SITE (HAProxy's frontend for `web`), OTHER_SITE (the foreign one). Sockets: DOCKER, ADMIN.
# BALANCE and WEB_SERVERS (further lines of backend web; STATIC becomes the foreign site's address) may be set
# before start_platform.

. "$E2E/lib/haproxy.sh"
. "$E2E/lib/dockerd.sh"

CONTROLLER=e2e-$$
CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log
DOCKER=$WORK/docker/docker.sock ADMIN=$WORK/lb/admin.sock
LOADGEN=$BUILD/examples/shop/loadgen
AUTOSCALE_PID= SUBJECT=0
: "${WEB_SERVERS=}"

# --- the platform ---------------------------------------------------------------------------------------
need_platform() {
    need_root
    need_command dockerd haproxy socat jq curl "${CC:-cc}"
    [ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
}

start_platform() {
    need_platform
    WEB_ADDRESS=$(pick_address) SITE_ADDRESS=$(pick_address)
    SITE=http://$SITE_ADDRESS:8080 OTHER_SITE=http://$SITE_ADDRESS:8081
    make_web && start_docker && start_balancer || bail "the platform does not start"
}

make_web() {
    WEB=$WORK/web
    "${CC:-cc}" -std=c17 -O2 -D_GNU_SOURCE -static "$E2E/lib/web.c" -o "$WEB" -lpthread || return 1
    STATIC_ADDRESS=$(pick_address)
    spawn "$WORK/foreign.log" env "WEB_ADDRESS=$STATIC_ADDRESS" WEB_PORT=8080 "$WEB"
}

# Networks of its own range: several of these may run on one machine.
start_docker() {
    cleanup_add 'stop_dockerd "$WORK/docker" 2>/dev/null'
    start_dockerd "$WORK/docker" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" || return 1
    mkdir -p "$WORK/rootfs" && cp "$WEB" "$WORK/rootfs/web" && load_image "$WORK/docker" e2e-web:1 "$WORK/rootfs"
}

# No retries and no redispatch: nothing hides a request that was sent to the wrong place.
write_balancer() {
    mkdir -p "$WORK/lb"
    cat >"$WORK/lb/haproxy.cfg" <<CFG
global
    stats socket $ADMIN mode 600 level admin expose-fd listeners
    maxconn 4000
    hard-stop-after 120s
defaults
    mode http
    # a check that is answered late on a busy machine is no death
    timeout check 3s
    timeout connect ${CONNECT_TIMEOUT:-10s}
    timeout client 60s
    timeout server 300s
    timeout queue 60s
    timeout http-keep-alive 60s
    retries 0
frontend site
    bind $SITE_ADDRESS:8080
    default_backend web
frontend othersite
    bind $SITE_ADDRESS:8081
    default_backend other
backend web
    balance ${BALANCE:-leastconn}
    option httpchk GET /healthz
    http-reuse safe
${WEB_SERVERS//STATIC/$STATIC_ADDRESS}
backend other
    option httpchk GET /healthz
    server static $STATIC_ADDRESS:8080 check inter 200ms
CFG
}

start_balancer() {
    write_balancer
    cleanup_add 'stop_haproxy "$WORK/lb"'
    start_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
}

docker_api() { # METHOD PATH [curl options…]
    curl -s -m 30 --noproxy '*' --unix-socket "$DOCKER" -X "$1" "${@:3}" "http://docker/v1.40$2"
}

# --- the configuration ------------------------------------------------------------------------------------
write_conf() {
    local min=1 max=6 interval=500ms            # lb: the source's socket; env, compute, balancer: further lines
    local policies='"load"' load='type = "target"; metric = "lb.web.request_rate"; per_instance = 20.0;'
    local lb=$ADMIN env= compute= balancer= sources= more_policies=
    local health='http = "/healthz"; interval = "100ms"; rise = 2; timeout = "3s"; boot_timeout = "60s";'
    local scale_in='window = "2s"; period = "1s";' scale_out= network=e2e drain=10s
    [ $# = 0 ] || local "$@"
    cat >"$CONF.new" <<CONF
controller = { name = "$CONTROLLER"; interval = "$interval"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = {
  lb = { driver = "haproxy"; address = "$lb"; };
  $sources
};
groups = {
  web = {
    min = $min;
    max = $max;
    compute = {
      driver = "docker"; hosts = [ "unix://$DOCKER" ]; image = "e2e-web:1"; command = [ "/web" ]; port = 8080;
      network = "$network"; publish = "$WEB_ADDRESS"; stop_timeout = "2s"; env = { $env };
      $compute
    };
    health = { $health };
    balancer = { driver = "haproxy"; address = "$ADMIN"; backend = "web"; maxconn = 100; inter = "100ms"; rise = 2;
                 drain = "$drain"; $balancer };
    policies = [ $policies ];
    scale_in = { $scale_in };
    scale_out = { $scale_out };
  };
};
policies = { load = { $load }; $more_policies };
CONF
    mv "$CONF.new" "$CONF"
}

# --- the daemon ---------------------------------------------------------------------------------------------
start_autoscale() { # [VAR=VALUE…]
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || { cat "$WORK/check.log" >&2; return 1; }
    spawn "$LOG" env "$@" "$AUTOSCALE" run -c "$CONF" || return 1
    AUTOSCALE_PID=$SPAWN_PID
}

stop_autoscale() {
    [ -z "$AUTOSCALE_PID" ] || end_pid "$AUTOSCALE_PID" 60
    AUTOSCALE_PID=
}

kill9_autoscale() {
    [ -z "$AUTOSCALE_PID" ] || end_pid "$AUTOSCALE_PID" 15 KILL
    AUTOSCALE_PID=
} 2>/dev/null # the shell's own note about a killed job

reload_autoscale() {
    "$AUTOSCALE" reload -c "$CONF" >>"$WORK/reload.log" 2>&1
}

status_json() {
    "$AUTOSCALE" status -c "$CONF" --json 2>/dev/null
}

group_field() { # NAME
    status_json | jq -r --arg name "$1" '.groups[]? | select(.name == "web") | .[$name]'
}

instances() { # prints "id state" of every instance the daemon knows
    status_json | jq -r '.groups[]? | select(.name == "web") | .instances[] | .id + " " + .state'
}

is_settled() { # N
    [ "$(status_json | jq -r '.groups[]? | select(.name == "web") | "\(.wanted) \(.serving) \(.footprint)"')" = "$1 $1 $1" ]
}

settled_or_gone() { # N
    is_settled "$1" || is_gone "${AUTOSCALE_PID:-0}"
}

wait_settled() { # N [SECONDS]
    wait_for "${2:-120}" "$1 instances to be all that is wanted, serves and exists" settled_or_gone "$1"
    is_settled "$1" && return 0
    note "status: $(status_json | jq -c '.groups[0] | {wanted,serving,footprint,blocked,summary,i: [.instances[] | .id + " " + .state + " " + .reason]}')"
    return 1
}

field_is() { # NAME VALUE
    [ "$(group_field "$1")" = "$2" ]
}

field_at_least() { # NAME VALUE
    local now
    now=$(group_field "$1")
    [[ $now =~ ^[0-9]+$ ]] && [ "$now" -ge "$2" ]
}

log_has() { # REGEX
    grep -qE -- "$1" "$LOG"
}

# --- what is really there -------------------------------------------------------------------------------------
our_containers() { # prints "container-id instance-id state"
    docker_api GET /containers/json -G --data all=1 \
        --data-urlencode "filters={\"label\":[\"autoscale.controller=$CONTROLLER\"]}" |
        jq -r '.[]? | "\(.Id) \(.Labels["autoscale.instance"]) \(.State)"'
}

containers() {
    our_containers | awk '{ print $2 }' | sort
}

backend_rows() { # BACKEND: prints "server status sessions address"
    haproxy_cli "$WORK/lb" "show stat $1 4 -1" | awk -F, '/^#/ { for (i = 1; i <= NF; i++) n[$i] = i; next }
        NF > 10 { print $n["svname"], $n["status"], $n["scur"], $n["addr"] }'
}

members() {
    backend_rows web | awk '$1 ~ /^web-[0-9a-f]+$/ && length($1) == 12 { print $1 }' | sort
}

up_members() {
    backend_rows web | awk '$1 ~ /^web-[0-9a-f]+$/ && length($1) == 12 && $2 == "UP" { print $1 }' | sort
}

three_agree() { # N
    local wanted
    wanted=$(containers)
    [ "$(grep -c . <<<"$wanted")" = "$1" ] && [ "$(members)" = "$wanted" ] && [ "$(up_members)" = "$wanted" ] &&
        [ "$(instances | sort)" = "$(sed -n 's/$/ SERVING/p' <<<"$wanted" | sed '/^ /d')" ] &&
        [ "$(our_containers | awk '$3 == "running"' | wc -l)" = "$1" ]
}

at_rest() { # N
    three_agree "$1" && is_settled "$1"
}

wait_rest() { # N [SECONDS]
    wait_for "${2:-120}" "three views of the same $1" at_rest "$1" && return 0
    show_three
    return 1
}

ticks() {
    status_json | jq -r .ticks
}

ticks_reach() { # N
    local now
    now=$(ticks)
    [[ $now =~ ^[0-9]+$ ]] && [ "$now" -ge "$1" ]
}

wait_ticks() { # N
    local now
    now=$(ticks)
    wait_for 60 "$1 rounds" ticks_reach $((now + $1))
}

show_three() {
    note "containers: $(containers | tr '\n' ' ')"
    note "members:    $(backend_rows web | tr '\n' ';')"
    note "instances:  $(instances | tr '\n' ';')"
}

subject() { # FUNCTION…: fails when it returns before its end; nothing is left of it
    "$@" || fail "$1" "gave up before its end: what it waited for did not come"
    reset_group
}

reset_group() {
    local id
    stop_autoscale
    kill -CONT "$(cat "$WORK/docker/pid")" # in case a subject gave up while it was stopped
    for id in $(our_containers | awk '{ print $1 }'); do docker_api DELETE "/containers/$id?force=1&v=1" -o /dev/null; done
    rm -f "$WORK"/state.db*
    restart_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
    [ ! -f "$LOG" ] || mv "$LOG" "$WORK/autoscale-$((++SUBJECT)).log"
}

# --- watching -------------------------------------------------------------------------------------------------
footprint_loop() { # FILE: one line of "milliseconds all running" after the other
    while :; do
        our_containers | awk -v t="$(now_ms)" '{ n++; r += $3 == "running" } END { print t, n + 0, r + 0 }' >>"$1"
    done
}

watch_footprint() { # FILE
    : >"$1"
    spawn "$WORK/watch.log" footprint_loop "$1"
    WATCH_PID=$SPAWN_PID
    WATCH_FILE=$1
    wait_for 60 "the watcher's first look" test -s "$1"
}

end_watch() {
    wait_for 60 "enough looks" looked_often "$WATCH_FILE" # of too few nobody can say that they saw all
    end_pid "$WATCH_PID" 15 KILL 2>/dev/null
}

looked_often() { # FILE
    [ "$(watched "$1")" -ge 30 ]
}

most_containers() { # FILE
    awk '$2 > most { most = $2 } END { print most + 0 }' "$1"
}

watched() { # FILE: number of looks
    grep -c . "$1"
}

# --- load -----------------------------------------------------------------------------------------------------
declare -A LOADS=()

start_load() { # NAME CURVE [loadgen option…]
    local name=$1 curve=$2
    shift 2
    [ -x "$LOADGEN" ] || bail "$LOADGEN is not built"
    spawn "$WORK/load-$name.out" "$LOADGEN" --curve "$curve" --get / --quiet --json --timeout 30000 "$@" "$SITE" || return 1
    LOADS[$name]=$SPAWN_PID
}

end_load() { # NAME [SECONDS]: waits for its end
    wait_for "${2:-120}" "the end of load $1" is_gone "${LOADS[$1]}"
    load_count "$1" due >/dev/null
}

stop_load() { # NAME: ends it now; what it has sent is still counted
    end_pid "${LOADS[$1]}" 60 INT
}

release() { # over the published ports: HAProxy chooses whom it likes
    local address port
    while read -r address port; do
        curl -s -o /dev/null -m 10 --retry 3 "http://$address:$port/release" || return 1
    done < <(status_json | jq -r '.groups[]? | select(.name == "web") | .instances[] | select(.port > 0) | "\(.address) \(.port)"')
}

load_count() { # NAME FIELD
    jq -er ".$2" "$WORK/load-$1.out"
}

load_summary() { # NAME
    jq -c '{due, ok, failed, failed_by, p50_ms, p99_ms}' "$WORK/load-$1.out"
}
