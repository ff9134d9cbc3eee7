#!/usr/bin/env bash
# weighting = "load": the same load on the same four instances, of which one is deliberately slow, once with even
# weights and once with weights by measured performance. HAProxy spreads by weight alone (roundrobin).
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/haproxy.sh"

need_command haproxy socat jq "${CC:-cc}"
LOADGEN=$BUILD/examples/shop/loadgen
[ -x "$AUTOSCALE" ] && [ -x "$LOADGEN" ] || bail "autoscale or the load generator is not built"
CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log ADMIN=$WORK/lb/admin.sock SLOW=$WORK/slow
SITE_ADDRESS=$(pick_address) WEB_ADDRESS=$(pick_address)
SITE=http://$SITE_ADDRESS:8080
SLOW_MS=300

# --- the platform -----------------------------------------------------------------------------------------
start_balancer() {
    mkdir -p "$WORK/lb"
    cat >"$WORK/lb/haproxy.cfg" <<CFG
global
    stats socket $ADMIN mode 600 level admin
    maxconn 2000
    hard-stop-after 20s
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
    retries 0
frontend site
    bind $SITE_ADDRESS:8080
    default_backend web
backend web
    balance roundrobin
    option httpchk GET /healthz
CFG
    cleanup_add 'stop_haproxy "$WORK/lb"'
    start_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
}

