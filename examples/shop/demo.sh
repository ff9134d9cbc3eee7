# What the shop's demos share, on containers (run.sh) and on virtual machines (../shop-vm/run.sh): the shop's PostgreSQL,
# HAProxy and autoscale, the flash sale as a table, the sums at its end. Sourced, never run, after `need_root_for`:
#
#     RUN          directory of sockets and secrets, as the configuration names it
#     CONF, SITE   the configuration that autoscale runs with; the shop as its shoppers see it
#     MIN          how many serve in quiet times
#     SHOP         examples/shop of the source tree

SHOP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SLO_MS=1000
MAX_CONNECTIONS=34 # 3 for superusers, 1 for autoscale, 3 in reserve: 27 left for the shop, 6 instances of 4

# --- root, before anything is made --------------------------------------------------------------------
need_root_for() { # WHAT TARGET SCRIPT
    local answer
    [ "$(id -u)" != 0 ] || return 0
    echo "The demo needs root: it starts $1, and PostgreSQL as a user of its own." >&2
    if [ -t 0 ] && command -v sudo >/dev/null; then
        read -r -p "Run it with sudo now? [y/N] " answer
        [[ $answer != [yY]* ]] || exec sudo BUILD="${BUILD:-build}" "$3"
    fi
    echo "Run: sudo make $2" >&2
    exit 77
}

source_library() {
    [ -r "$SHOP/../../tests/e2e/lib/common.sh" ] || {
        echo "This runs from the source tree only: it uses the tests' servers. The configuration beside it is complete." >&2
        exit 1
    }
    . "$SHOP/../../tests/e2e/lib/common.sh"
    . "$E2E/lib/postgres.sh"
    . "$E2E/lib/haproxy.sh"
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
}

