#!/usr/bin/env bash
# weighting = "load" with a weighting_source: of three containers that do the same, one gets a burden of its own. Its CPU,
# as the docker source tells it, takes work away from it at HAProxy, and gives it back when the burden is gone.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/haproxy.sh"
. "$E2E/lib/dockerd.sh"

need_root
need_command dockerd haproxy socat busybox jq curl
[ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log DIR=$WORK/docker ADMIN=$WORK/lb/admin.sock
SITE_ADDRESS=$(pick_address) WEB_ADDRESS=$(pick_address)

start_host() {
    cleanup_add 'stop_dockerd "$DIR" 2>/dev/null'
    start_dockerd "$DIR" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" &&
        bash "$E2E/lib/dockerd.sh" image "$DIR" bb:1
}

# Each of them works a little all the time: about a third of its limit on an idle machine.
WORKING='httpd -p 8080 -h /www; while :; do i=0; while [ $i -lt 12000 ]; do i=$((i + 1)); done; sleep 0.2; done'
cat >"$CONF" <<CONF
controller = { name = "weigh-$$"; interval = "1s"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = { use = { driver = "docker"; hosts = [ "unix://$DIR/docker.sock" ]; timeout = "10s"; }; };
groups = {
  web = {
    min = 3; max = 3;
    compute = { driver = "docker"; hosts = [ "unix://$DIR/docker.sock" ]; image = "bb:1"; port = 8080; network = "weigh-$$";
                publish = "$WEB_ADDRESS"; cpus = 0.2; command = [ "sh", "-c", "$WORKING" ]; stop_timeout = "0s"; };
    health = { http = "/"; interval = "1s"; timeout = "10s"; fall = 20; boot_timeout = "60s"; };
    balancer = { driver = "haproxy"; address = "$ADMIN"; backend = "web"; inter = "1s"; fall = 30; timeout = "10s";
                 weighting = "load"; weighting_source = "use"; };
    policies = [ ];
  };
};
CONF

autoscale() { "$AUTOSCALE" "$@" -c "$CONF"; }
status() { autoscale status --json 2>/dev/null; }
is_settled() { [ "$(status | jq -r '.groups[0] | "\(.wanted) \(.serving) \(.footprint)"')" = "3 3 3" ]; }
weight_of() { haproxy_cli "$WORK/lb" 'show stat -1 4 -1' | awk -F, -v id="$1" 'index($2, id) { print $19 }'; }
weighs() { # ID OPERATOR N
    [ "$(weight_of "$1")" "$2" "$3" ]
}
run_in() { # ID COMMAND
    local exec
    exec=$(_dk_curl "$DIR" "/containers/$1/exec" -X POST -H 'Content-Type: application/json' \
        -d "{\"Cmd\":[\"sh\",\"-c\",\"$2\"]}" | jq -r .Id)
    _dk_curl "$DIR" "/exec/$exec/start" -X POST -H 'Content-Type: application/json' -d '{"Detach":true}'
}

start_site "$WORK/lb" "$SITE_ADDRESS:8080" web "balance roundrobin" "option httpchk GET /" &&
    start_host || bail "the platform does not start"
spawn "$LOG" "$AUTOSCALE" run -c "$CONF"
wait_for 120 "three members" is_settled || bail "the group does not come up"
mapfile -t ids < <(status | jq -r '.groups[0].instances[].id' | sort)
wait_for 60 "the CPU of all" eval '[ "$(status | jq "[.groups[0].instances[].weights[0].cpu_percent // empty] | length")" = 3 ]'
check a_source_that_only_weights_read_is_asked [ "$(status | jq -r '.sources[0].idle')" = false ]
run_in "${ids[1]}" 'echo $$ >/tmp/burden; while :; do :; done'
check a_burdened_member_gets_less wait_for 120 "less weight" weighs "${ids[1]}" -lt 75
note "weights: $(weight_of "${ids[0]}") $(weight_of "${ids[1]}") $(weight_of "${ids[2]}")"
check_soon and_less_than_the_others eval 'weighs "${ids[1]}" -lt "$(weight_of "${ids[0]}")"'
check_says explain_says_why "${ids[1]} +[0-9]+  CPU at [0-9]+ %" autoscale explain web
check_says history_says_so "${ids[1]} [0-9]+ -> [0-9]+ \([0-9]+ % CPU\)" autoscale history -n 5000
run_in "${ids[1]}" 'kill $(cat /tmp/burden)'
check without_the_burden_it_gets_its_share_again wait_for 180 "more weight" weighs "${ids[1]}" -ge 80
finish
