#!/usr/bin/env bash
# examples/multi-tier as it stands, but for paths, faster clocks and an opening hour that is not now: two HAProxy, PostgreSQL,
# containers of nginx (web) that pass orders to containers of the shop (api), processes that wait for mail. One rush drives
# both tiers at once, the database stops the one that is to give way first, orders that fail keep what serves, and a queue
# that cannot be asked holds only its own group.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/dockerd.sh"
. "$E2E/lib/example.sh"
. "$E2E/lib/haproxy.sh"
. "$E2E/lib/postgres.sh"
. "$E2E/lib/processes.sh"

PATH=$PATH:/usr/sbin
need_root
need_command dockerd haproxy nginx socat busybox jq curl ip
SHOP=$BUILD/examples/shop/shop LOADGEN=$BUILD/examples/shop/loadgen
[ -x "$AUTOSCALE" ] && [ -x "$SHOP" ] && [ -x "$LOADGEN" ] || bail "autoscale, the shop or the load generator is not built"
DOCKER=$WORK/docker/docker.sock

# --- the platform ---------------------------------------------------------------------------------------------
docker_api() { # METHOD PATH [curl option…]
    _dk_curl "$WORK/docker" "$2" -X "$1" -m 60 "${@:3}"
}

start_host() { # its network is there before autoscale is: GATEWAY is where containers find this host
    cleanup_add 'stop_dockerd "$WORK/docker" 2>/dev/null'
    start_dockerd "$WORK/docker" - --default-address-pool base=10.70.0.0/16,size=24 || return 1
    docker_api POST /networks/create -f -o /dev/null -H 'Content-Type: application/json' -d '{"Name": "shop"}' || return 1
    GATEWAY=$(docker_api GET /networks/shop | jq -r '.IPAM.Config[0].Gateway')
    [[ $GATEWAY == 10.70.* ]]
}

start_database() {
    start_postgres "$WORK/pg" 5432 -c listen_addresses="127.0.0.1,$GATEWAY" -c max_connections=75 || return 1
    echo 'host shop web,api 10.70.0.0/16 trust' | pg_as tee -a "$WORK/pg/data/pg_hba.conf" >/dev/null
    (umask 077 && echo watcher-secret >"$WORK/db.pass")
    pg_role autoscale watcher-secret monitor && pg_sql 'create role web login; create role api login; create role shop' &&
        pg_sql 'create database shop' && pg_sql "$(<"$ROOT/examples/shop/schema.sql")" shop &&
        pg_sql 'grant shop to api; select pg_reload_conf()' >/dev/null
}

# A web server and its two sessions with the database; to PostgreSQL it is the hello of a user `web`.
web_image() {
    local root=$WORK/web-image
    mkdir -p "$root" && "$ROOT/examples/shop/rootfs.sh" "$(command -v nginx)" "$root" && mv "$root/shop" "$root/nginx" &&
        busybox_rootfs "$root" && mkdir -p "$root/t" && echo 'root:x:0:' >"$root/etc/group" || return 1
    cat >"$root/nginx.conf" <<CFG
daemon off; user root; worker_processes 1; pid /tmp/pid; error_log /tmp/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path /t/1; proxy_temp_path /t/2; fastcgi_temp_path /t/3; uwsgi_temp_path /t/4; scgi_temp_path /t/5;
  server {
    listen 8080;
    location = /healthz { return 200 "fine\n"; }
    location /api/ { proxy_pass http://$GATEWAY:8081; }
  }
}
CFG
    cat >"$root/start" <<SH
#!/bin/sh
session() {
    while :; do { printf '\0\0\0\040\0\003\0\0user\0web\0database\0shop\0\0'; sleep 100000; } | nc $GATEWAY 5432; sleep 1; done
}
while [ \$((n = n + 1)) -le \$DB_POOL ]; do session >/dev/null 2>&1 & done
exec /nginx -c /nginx.conf -e /tmp/error.log
SH
    chmod 0755 "$root/start" && load_image "$WORK/docker" shop-web:1.4 "$root" /start
}

api_image() {
    local root=$WORK/api-image
    mkdir -p "$root" && "$ROOT/examples/shop/rootfs.sh" "$SHOP" "$root" && busybox_rootfs "$root" || return 1
    cat >"$root/start" <<SH
#!/bin/sh
export LISTEN=0.0.0.0 PORT=9000 DATABASE="host=$GATEWAY user=api dbname=shop" SHOP_DB_POOL=\$DB_POOL SHOP_WORKERS=8
exec /shop
SH
    chmod 0755 "$root/start" && load_image "$WORK/docker" shop-api:2.9 "$root" /start
}

