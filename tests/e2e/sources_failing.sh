#!/usr/bin/env bash
# Balancers, databases, caches and a Prometheus that hang, die, answer garbage and come back, while a group depends on all of
# them; see lib/failing.sh. The sources on hosts and what else measures are in sources_failing_hosts.sh.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/mariadb.sh"
. "$E2E/lib/postgres.sh"
. "$E2E/lib/failing.sh"

PATH=$PATH:/usr/sbin
need_command haproxy socat jq busybox redis-server nginx prometheus mariadbd mariadb-install-db mariadb
[ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
for name in redis nginx prom lb db maria; do PORT[$name]=$(pick_port); done
SOURCE[redis]="driver = \"redis\"; address = \"127.0.0.1:${PORT[redis]}\";"
SOURCE[nginx]="driver = \"nginx\"; address = \"http://127.0.0.1:${PORT[nginx]}/status\";"
SOURCE[prom]="driver = \"prometheus\"; url = \"http://127.0.0.1:${PORT[prom]}\"; queries = { one = \"vector(1)\"; };"
SOURCE[lb]="driver = \"haproxy\"; address = \"127.0.0.1:${PORT[lb]}\";"
SOURCE[db]="driver = \"postgresql\"; conninfo = \"host=127.0.0.1 port=${PORT[db]} user=watcher dbname=postgres\";
         password_file = \"$WORK/db.pass\";"
SOURCE[maria]="driver = \"mariadb\"; address = \"127.0.0.1:${PORT[maria]}\"; user = \"watcher\"; password_file = \"$WORK/db.pass\";"
METRIC+=([redis]=redis.clients [nginx]=nginx.active [prom]=prom.one [lb]=lb.web.sessions [db]=db.connections
    [maria]=maria.connections)

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

kill_nginx() { # its worker would keep the port
    end_pid "${PID[nginx]}" 10
}

start_prom() {
    echo 'global: {}' >"$WORK/prom.yml"
    launch prom prometheus --config.file="$WORK/prom.yml" --storage.tsdb.path="$WORK/prom" --log.level=warn \
        --web.listen-address="127.0.0.1:${PORT[prom]}"
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
    local first=
    [ -d "$WORK/pg/data" ] || first=1
    start_postgres "$WORK/pg" "${PORT[db]}" || return 1
    PID[db]=$PG_PID
    [ -z "$first" ] || pg_role watcher watcher-secret monitor
}

kill_db() { stop_postgres QUIT; }

start_maria() {
    start_mariadb "$WORK/maria" "${PORT[maria]}" || return 1
    PID[maria]=$MARIA_PID
    maria_sql "$WORK/maria" "create user if not exists watcher identified by 'watcher-secret';
        grant process, slave monitor on *.* to watcher"
}

(umask 077 && echo watcher-secret >"$WORK/db.pass")
fail_one_by_one redis nginx prom lb db maria
finish
