#!/usr/bin/env bash
# A group whose policies depend on one source of each kind. Each of them is hung (SIGSTOP), killed, replaced by
# something that answers garbage and started again: meanwhile nothing is scaled in, the other sources go on, status
# says which one fails and since when, and all is well again without a restart of autoscale. To the probe the failure of
# what it asks is a measurement: there status says what is left out, and since when.
# ONLY="redis db" takes these alone.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/postgres.sh"

PATH=$PATH:/usr/sbin
need_command haproxy socat jq busybox redis-server nginx prometheus mariadbd mariadb-install-db mariadb
[ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log KNOBS=$WORK/knobs
declare -A PORT PID
for name in redis nginx prom web lb maria shop; do PORT[$name]=$(pick_port); done

# --- the sources: start_NAME, stop_NAME, pids_NAME --------------------------------------------------------
listening() { # NAME
    wait_for 60 "$1 to listen" is_listening 127.0.0.1 "${PORT[$1]}"
}

launch() { # NAME command…
    spawn "$WORK/$1.log" "${@:2}" || return 1
    PID[$1]=$SPAWN_PID
    listening "$1"
}

start_redis() {
    launch redis redis-server --port "${PORT[redis]}" --bind 127.0.0.1 --save '' --dir "$WORK" --daemonize no
}

start_nginx() {
    mkdir -p "$WORK/nginx"
    cat >"$WORK/nginx/nginx.conf" <<CFG
daemon off;
worker_processes 1;
$([ "$(id -u)" != 0 ] || echo 'user root;')
pid $WORK/nginx/pid;
error_log $WORK/nginx/error.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path $WORK/nginx/t1; proxy_temp_path $WORK/nginx/t2; fastcgi_temp_path $WORK/nginx/t3;
  uwsgi_temp_path $WORK/nginx/t4; scgi_temp_path $WORK/nginx/t5;
  server { listen 127.0.0.1:${PORT[nginx]}; location = /status { stub_status; } }
}
CFG
    launch nginx nginx -c "$WORK/nginx/nginx.conf" -e "$WORK/nginx/error.log"
}

start_prom() {
    echo 'global: {}' >"$WORK/prom.yml"
    launch prom prometheus --config.file="$WORK/prom.yml" --storage.tsdb.path="$WORK/prom" --log.level=warn \
        --web.listen-address="127.0.0.1:${PORT[prom]}"
}

start_web() {
    launch web busybox httpd -f -p "127.0.0.1:${PORT[web]}" -h "$KNOBS"
}

start_shop() { # what the probe asks
    launch shop busybox httpd -f -p "127.0.0.1:${PORT[shop]}" -h "$KNOBS"
}

start_lb() {
    cat >"$WORK/haproxy.cfg" <<CFG
global
    stats socket ipv4@127.0.0.1:${PORT[lb]} level admin
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
backend web
    server one 127.0.0.1:9
CFG
    launch lb haproxy -db -f "$WORK/haproxy.cfg"
}

start_db() {
    start_postgres "$WORK/pg" "${PORT[db]}" && PID[db]=$PG_PID
}

start_maria() {
    mkdir -p "$WORK/maria"
    if [ ! -d "$WORK/maria/data" ]; then
        [ "$(id -u)" != 0 ] || chown mysql: "$WORK/maria"
        maria_as mariadb-install-db --no-defaults --datadir="$WORK/maria/data" --auth-root-authentication-method=normal \
            --skip-test-db >"$WORK/maria-install.log" 2>&1 || return 1
    fi
    local as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=mysql --regid="$(id -g mysql)" --clear-groups)
    launch maria "${as[@]}" mariadbd --no-defaults --datadir="$WORK/maria/data" --socket="$WORK/maria/sock" \
        --pid-file="$WORK/maria/pid" --port="${PORT[maria]}" --bind-address=127.0.0.1 --innodb-buffer-pool-size=8M \
        --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 --skip-name-resolve || return 1
    wait_for 60 "MariaDB to answer" mariadb --no-defaults -u root -S "$WORK/maria/sock" -e \
        "create user if not exists watcher identified by 'watcher-secret'; grant process, slave monitor on *.* to watcher"
}

maria_as() { # command…: as the server's user
    [ "$(id -u)" = 0 ] || { "$@"; return; }
    setpriv --reuid=mysql --regid="$(id -g mysql)" --clear-groups "$@"
}

start_command() { # a program that prints the knob
    cat >"$WORK/command.new" <<SH
#!/bin/sh
exec cat $KNOBS/load
SH
    swap_command
}

swap_command() {
    chmod +x "$WORK/command.new" && mv "$WORK/command.new" "$WORK/command"
}

pids_of() { # NAME: the process and its children
    echo "${PID[$1]} $(cat "/proc/${PID[$1]}/task/${PID[$1]}/children" 2>/dev/null)"
}

# --- what can go wrong --------------------------------------------------------------------------------------
hang() { # NAME
    if [ "$1" = command ]; then
        printf '#!/bin/sh\nexec sleep 600\n' >"$WORK/command.new"
        swap_command
    else
        HUNG=$(pids_of "$1")
        # shellcheck disable=SC2086
        kill -STOP $HUNG
    fi
}

