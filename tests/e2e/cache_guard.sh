#!/usr/bin/env bash
# examples/cache-guard on a real Redis and a real HAProxy: its configuration as it is, but for addresses, faster clocks and
# processes in the place of containers. A flushed cache drives the group though no more requests arrive, a Redis without
# connections to spare stops it, and while Redis evicts nothing is taken away.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/example.sh"
. "$E2E/lib/haproxy.sh"
. "$E2E/lib/processes.sh"

PATH=$PATH:/usr/sbin
need_command haproxy socat redis-server redis-cli busybox jq
LOADGEN=$BUILD/examples/shop/loadgen
[ -x "$AUTOSCALE" ] && [ -x "$LOADGEN" ] || bail "autoscale or the load generator is not built"
ADMIN=$WORK/lb/admin.sock
REDIS_PORT=$(pick_port) SITE_PORT=$(pick_port)

redis() {
    redis-cli -p "$REDIS_PORT" "$@"
}

# Keys with a time to live may be evicted, the one that is asked for has none. The watcher may do INFO and nothing else.
start_cache() {
    (umask 077 && echo watcher-secret >"$WORK/redis.pass")
    spawn "$WORK/redis.log" redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --dir "$WORK" \
        --maxmemory 8mb --maxmemory-policy volatile-lru || return 1
    wait_for 60 "Redis to listen" is_listening 127.0.0.1 "$REDIS_PORT" &&
        [ "$(redis ACL SETUSER autoscale on '>watcher-secret' +info)" = OK ] && [ "$(redis SET hot 1)" = OK ]
}

# The example with the addresses of this test, ten to sixty times as fast.
write_conf() {
    mkdir -p "$WORK/site" && echo fine >"$WORK/site/healthz"
    local compute="compute = { driver = \"process\"; command = [ \"$(command -v busybox)\", \"httpd\", \"-f\", \"-p\", \"{address}:{port}\", \"-h\", \"$WORK/site\" ]; directory = \"$WORK/instances\"; address = \"127.0.0.1\"; ports = \"31000-31999\"; stop_timeout = \"2s\"; };"
    sed -e "/compute = {/,/env = {.*}; };/c\\    $compute" -e "s|/var/lib/autoscale/cache-guard.db|$WORK/state.db|" \
        -e "s|/run/autoscale/cache-guard.sock|$WORK/autoscale.sock|" -e "s|/run/haproxy/admin.sock|$ADMIN|" \
        -e "s|cache1:6379|127.0.0.1:$REDIS_PORT|" -e "s|/etc/autoscale/redis.pass|$WORK/redis.pass|" \
        -e 's/"2s"/"500ms"/; s/interval = "5s"/interval = "500ms"; timeout = "5s"/; s/, 1m)/, 4s)/; s/settle = "30s"/settle = "8s"/; s/"1m"/"4s"/; s/"30s"/"3s"/; s/"5m"/"4s"/' \
        -e "s/name = \"cache-guard\"/name = \"cache-guard-$$\"/; s/rise = 2;/rise = 2; timeout = \"5s\";/" \
        "$ROOT/examples/cache-guard/autoscale.conf" >"$CONF"
}

# --- what happens at the cache --------------------------------------------------------------------------------
# One process each, that ends with Redis: sends a line, then reads answers until there is silence for PACE seconds.
talk() { # LOG PACE LINE: N in the line counts up
    # shellcheck disable=SC2016
    spawn "$1" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
        while n=$((${n:-0} + 1)) && printf "%s\r\n" "${3/N/$n}" >&3; do while read -r -t "$2" -u 3; do :; done; done' \
        talk "$REDIS_PORT" "$2" "$3"
}

look_up() { # the shop's: ten a second, whether they hit or not
    talk "$WORK/lookups.log" 0.1 'GET hot'
}

start_filling() { # far more than fits, all the time
    talk "$WORK/filling.log" 0.02 "SET filler-N $(head -c 30000 /dev/zero | tr '\0' x) EX 600"
    FILLING=$SPAWN_PID
}

# --- what autoscale says ---------------------------------------------------------------------------------------
evicting() { awk -v v="$(value cache.evictions_per_second)" 'BEGIN { exit !(v >= 2) }'; }
warm() { awk -v v="$(value cache.hit_ratio)" 'BEGIN { exit !(v == 1) }'; }
wants_few() { [[ "$(proposal web web-load .count) $(proposal web cache-misses .count)" =~ ^[12]\ [0-2]$ ]]; }

start_site "$WORK/lb" "127.0.0.1:$SITE_PORT" web "balance leastconn" "option httpchk GET /healthz" || bail "HAProxy does not start"
start_cache || bail "Redis does not start"
write_conf
cleanup_add end_instances
run_example
wait_for 120 "two instances" serves web 2 || bail "the group does not come up"
look_up || bail "nobody asks the cache"
spawn "$WORK/load.log" "$LOADGEN" --curve 0s:35,900s:35 --get /healthz --quiet --json --timeout 30000 "http://127.0.0.1:$SITE_PORT"
wait_for 60 "a warm cache" wants_few || bail "the load is not that of a warm cache: $(explain_json web)"

redis CONFIG SET maxclients 60 >/dev/null && redis DEL hot >/dev/null
check misses_ask_for_more_of_the_same_requests wait_for 60 "the misses to count" asks_for web cache-misses 4
check_says and_the_requests_alone_do_not '^[12]$' proposal web web-load .count
wait_ticks 6
check_equal no_more_than_the_cache_has_connections_for 2 "$(group web .footprint)"
check_says explain_names_what_stops_it "cache-connections" binding web
redis CONFIG SET maxclients 10000 >/dev/null
check it_grows_when_there_are_connections wait_for 90 "four instances" at_least web 4

start_filling
wait_for 90 "evictions" evicting || bail "Redis evicts nothing"
redis SET hot 1 >/dev/null
check the_cache_is_warm_again wait_for 60 "hits" warm
check nobody_needs_them_any_more wait_for 60 "low demand" wants_few
size=$(group web .wanted)
wait_ticks 30 # three times the longest window
check_soon it_still_evicts evicting
check nothing_is_taken_away_while_it_evicts [ "$(group web .wanted)" -ge "$size" ]
end_pid "$FILLING"
check and_is_when_it_stops wait_for 90 "two instances" serves web 2
finish