write_conf() { # WEIGHTING [MIN]
    cat >"$CONF.new" <<CONF
controller = { name = "weighting-$$"; interval = "500ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
groups = {
  web = {
    min = ${2:-4};
    max = 4;
    compute = {
      driver = "process"; command = [ "$WORK/web" ]; directory = "$WORK/instances"; address = "$WEB_ADDRESS";
      ports = "20000-20099"; stop_timeout = "2s";
      env = { WEB_ADDRESS = "{address}"; WEB_PORT = "{port}"; WEB_NAME = "{id}"; WEB_SERVICE_MS = "10"; WEB_SLOW = "$SLOW"; };
    };
    health = { http = "/healthz"; interval = "500ms"; rise = 1; timeout = "10s"; boot_timeout = "60s"; };
    balancer = { driver = "haproxy"; address = "$ADMIN"; backend = "web"; maxconn = 500; inter = "500ms"; fall = 20;
                 timeout = "10s"; drain = "5s"; weighting = "$1"; };
    policies = [ ];
  };
};
CONF
    mv "$CONF.new" "$CONF"
}

autoscale() {
    "$AUTOSCALE" "$@" -c "$CONF"
}

is_settled() { # N
    [ "$(autoscale status --json | jq -r '.groups[0] | "\(.wanted) \(.serving) \(.footprint)"')" = "$1 $1 $1" ]
}

# --- weights ----------------------------------------------------------------------------------------------
weights() { # prints "instance weight" as explain records them
    autoscale explain web --json | jq -r '(.weights // .decision.weights // [])[] | "\(.instance) \(.weight)"' | sort
}

listed_weights() { # the same as HAProxy has them
    haproxy_cli "$WORK/lb" 'show stat web 4 -1' | awk -F, '/^#/ { for (i = 1; i <= NF; i++) n[$i] = i; next }
        NF > 10 { print $n["svname"], $n["weight"] }' | sort
}

weight_of() { # ID
    listed_weights | awk -v id="$1" '$1 == id { print $2 }'
}

weight_between() { # ID LEAST MOST
    local w
    w=$(weight_of "$1")
    [ -n "$w" ] && [ "$w" -ge "$2" ] && [ "$w" -le "$3" ]
}

same_weights() {
    local seen
    seen=$(listed_weights)
    [ "$(grep -c . <<<"$seen")" = 4 ] && [ "$(weights)" = "$seen" ]
}

others_keep() { # LEAST: every other one has at least this weight
    [ "$(listed_weights | awk -v id="$VICTIM" -v least="$1" '$1 != id && $2 >= least' | grep -c .)" = 3 ]
}

# --- load -------------------------------------------------------------------------------------------------
load() { # NAME SECONDS: the result is load-NAME.json
    "$LOADGEN" --curve "0s:80,${2}s:80" --get / --quiet --json --timeout 60000 "$SITE" >"$WORK/load-$1.json" 2>"$WORK/load-$1.log"
}

count() { # NAME FIELD
    jq -er ".$2" "$WORK/load-$1.json"
}

below() { # A B PERCENT: A is under PERCENT of B
    awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN { exit !(a < b * p / 100) }'
}

start_background() {
    "$LOADGEN" --curve '0s:80,600s:80' --get / --quiet --json --timeout 60000 "$SITE" >"$WORK/load-background.json" \
        2>"$WORK/load-background.log" &
    BACKGROUND=$!
    own_pid $BACKGROUND
}

end_instances() { # they outlive the controller
    write_conf even 0
    local pid
    for pid in $(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$WORK"/instances/*.json 2>/dev/null); do
        grep -qaF -- "$WORK/web" "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid"
    done
}

# --- even, then load --------------------------------------------------------------------------------------
"${CC:-cc}" -std=c17 -O2 -D_GNU_SOURCE "$E2E/lib/web.c" -o "$WORK/web" -lpthread || bail "the web server does not compile"
start_balancer || bail "HAProxy does not start"
cleanup_add end_instances
write_conf even
autoscale check >"$WORK/check.log" 2>&1 || bail "the configuration is not accepted: $(<"$WORK/check.log")"
spawn "$LOG" "$AUTOSCALE" run -c "$CONF" || bail "autoscale does not start"
wait_for 90 "four instances to serve" is_settled 4 || bail "the group does not come up"
VICTIM=$(listed_weights | awk 'NR == 1 { print $1 }')
echo "$VICTIM $SLOW_MS" >"$SLOW"

load even 12
check_equal weighting_even_no_request_fails 0 "$(count even failed)"
check_equal weighting_even_gives_all_the_same "4 100" "$(listed_weights | awk '{ print $2 }' | sort | uniq -c | awk '{ print $1, $2 }')"
check weighting_even_p95_is_that_of_the_slow_one below "$((SLOW_MS * 9 / 10))" "$(count even p95_ms)" 100

write_conf load
autoscale reload >"$WORK/reload.log" 2>&1 || bail "the reload is refused: $(<"$WORK/reload.log")"
start_background
check weighting_load_the_slow_one_has_little wait_for 180 "the slow one's weight to settle" weight_between "$VICTIM" 1 12
check_soon weighting_load_the_others_keep_theirs others_keep 70
check_says weighting_load_explain_says_how_slow_it_is "$VICTIM +[0-9]+ +answers in ([2-9][0-9][0-9]|[1-9][0-9]{3,}) ms" autoscale explain web
end_pid "$BACKGROUND" 60 INT
check_equal weighting_load_no_request_fails_on_the_way 0 "$(count background failed)"
check_soon weighting_load_is_recorded_in_explain same_weights
check_says weighting_load_steps_are_in_the_history "weights +.*$VICTIM 1?[0-9][0-9] -> [0-9]+ \([0-9]+ ms\)" autoscale history -g web -n 5000

FAILURES=0
for try in 1 2 3 4; do # a machine that is busy with something else makes all of them slow for a while
    load weighted 12
    FAILURES=$((FAILURES + $(count weighted failed)))
    below "$(count weighted p95_ms)" "$(count even p95_ms)" 60 && break
    note "try $try: p95 $(count weighted p95_ms) ms; weights: $(listed_weights | tr '\n' ' ')"
done
note "p95: even $(count even p95_ms) ms, load $(count weighted p95_ms) ms; weights: $(listed_weights | tr '\n' ' ')"
check_equal weighting_load_no_request_fails 0 "$FAILURES"
check weighting_load_p95_is_clearly_below_even below "$(count weighted p95_ms)" "$(count even p95_ms)" 60
check_soon weighting_load_keeps_it_down weight_between "$VICTIM" 1 30
check_equal weighting_load_never_reaches_zero "" "$(autoscale history -g web -n 5000 | grep -oE 'web-[0-9a-f]+ [0-9]+ -> 0 ')"

# --- the slowness goes away ---------------------------------------------------------------------------------
rm "$SLOW"
start_background
check weighting_load_recovers wait_for 300 "the weight to come back" weight_between "$VICTIM" 80 200
end_pid "$BACKGROUND" 60 INT
check_equal weighting_load_no_request_fails_meanwhile 0 "$(count background failed)"

# --- back to even -------------------------------------------------------------------------------------------
echo "$VICTIM $SLOW_MS" >"$SLOW"
start_background
wait_for 180 "the slow one's weight to fall again" weight_between "$VICTIM" 1 60
write_conf even
autoscale reload >"$WORK/reload.log" 2>&1
check weighting_even_again_restores_the_weights wait_for 60 "weights of 100" eval \
    '[ "$(listed_weights | awk "\$2 == 100" | grep -c .)" = 4 ]'
end_pid "$BACKGROUND" 60 INT
finish