wake() { # NAME
    [ "$1" != command ] || { start_command; return; }
    # shellcheck disable=SC2086
    kill -CONT $HUNG 2>/dev/null
}

kill_source() { # NAME
    case $1 in
    command) rm -f "$WORK/command" ;;
    db) stop_postgres QUIT ;;
    nginx) end_pid "${PID[nginx]}" 10 ;; # its worker would keep the port
    *) end_pid "${PID[$1]}" 10 KILL ;;
    esac
} 2>/dev/null

garbage() { # NAME
    if [ "$1" = command ]; then
        printf '#!/bin/sh\nhead -c 3000 /dev/urandom\n' >"$WORK/command.new"
        swap_command
    else
        spawn "$WORK/garbage.log" socat "TCP-LISTEN:${PORT[$1]},bind=127.0.0.1,fork,reuseaddr" \
            'SYSTEM:head -c 3000 /dev/urandom' || return 1
        GARBAGE_PID=$SPAWN_PID
        listening "$1"
    fi
}

end_garbage() { # NAME
    [ "$1" = command ] || end_pid "$GARBAGE_PID" 10
}

# --- autoscale ----------------------------------------------------------------------------------------------
ALL=(redis nginx prom web lb db maria shop command)
declare -A METRIC=([redis]=redis.clients [nginx]=nginx.active [prom]=prom.one [web]=web.load [lb]=lb.web.sessions
    [db]=db.connections [maria]=maria.connections [shop]=shop.latency_ms [command]=command.value)

write_conf() {
    local common='interval = "500ms"; timeout = "4s";' name policies=
    for name in "${ALL[@]}"; do
        policies+="  p-$name = { type = \"target\"; metric = \"${METRIC[$name]}\"; per_instance = $(per_instance "$name"); window = \"0s\"; };"$'\n'
    done
    cat >"$CONF" <<CONF
controller = { name = "sources-$$"; interval = "250ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = {
  redis = { driver = "redis"; address = "127.0.0.1:${PORT[redis]}"; $common };
  nginx = { driver = "nginx"; address = "http://127.0.0.1:${PORT[nginx]}/status"; $common };
  prom = { driver = "prometheus"; url = "http://127.0.0.1:${PORT[prom]}"; queries = { one = "vector(1)"; }; $common };
  web = { driver = "http"; url = "http://127.0.0.1:${PORT[web]}/load.json"; values = { load = "/load"; }; $common };
  lb = { driver = "haproxy"; address = "127.0.0.1:${PORT[lb]}"; $common };
  db = { driver = "postgresql"; conninfo = "host=127.0.0.1 port=${PORT[db]} user=watcher dbname=postgres";
         password_file = "$WORK/db.pass"; $common };
  maria = { driver = "mariadb"; address = "127.0.0.1:${PORT[maria]}"; user = "watcher"; password_file = "$WORK/db.pass"; $common };
  shop = { driver = "probe"; url = "http://127.0.0.1:${PORT[shop]}/load"; $common };
  command = { driver = "exec"; command = [ "$WORK/command" ]; $common };
};
groups = {
  work = {
    min = 1;
    max = 4;
    compute = { driver = "process"; command = [ "$(command -v busybox)", "httpd", "-f", "-p", "{address}:{port}", "-h", "$KNOBS" ];
                directory = "$WORK/instances"; address = "127.0.0.1"; ports = "30000-30999"; stop_timeout = "2s"; };
    health = { http = "/load"; interval = "500ms"; rise = 1; timeout = "5s"; boot_timeout = "60s"; };
    policies = [ $(printf '"p-%s", ' "${ALL[@]}" | sed 's/, $//') ];
    scale_in = { window = "1s"; period = "1s"; max_step = 3; };
  };
};
policies = {
$policies};
CONF
}

per_instance() { # NAME: the two knobs count, the others just have to be there
    case $1 in web | command) echo 10.0 ;; *) echo 1000.0 ;; esac
}

load() { # VALUE: both knobs at once
    echo "$1" >"$KNOBS/load.new" && mv "$KNOBS/load.new" "$KNOBS/load"
    echo "{\"load\": $1}" >"$KNOBS/load.json.new" && mv "$KNOBS/load.json.new" "$KNOBS/load.json"
}

status_json() {
    "$AUTOSCALE" status -c "$CONF" --json 2>/dev/null
}

is_settled() { # N
    [ "$(status_json | jq -r '.groups[0] | "\(.wanted) \(.serving) \(.footprint)"')" = "$1 $1 $1" ]
}

is_well() { # NAME
    [ "$(status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) |
        (all(.endpoints[]; .ok and (has("left_out") | not)) and all(.series[]; .state == "fresh"))')" = true ]
}

all_well() {
    local name
    for name in "${ALL[@]}"; do is_well "$name" || return 1; done
}

fails() { # NAME
    [ -n "$(status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0] | .error // .left_out // empty')" ]
}

failing_s() { # NAME
    status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0] | .failing_s // .left_out_s // -1'
}