start_balancers() {
    start_site "$WORK/edge" 127.0.0.1:80 web 'balance leastconn' 'option httpchk GET /healthz' &&
        start_site "$WORK/inner" "$GATEWAY:8081" api 'balance leastconn' 'option httpchk GET /healthz'
}

mails() { # N of them wait
    mkdir -p "$WORK/queue" && echo "{ \"mail\": { \"ready\": $1, \"oldest_s\": 2.5 } }" >"$WORK/queue/depth.new" &&
        mv "$WORK/queue/depth.new" "$WORK/queue/depth.json"
}

start_queue() {
    spawn "$WORK/queue.log" busybox httpd -f -p 127.0.0.1:8080 -h "$WORK/queue" || return 1
    QUEUE=$SPAWN_PID
    wait_for 60 "the queue's page" is_listening 127.0.0.1 8080
}

make_mailer() {
    mkdir -p "$WORK/mailer.www" && echo fine >"$WORK/mailer.www/healthz"
    printf '#!/bin/sh\nexec %s httpd -f -p "$2" -h %s\n' "$(command -v busybox)" "$WORK/mailer.www" >"$WORK/mailer" &&
        chmod +x "$WORK/mailer"
}

# --- the configuration: ten to a hundred times as fast ----------------------------------------------------------
write_conf() {
    local later faster
    later=$(TZ=Europe/Berlin date -d '8 hours' +%H:%M)
    faster='s/interval = "10s"/interval = "1s"/; s/interval = "[25]s"/interval = "500ms"/; s/settle = "30s"/settle = "4s"/
        s/window = "30s"/window = "2s"/; s/window = "[0-9]*m"/window = "4s"/; s/rise = 2;/rise = 2; timeout = "5s";/'
    mkdir -p "$WORK/policies.d"
    for file in "$ROOT"/examples/multi-tier/policies.d/*.conf; do
        sed -e "$faster" -e "s/start = \"08:50\"/start = \"$later\"/" "$file" \
            >"$WORK/policies.d/$(basename "$file")"
    done
    sed -e "s|/var/lib/autoscale/tiers.db|$WORK/state.db|; s|/run/autoscale/tiers.sock|$WORK/autoscale.sock|" \
        -e "s|/run/haproxy/\([a-z]*\).sock|$WORK/\1/admin.sock|; s|/etc/autoscale/db.pass|$WORK/db.pass|" \
        -e "s|/run/docker.sock|$DOCKER|; s|/srv/shop/mailer|$WORK/mailer|; s|/var/lib/autoscale/mail|$WORK/instances|" \
        -e "$faster" "$ROOT/examples/multi-tier/autoscale.conf" >"$CONF"
}

# --- what happens -----------------------------------------------------------------------------------------------
begin_load() { # NAME [option…]: 150 requests a second from now on, which are orders if nobody says otherwise
    spawn "$WORK/$1.out" "$LOADGEN" --curve 0s:150,900s:150 --quiet --json --timeout 30000 "${@:2}" http://127.0.0.1:80
    LOAD=$SPAWN_PID
}

end_load() {
    end_pid "$LOAD" 60 INT
}

sessions_of() { # USER
    pg_sql "select count(*) from pg_stat_activity where usename = '$1'"
}

has_sessions() { # USER N
    [ "$(sessions_of "$1")" = "$2" ]
}

orders() { # WHERE
    pg_sql "select count(*) from orders where $1" shop
}

is_ordering() { # the synthetic shopper
    [ "$(orders 'user_id = 1 and product_id = 1')" -gt 0 ] && fresh checkout.latency_ms
}

free_is() { # N
    [ "$(value db.connections_free)" = "$1" ]
}

# Somebody else's: a backup or a report, until it ends.
begin_backup() { # takes connections until N are free
    local n # whoever asks has a connection himself
    n=$(pg_sql "select 75 - 3 + 1 - count(*) - $1 from pg_stat_activity where backend_type = 'client backend'") || return 1
    while [ $((n--)) -gt 0 ]; do
        spawn "$WORK/backup.log" env PGAPPNAME=backup "$(pg_bin psql)" -X -q -h "$PG_DIR" -U postgres -c 'select pg_sleep(3600)' || return 1
    done
    wait_for 60 "$1 free connections" free_is "$1"
}

end_backup() {
    pg_sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'backup'" >/dev/null
}

servers() { # HAPROXY BACKEND
    haproxy_cli "$WORK/$1" "show stat $2 4 -1" | awk -F, '!/^#/ && NF > 2' | wc -l
}

containers() {
    docker_api GET '/containers/json?all=1' | jq length
}

not_fresh() { # METRIC
    [ -n "$(value "$1")" ] && ! fresh "$1"
}

source_fails() { # SOURCE
    [ -n "$(status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0].error // empty')" ]
}

ip link set lo up
start_host && start_database && web_image && api_image && start_balancers || bail "the platform does not start"
make_mailer && mails 0 && start_queue && take_names "127.0.0.1 db1 queue1 edge1" || bail "the platform does not start"
write_conf
note "the platform is there after ${SECONDS}s"

text=$(autoscale plan 2>&1)
check_equal plan_says_that_there_is_something_to_do 2 $?
check_equal plan_names_each_instance "2 2 1" "$(awk '/^group/ { g = $2 } / create / { n[g]++ }
    END { print n["web,"], n["api,"], n["mail,"] }' <<<"$text")"
check_equal plan_starts_nothing 0 "$(containers)"

cleanup_add end_instances
run_example
for tier in 'web 2' 'api 2' 'mail 1'; do
    # shellcheck disable=SC2086
    wait_for 120 "tier $tier" serves $tier || bail "the tiers do not come up"
done
check a_synthetic_order_goes_all_the_way wait_for 60 "an order" is_ordering
wait_for 60 "the sessions of both tiers" eval 'has_sessions web 4 && has_sessions api 16' || bail "the tiers do not use the database"
note "all tiers are there after ${SECONDS}s"

begin_backup 41 || bail "no backup"
begin_load rush
check the_edge_drives_the_tier_behind_it wait_for 90 "three of the API" at_least api 3
check the_rush_asks_for_more_web wait_for 60 "its want" asks_for web web-load 3
check the_database_stops_the_tier_that_gives_way_first wait_for 60 "the ceiling" bound_by web web-db
wait_ticks 6
check_equal it_has_not_grown 2 "$(group web .footprint)"
check explain_says_so wait_for 60 "its words" explains web 'bound by ceiling web-db'
end_backup
check it_grows_when_there_are_connections wait_for 90 "three of web" at_least web 3
note "both tiers have grown after ${SECONDS}s"

mails 1500
check mails_that_wait_bring_workers wait_for 90 "three workers" serves mail 3
end_pid "$QUEUE"
check a_queue_that_cannot_be_asked_is_named wait_for 60 "its failure" source_fails queue
end_load
note "$(jq -c '{due, ok, failed, p50_ms, p99_ms}' "$WORK/rush.out")"
check_equal no_order_of_the_rush_failed 0 "$(jq .failed "$WORK/rush.out")"
check and_each_is_in_the_database [ "$(orders true)" -ge "$(jq .ok "$WORK/rush.out")" ]

begin_load visits --get /healthz # who looks and buys nothing keeps both tiers where they are
pg_sql 'revoke insert on orders from shop' shop
check orders_that_fail_are_noticed wait_for 60 "no latency" not_fresh checkout.latency_ms
wait_for 90 "three of web" at_least web 3
size=$(group web .wanted)
end_load
check another_tier_shrinks wait_for 120 "two of the API" serves api 2
wait_ticks 24 # three times the longest window
check_equal nobody_is_taken_away_while_orders_fail "$size" "$(group web .wanted)"
pg_sql 'grant insert on orders to shop' shop
check web_shrinks_when_orders_succeed wait_for 120 "two of web" serves web 2
check_equal who_needs_the_queue_is_held 3 "$(group mail .wanted)"
mails 0
start_queue
check and_shrinks_when_it_answers wait_for 90 "one worker" serves mail 1

check_equal nothing_is_left_but_what_serves "4 2 2 1" "$(containers) $(servers edge web) $(servers inner api) $(instances | wc -l)"
check nor_sessions_of_what_went wait_for 60 "the end of the last session" eval 'has_sessions web 4 && has_sessions api 16'
note "done after ${SECONDS}s"
finish
