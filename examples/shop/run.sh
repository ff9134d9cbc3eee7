#!/usr/bin/env bash
# The demo: a flash sale of about a minute against the shop, with real PostgreSQL, HAProxy and Docker, scaled by
# `autoscale run`. Everything is private (/run/autoscale-shop and a temporary directory) and gone at the end, after
# Ctrl-C and after a failure too. See README.md; `make demo` builds everything and starts this.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RUN=/run/autoscale-shop
SITE=http://127.0.77.1:8080
CONF=$HERE/autoscale.conf
CURVE=${CURVE:-0s:20,8s:20,14s:440,34s:440,38s:20,62s:20}
SLO_MS=1000
MAX_CONNECTIONS=34 # 3 for superusers, 1 for autoscale, 3 in reserve: 27 left for the shop, 6 instances of 4

# --- root, before anything is made --------------------------------------------------------------------
if [ "$(id -u)" != 0 ]; then
    echo "The demo needs root: it starts containers, and PostgreSQL as a user of its own." >&2
    if [ -t 0 ] && command -v sudo >/dev/null; then
        read -r -p "Run it with sudo now? [y/N] " answer
        [[ $answer != [yY]* ]] || exec sudo BUILD="${BUILD:-build}" "$0" "$@"
    fi
    echo "Run: sudo make demo" >&2
    exit 77
fi

[ -r "$HERE/../../tests/e2e/lib/common.sh" ] || {
    echo "This runs from the source tree only: it uses the tests' servers. The configuration beside it is complete." >&2
    exit 1
}
. "$HERE/../../tests/e2e/lib/common.sh"
. "$E2E/lib/postgres.sh"
. "$E2E/lib/haproxy.sh"
. "$E2E/lib/dockerd.sh"

# --- ending --------------------------------------------------------------------------------------------
# In place of the tests' own: the same cleanup stack, no test summary.
e2e_exit() {
    local i
    trap - EXIT
    trap '' INT TERM HUP
    [ "$1" = 0 ] || [ "$1" = 130 ] || show_logs
    [ "$1" != 130 ] || printf '\ninterrupted, cleaning up\n'
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
        eval "${CLEANUPS[i]}" || warn "cleanup failed: ${CLEANUPS[i]}"
    done
    rm -rf -- "$WORK"
    exit "$1"
}