show_logs() {
    local log
    for log in "$WORK"/*.log "$WORK"/{pg,serial}/*.log "$RUN"/*.log; do
        [ -s "$log" ] && { echo "--- $log"; tail -n 15 "$log"; } >&2
    done
}

give_up() {
    warn "demo: $*"
    exit 1
}

# --- what must be there -----------------------------------------------------------------------------------
missing_commands() { # NAME…
    local name
    for name in haproxy socat jq curl ip ldd setpriv "$@"; do
        command -v "$name" >/dev/null || echo "$name"
    done
    pg_bin postgres >/dev/null || echo postgresql
}

check_programs() { # TARGET
    local program
    LOADGEN=$BUILD/examples/shop/loadgen
    for program in "$AUTOSCALE" "$BUILD/examples/shop/shop" "$LOADGEN"; do
        [ -x "$program" ] || give_up "$program is not built; run: make $1"
    done
}

take_run_directory() {
    mkdir -p /run/lock
    exec {LOCK}>"${RUN/#\/run\//\/run/lock/}.lock" && flock -n "$LOCK" || give_up "another demo is running"
    rm -rf -- "$RUN"
    mkdir -m 0711 "$RUN" || give_up "cannot make $RUN"
    cleanup_add 'rm -rf -- "$RUN"'
    is_listening 127.0.77.1 8080 && give_up "something already listens on 127.0.77.1 port 8080"
    return 0
}

# --- PostgreSQL ----------------------------------------------------------------------------------------------
new_password() { # FILE
    (umask 077 && head -c 18 /dev/urandom | base64 >"$1")
}

use_postgres() { # LISTEN-ADDRESS FROM: addresses in pg_hba's words; empty for the sockets alone
    mkdir "$RUN/pg" && mkdir -m 0700 "$RUN/secrets" || return 1
    chown postgres "$RUN/pg" 2>/dev/null || chown nobody "$RUN/pg"
    new_password "$RUN/secrets/shop.pass"
    new_password "$RUN/autoscale.pass"
    start_postgres "$WORK/pg" 5432 -c "listen_addresses=$1" -c "unix_socket_directories=$WORK/pg,$RUN/pg" \
        -c unix_socket_permissions=0700 -c max_connections=$MAX_CONNECTIONS || return 1
    printf 'local all postgres trust\nlocal all all scram-sha-256\n' >"$WORK/pg/data/pg_hba.conf"
    [ -z "$2" ] || echo "host shop shop $2 scram-sha-256" >>"$WORK/pg/data/pg_hba.conf"
    # on standard input: passwords do not belong into an argument list
    "$(pg_bin psql)" -X -q -v ON_ERROR_STOP=1 -h "$WORK/pg" -U postgres -d postgres <<SQL || return 1
select pg_reload_conf() \g /dev/null
create role shop login password '$(<"$RUN/secrets/shop.pass")';
create role autoscale login connection limit 3 password '$(<"$RUN/autoscale.pass")';
grant pg_monitor to autoscale;
create database shop;
\c shop
\i $SHOP/schema.sql
SQL
}

# --- autoscale -----------------------------------------------------------------------------------------------
status() { # prints "wanted serving parked footprint note", dashes for what is not known
    "$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | jq -r '
        (.groups // [] | map(select(.name == "web")) | first // {}) |
        [.wanted, .serving, .parked, .footprint, (.binding // "")] | map(. // "-" | tostring) | join(" ")' 2>/dev/null
}

field() { # NAME: of the group, a dash when it is not known
    local value
    value=$("$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | jq -r --arg name "$1" '.groups[0][$name] // empty')
    echo "${value:--}"
}

is_settled() { # SERVING [PARKED]: so many are wanted and serving, and with the parked ones all that exist
    [[ $(status) == "$1 $1 ${2:-0} $(($1 + ${2:-0})) "* ]]
}

is_ready() {
    [ "$(http_status "$SITE/readyz")" = 200 ]
}

start_autoscale() { # SECONDS [PARKED]
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || give_up "the configuration is not accepted"
    spawn "$WORK/autoscale.log" "$AUTOSCALE" run -c "$CONF" || give_up "autoscale does not start"
    AUTOSCALE_PID=$SPAWN_PID
    wait_for "$1" "the first instances to serve" is_settled "$MIN" "${2:-0}" ||
        give_up "autoscale did not bring up the shop"
    wait_for "$1" "the shop to answer through HAProxy" is_ready || give_up "the shop does not answer at $SITE"
}

# --- the sale ------------------------------------------------------------------------------------------------
ROWS=0 PEAK=0 BOUND=

sessions_and_queue() {
    haproxy_cli "$RUN" 'show stat web 2 -1' | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) n[$i] = i; next }
        $2 == "BACKEND" { print $n["scur"], $n["qcur"] }'
}

row() { # T RATE P95 FAILED
    local sessions=- queue=- wanted=- serving=- parked=- footprint=- note=
    read -r sessions queue < <(sessions_and_queue)
    read -r wanted serving parked footprint note < <(status)
    if [ $((ROWS++ % 20)) = 0 ]; then
        printf '\n%5s %8s %9s %7s %7s %8s %7s %10s %7s\n' time load sessions queue wanted serving exist 'p95 ms' failed
    fi
    printf '%4ss %6s/s %9s %7s %7s %8s %7s %10s %7s  %s\n' "$1" "$2" "${sessions:--}" "${queue:--}" "${wanted:--}" \
        "${serving:--}" "${footprint:--}" "$3" "$4" "$(bar "${serving:-0}" "${footprint:-0}")${note:+ bound by $note}"
    [[ ${serving:-} =~ ^[0-9]+$ ]] && [ "$serving" -gt "$PEAK" ] && PEAK=$serving
    [ -z "${note:-}" ] || BOUND+=" $note"
}

bar() { # SERVING EXIST: one that does not serve is a dot
    local text='############' dots='............'
    [[ "$1$2" =~ ^[0-9]+$ ]] && printf '%s' "${text:0:$1}${dots:0:$(($2 > $1 ? $2 - $1 : 0))}"
}

play_sale() { # CURVE TIMEOUT_MS
    local line t load SUMMARY_LINE=
    exec {load}< <(exec "$LOADGEN" --curve "$1" --slo "$SLO_MS" --timeout "$2" --max-inflight 6000 --json "$SITE")
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

scale_in_rest() { # SECONDS [PARKED]: with the shoppers gone, down to MIN
    local t=$(($(jq -r '.seconds | floor' <<<"$SUMMARY"))) until=$((SECONDS + $1))
    while ! is_settled "$MIN" "${2:-0}" && [ $SECONDS -lt $until ]; do
        row "$((++t))" 0 - 0
        sleep 1
    done
    OUTS=$(field scale_outs) INS=$(field scale_ins)
}

# --- the result ----------------------------------------------------------------------------------------------
summarize() { # LEFT: how many instances are left
    local orders
    orders=$(pg_sql 'select count(*) from orders' shop)
    jq -r --arg orders "$orders" --arg outs "$OUTS" --arg ins "$INS" --arg left "$1" --arg peak "$PEAK" '
        "", "requests served    \(.ok) of \(.due)",
        "requests failed    \(.failed)" + (if .failed > 0 then " \(.failed_by | tojson)" else "" end),
        "orders stored      \($orders)",
        "slower than \(.slo_ms) ms \(.slow)",
        "latency            p50 \(.p50_ms) ms, p95 \(.p95_ms) ms, p99 \(.p99_ms) ms",
        "scale-outs, -ins   \($outs), \($ins); at most \($peak) serving",
        "instances left     \($left)"' <<<"$SUMMARY"
    [ "$(jq .failed <<<"$SUMMARY")" = 0 ] || { warn "demo: requests failed"; return 1; }
    [ "$(jq .ok <<<"$SUMMARY")" = "$orders" ] || { warn "demo: orders served and stored differ"; return 1; }
    [ "$1" = 0 ] || { warn "demo: instances are left"; return 1; }
    [ "$PEAK" -gt "$MIN" ] || { warn "demo: the shop was not scaled out"; return 1; }
    [[ $INS =~ ^[1-9] ]] || { warn "demo: the shop was not scaled in again"; return 1; }
}