others_fresh() { # NAME
    [ "$(status_json | jq -r --arg s "$1" '[.sources[] | select(.name != $s) |
        select((all(.endpoints[]; .ok) | not) or any(.series[]; .state != "fresh" or .age_ms > 6000)) | .name] | join(" ")')" = "" ]
}

load_is_seen() { # VICTIM VALUE: by the knobs that are not the victim
    [ "$(status_json | jq -r --arg s "$1" --argjson v "$2" '[.sources[] | select(.name != $s) | .series[] |
        select(.metric == "web.load" or .metric == "command.value") | .value == $v] | length > 0 and all')" = true ]
}

polls() { # NAME
    status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0].polls'
}

polled_since() { # NAME BEFORE COUNT
    local now
    now=$(polls "$1")
    [[ $now =~ ^[0-9]+$ ]] && [ "$now" -ge $(($2 + $3)) ]
}

end_instances() { # they outlive the controller
    local pid
    for pid in $(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$WORK"/instances/*.json 2>/dev/null); do
        grep -qaF -- "$KNOBS" "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid"
    done
}

# --- one source, broken one way -----------------------------------------------------------------------------
ROUNDS=8 # polls of a source for which nothing may be scaled in; with all well it is, within as many

witness() { # VICTIM: another one, whose polls are the clock
    [ "$1" = web ] && echo command || echo web
}

failing_status() { # VICTIM
    [ "$1" = shop ] && echo 0 || echo 2
}

holds_while_broken() { # VICTIM HOW BROKEN_AT
    local before what=$1_$2 text status clock elapsed since
    clock=$(witness "$1")
    check "${what}_is_noticed" wait_for 60 "$1 to fail" fails "$1"
    load 10
    wait_for 60 "the low load to be seen" load_is_seen "$1" 10
    before=$(polls "$clock")
    wait_for 60 "further rounds" polled_since "$clock" "$before" $ROUNDS
    check "${what}_nothing_is_scaled_in" is_settled 4
    check "${what}_others_go_on" wait_for 30 "all others to be fresh" others_fresh "$1"
    text=$("$AUTOSCALE" status -c "$CONF" 2>&1)
    status=$?
    check_equal "${what}_tells_the_exit_status" "$(failing_status "$1")" "$status"
    check_match "${what}_status_names_it" "source $1 \([a-z]+\)[^)]*(FAILING|left out)[^)]* for [0-9.]+ ?[a-z]+: " "$text"
    since=$(failing_s "$1") elapsed=$(($(now_ms) - $3))
    check "${what}_status_knows_since_when" awk -v s="$since" -v e="$elapsed" 'BEGIN { exit !(s > 0 && s * 1000 <= e) }'
    load 40
    wait_for 60 "the high load to be seen" load_is_seen "$1" 40
}

subject() { # VICTIM
    local at
    at=$(now_ms)
    hang "$1"
    holds_while_broken "$1" hung "$at"
    wake "$1"
    check "$1_hung_recovers" wait_for 60 "$1 to answer again" all_well

    at=$(now_ms)
    kill_source "$1"
    holds_while_broken "$1" killed "$at"
    if garbage "$1"; then
        holds_while_broken "$1" garbage "$at"
    else
        fail "$1_garbage" "nothing can answer garbage in its place"
    fi
    end_garbage "$1"
    "start_$1" || fail "$1_restarts" "it does not start again"
    check "$1_restarted_recovers" wait_for 60 "$1 to answer again" all_well
}

# --- all of them --------------------------------------------------------------------------------------------
mkdir "$KNOBS" && load 40
PORT[db]=$(pick_port)
(umask 077 && echo watcher-secret >"$WORK/db.pass")
for name in "${ALL[@]}"; do "start_$name" || bail "$name does not start"; done
pg_role watcher watcher-secret monitor || bail "PostgreSQL takes no role"
write_conf
"$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || bail "the configuration is not accepted: $(<"$WORK/check.log")"
cleanup_add end_instances
spawn "$LOG" "$AUTOSCALE" run -c "$CONF" || bail "autoscale does not start"
DAEMON=$SPAWN_PID
wait_for 90 "four instances" is_settled 4 || bail "the group does not come up"
wait_for 60 "all sources to answer" all_well || bail "a source does not answer: $("$AUTOSCALE" status -c "$CONF")"

load 10
wait_for 60 "the low load to be seen" load_is_seen none 10
before=$(polls web)
wait_for 60 "further rounds" polled_since web "$before" $ROUNDS
check control_scale_in_comes_within_as_many_rounds [ "$(status_json | jq '.groups[0].wanted')" -lt 4 ]
load 40
wait_for 90 "four instances again" is_settled 4 || bail "the group does not grow again"

for name in ${ONLY:-"${ALL[@]}"}; do subject "$name"; done
check the_daemon_is_the_same is_running "$DAEMON"
load 10
check scale_in_comes_when_all_are_well wait_for 60 "one instance" is_settled 1
"$AUTOSCALE" status -c "$CONF" >/dev/null 2>&1
check_equal status_is_0_when_all_are_well 0 $?
finish