show_logs() {
    local log
    for log in "$WORK"/*.log "$RUN"/*.log; do
        [ -s "$log" ] && { echo "--- $log"; tail -n 15 "$log"; } >&2
    done
}

give_up() {
    warn "demo: $*"
    exit 1
}

# --- what must be there -----------------------------------------------------------------------------------
missing_commands() {
    local name
    for name in haproxy socat jq curl dockerd ip ldd setpriv; do
        command -v "$name" >/dev/null || echo "$name"
    done
    pg_bin postgres >/dev/null || echo postgresql
}

check_programs() {
    local missing
    missing=$(missing_commands)
    if [ -n "$missing" ]; then
        make -C "$ROOT" --no-print-directory deps demo-deps
        missing=$(missing_commands)
        [ -z "$missing" ] || give_up "these are missing and could not be installed:" $missing
    fi
    SHOP=$BUILD/examples/shop/shop LOADGEN=$BUILD/examples/shop/loadgen
    for missing in "$AUTOSCALE" "$SHOP" "$LOADGEN"; do
        [ -x "$missing" ] || give_up "$missing is not built; run: make demo"
    done
}

take_run_directory() {
    exec {LOCK}>/run/lock/autoscale-shop.lock && flock -n "$LOCK" || give_up "another demo is running"
    rm -rf -- "$RUN"
    mkdir -m 0711 "$RUN" || give_up "cannot make $RUN"
    cleanup_add 'rm -rf -- "$RUN"'
    is_listening 127.0.77.1 8080 && give_up "something already listens on 127.0.77.1 port 8080"
    return 0
}

# --- Docker --------------------------------------------------------------------------------------------------
docker_api() { # METHOD PATH [curl options…]
    curl -s -m 20 --noproxy '*' --unix-socket "$RUN/docker.sock" -X "$1" "${@:3}" "http://docker/v1.40$2"
}

our_containers() {
    docker_api GET /containers/json -G --data all=1 \
        --data-urlencode 'filters={"label":["autoscale.controller=shop-demo"]}' | jq -r '.[]?.Id'
}

remove_containers() {
    local id pids=()
    for id in $(our_containers); do
        { docker_api POST "/containers/$id/stop?t=5"; docker_api DELETE "/containers/$id?force=1&v=1"; } >/dev/null &
        pids+=($!)
    done
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}"
    docker_api DELETE /networks/shop-demo -o /dev/null
    return 0
}

use_docker() {
    if curl -sf -m 2 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null; then
        ln -s /var/run/docker.sock "$RUN/docker.sock"
        DOCKER="the Docker of this machine"
    else
        cleanup_add 'stop_dockerd "$WORK/docker" 2>/dev/null'
        start_dockerd "$WORK/docker" || give_up "no Docker runs here and a private dockerd does not start"
        ln -s "$WORK/docker/docker.sock" "$RUN/docker.sock"
        DOCKER="a private dockerd"
    fi
    remove_containers # of a demo that was killed
    cleanup_add remove_containers
    "$HERE/image.sh" -H "$RUN/docker.sock" "$SHOP" >"$WORK/image.log" 2>&1 || give_up "the image cannot be made"
}

# --- PostgreSQL ----------------------------------------------------------------------------------------------
new_password() { # FILE
    (umask 077 && head -c 18 /dev/urandom | base64 >"$1")
}

use_postgres() {
    mkdir "$RUN/pg" && mkdir -m 0700 "$RUN/secrets" || return 1
    chown postgres "$RUN/pg" 2>/dev/null || chown nobody "$RUN/pg"
    new_password "$RUN/secrets/shop.pass"
    new_password "$RUN/autoscale.pass"
    start_postgres "$WORK/pg" 5432 -c listen_addresses= -c "unix_socket_directories=$WORK/pg,$RUN/pg" \
        -c unix_socket_permissions=0700 -c max_connections=$MAX_CONNECTIONS || return 1
    printf 'local all postgres trust\nlocal all all scram-sha-256\n' >"$WORK/pg/data/pg_hba.conf"
    # on standard input: passwords do not belong into an argument list
    "$(pg_bin psql)" -X -q -v ON_ERROR_STOP=1 -h "$WORK/pg" -U postgres -d postgres <<SQL || return 1
select pg_reload_conf() \g /dev/null
create role shop login password '$(<"$RUN/secrets/shop.pass")';
create role autoscale login connection limit 3 password '$(<"$RUN/autoscale.pass")';
grant pg_monitor to autoscale;
create database shop;
\c shop
\i $HERE/schema.sql
SQL
}

# --- autoscale -----------------------------------------------------------------------------------------------
status() { # prints "wanted serving footprint note", dashes for what is not known
    "$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | jq -r '
        (.groups // [] | map(select(.name == "web")) | first // {}) |
        [.wanted, .serving, .footprint, (.binding // "")] | map(. // "-" | tostring) | join(" ")' 2>/dev/null
}

is_settled() { # COUNT: so many are wanted, serving and all that exist
    local wanted serving footprint rest
    read -r wanted serving footprint rest < <(status)
    [ "${serving:-}" = "$1" ] && [ "$footprint" = "$1" ] && [ "$wanted" = "$1" ]
}

is_ready() {
    [ "$(http_status "$SITE/readyz")" = 200 ]
}

start_autoscale() {
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || give_up "the configuration is not accepted"
    spawn "$WORK/autoscale.log" "$AUTOSCALE" run -c "$CONF" || give_up "autoscale does not start"
    AUTOSCALE_PID=$SPAWN_PID
    wait_for 30 "the first two instances to serve" is_settled 2 || give_up "autoscale did not bring up the shop"
    wait_for 10 "the shop to answer through HAProxy" is_ready || give_up "the shop does not answer at $SITE"
}

# --- the sale ------------------------------------------------------------------------------------------------
ROWS=0 PEAK=0 LIMITED=0

sessions_and_queue() {
    haproxy_cli "$RUN" 'show stat web 2 -1' | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) n[$i] = i; next }
        $2 == "BACKEND" { print $n["scur"], $n["qcur"] }'
}

row() { # T RATE P95 FAILED
    local sessions=- queue=- wanted=- serving=- footprint=- note=
    read -r sessions queue < <(sessions_and_queue)
    read -r wanted serving footprint note < <(status)
    if [ $((ROWS++ % 20)) = 0 ]; then
        printf '\n%5s %8s %9s %7s %7s %8s %7s %10s %7s\n' time load sessions queue wanted serving exist 'p95 ms' failed
    fi
    printf '%4ss %6s/s %9s %7s %7s %8s %7s %10s %7s  %s\n' "$1" "$2" "${sessions:--}" "${queue:--}" "${wanted:--}" \
        "${serving:--}" "${footprint:--}" "$3" "$4" "$(bar "${serving:-0}")${note:+ bound by $note}"
    [[ ${serving:-} =~ ^[0-9]+$ ]] && [ "$serving" -gt "$PEAK" ] && PEAK=$serving
    [[ ${note:-} != *db-headroom* ]] || LIMITED=1
}

bar() {
    local text='############'
    [[ $1 =~ ^[0-9]+$ ]] && printf '%s' "${text:0:$1}"
}

play_sale() {
    local line t load SUMMARY_LINE=
    exec {load}< <(exec "$LOADGEN" --curve "$CURVE" --slo "$SLO_MS" --timeout 30000 --max-inflight 6000 --json "$SITE")
    own_pid $!
    while read -r line <&"$load"; do
        case $line in
        t=*)
            declare -A v=()
            for t in $line; do v[${t%%=*}]=${t#*=}; done
            row "${v[t]}" "${v[rate]%.*}" "${v[p95_ms]}" "${v[failed]}"
            ;;
        *) SUMMARY_LINE=$line ;;
        esac
    done
    exec {load}<&-
    SUMMARY=$SUMMARY_LINE
    jq -e .due <<<"$SUMMARY" >/dev/null 2>&1 || give_up "the load generator gave no summary"
}

scale_in_rest() { # with the shoppers gone, down to min
    local t=$(($(jq -r '.seconds | floor' <<<"$SUMMARY"))) until=$((SECONDS + 60))
    while ! is_settled 2 && [ $SECONDS -lt $until ]; do
        row "$((++t))" 0 - 0
        sleep 1
    done
}

# --- the result ----------------------------------------------------------------------------------------------
counter() { # NAME: of the group, a dash when it is not known
    local value
    value=$("$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | jq -r --arg name "$1" '.groups[0][$name] // empty')
    echo "${value:--}"
}

summarize() {
    local orders left outs=$1 ins=$2
    orders=$(pg_sql 'select count(*) from orders' shop)
    left=$(our_containers | wc -l)
    jq -r --arg orders "$orders" --arg outs "$outs" --arg ins "$ins" --arg left "$left" --arg peak "$PEAK" '
        "", "requests served    \(.ok) of \(.due)",
        "requests failed    \(.failed)" + (if .failed > 0 then " \(.failed_by | tojson)" else "" end),
        "orders stored      \($orders)",
        "slower than \(.slo_ms) ms \(.slow)",
        "latency            p50 \(.p50_ms) ms, p95 \(.p95_ms) ms, p99 \(.p99_ms) ms",
        "scale-outs, -ins   \($outs), \($ins); at most \($peak) serving",
        "instances left     \($left)"' <<<"$SUMMARY"
    [ "$LIMITED" = 0 ] || echo "limited at times by db-headroom: PostgreSQL has connections for 6 instances"
    [ "$(jq .failed <<<"$SUMMARY")" = 0 ] || { warn "demo: requests failed"; return 1; }
    [ "$(jq .ok <<<"$SUMMARY")" = "$orders" ] || { warn "demo: orders served and stored differ"; return 1; }
    [ "$left" = 0 ] || { warn "demo: instances are left"; return 1; }
    [ "$PEAK" -gt 2 ] || { warn "demo: the shop was not scaled out"; return 1; }
    [ "$ins" != 0 ] || { warn "demo: the shop was not scaled in again"; return 1; }
}

check_programs
take_run_directory
use_docker
use_postgres || give_up "PostgreSQL does not start"
start_haproxy "$HERE/haproxy.cfg" "$RUN" || give_up "HAProxy does not start"
cleanup_add 'stop_haproxy "$RUN"'
start_autoscale
say "shop at $SITE on $DOCKER; a flash sale begins: $CURVE"
play_sale
scale_in_rest
OUTS=$(counter scale_outs) INS=$(counter scale_ins)
end_pid "$AUTOSCALE_PID" 10
remove_containers
summarize "$OUTS" "$INS"
exit $?
