#!/usr/bin/env bash
# G4: no traffic to an instance before its health checks pass. G5: no instance stops before its sessions end or
# its drain deadline passes, and the last serving member is never drained. The instances answer 500 until
# they are warm and end at once when they are told to, and HAProxy does not retry: any mistake is a failed request.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"

no_failure() { # CHECK LOAD
    note "$2: $(load_summary "$2")"
    check "$1" jq -e '.failed == 0 and .ok > 20' "$WORK/load-$2.out"
}

served_by() { # prints how many of our members have been given requests
    haproxy_cli "$WORK/lb" "show stat web 4 -1" | awk -F, '/^#/ { for (i = 1; i <= NF; i++) n[$i] = i; next }
        NF > 10 && $n["stot"] > 0 { c++ } END { print c + 0 }'
}

all_served() { # COUNT
    [ "$(served_by)" = "$1" ]
}

# --- G4 ---------------------------------------------------------------------------------------------------
scale_out_of_slow_starters() { # NAME HEALTH
    write_conf min=1 max=4 'env=WEB_WARMUP_MS = "2500";' "health=$2"
    start_autoscale || return
    wait_settled 1 || return
    start_load "$1" 0s:100,300s:100 || return
    wait_for 60 "four instances to serve" field_is serving 4 || return
    wait_for 60 "each of them to be given requests" all_served 4 || return
    check "G4_$1_reaches_max" wait_rest 4
    stop_load "$1"
    no_failure "G4_$1_sends_nothing_too_early" "$1"
}

# --- G5, under load -----------------------------------------------------------------------------------------
no_request_is_lost() {
    local round
    write_conf min=1 max=5 'env=WEB_SERVICE_MS = "20";'
    start_autoscale || return
    wait_settled 1 || return
    start_load keepalive 0s:8,900s:8 || return
    start_load reconnect 0s:4,900s:4 --no-keepalive || return
    start_load slow 0s:1,900s:1 --get /slow/700 || return
    for round in 1 2; do
        start_load "peak$round" 0s:40,2s:120,900s:120
        wait_for 60 "five instances to serve" field_is serving 5 || fail G5_scales_out "round $round"
        stop_load "peak$round"
        wait_settled 1 120 || fail G5_scales_in "round $round"
        no_failure "G5_no_request_is_lost_peak_$round" "peak$round"
    done
    stop_load keepalive
    stop_load reconnect
    stop_load slow
    no_failure G5_no_request_is_lost_keepalive keepalive
    no_failure G5_no_request_is_lost_reconnect reconnect
    note "slow: $(load_summary slow)"
    check G5_no_request_is_lost_slow jq -e '.failed == 0 and .ok > 5' "$WORK/load-slow.out"
}

# --- G5, one drain at a time ----------------------------------------------------------------------------------
slow_request() { # NAME: in the background, until `release`; leaves "status begun ended instance" in $WORK/slow-NAME
    local out=$WORK/slow-$1 began status
    rm -f "$out"
    {
        began=$(now_ms)
        status=$(curl -s -o "$out.body" -m 300 -w '%{http_code}' "$SITE/hold")
        echo "$status $began $(now_ms) $(head -n 1 "$out.body" 2>/dev/null)" >"$out.new" && mv "$out.new" "$out"
    } &
    own_pid $!
}

holding() { # prints how many members hold a session
    backend_rows web | awk '$3 > 0' | wc -l
}

holds() {
    [ "$(holding)" = "$1" ]
}

answered() { # PREFIX COUNT
    [ "$(cat "$WORK/slow-$1"? 2>/dev/null | grep -c .)" = "$2" ]
}

occupy() { # PREFIX COUNT: as many requests that last until `release`, one on each instance
    local n
    for ((n = 1; n <= $2; n++)); do
        slow_request "$1$n"
        wait_for 60 "$n instances to be busy" holds "$n" || return 1
    done
}

long_requests_complete() {
    write_conf min=3 max=3 drain=10m
    start_autoscale || return
    wait_settled 3 || return
    occupy long 3 || return
    write_conf min=1 max=1 drain=10m
    reload_autoscale || return
    check G5_scale_in_begins_with_a_drain wait_for 60 "two to be draining" field_is draining 2
    wait_ticks 8
    check_equal G5_draining_instances_still_run 3 "$(our_containers | grep -c running)"
    check G5_the_drains_last_as_long_as_the_requests field_is draining 2
    release
    wait_for 60 "three answers" answered long 3 || return
    check_equal G5_long_requests_complete "200 200 200 " "$(cut -d' ' -f1 "$WORK"/slow-long? | tr '\n' ' ')"
    check_equal G5_long_requests_were_on_three_instances 3 "$(cut -d' ' -f4 "$WORK"/slow-long? | sort -u | wc -l)"
    check G5_drained_instances_leave wait_settled 1
    check G5_no_drain_was_cut eval '! log_has "drain deadline passed"'
    check G5_one_is_left_everywhere wait_rest 1
}

# Whoever takes over finds the drain in the journal, waits for its sessions, and keeps its deadline.
drain_survives_a_crash() {
    write_conf min=2 max=2 drain=10m
    start_autoscale || return
    wait_settled 2 || return
    occupy crash 2 || return
    write_conf min=1 max=1 drain=10m
    reload_autoscale || return
    wait_for 60 "one to be draining" field_is draining 1 || return
    kill9_autoscale
    start_autoscale || return
    check G5_a_crash_does_not_end_a_drain wait_for 60 "one still to be draining" field_is draining 1
    wait_ticks 8
    check G5_the_drain_goes_on_after_a_crash field_is draining 1
    release
    wait_for 60 "two answers" answered crash 2 || return
    check_equal G5_its_requests_complete_after_a_crash "200 200 " "$(cut -d' ' -f1 "$WORK"/slow-crash? | tr '\n' ' ')"
    check G5_the_drain_ends_after_a_crash wait_settled 1
    check G5_nothing_is_left_of_it wait_rest 1
}

drain_deadline_cuts() {
    local asked cut ended
    write_conf min=2 max=2 drain=4s
    start_autoscale || return
    wait_settled 2 || return
    occupy cut 2 || return
    asked=$(now_ms)
    write_conf min=1 max=1 drain=4s
    reload_autoscale || return
    wait_for 60 "one of two answers" answered cut 1 || return
    read -r cut _ ended _ < <(cat "$WORK"/slow-cut?)
    note "cut $((ended - asked)) ms after the reload, with status $cut"
    check G5_drain_is_not_cut_before_its_deadline [ $((ended - asked)) -ge 4000 ]
    check G5_drain_is_cut_after_its_deadline [ "$cut" != 200 ]
    check_soon G5_the_log_says_it_was_cut log_has 'DRAINING -> LEAVING .*drain deadline passed with 1 sessions'
    check G5_the_cut_instance_leaves wait_settled 1
    release
    wait_for 60 "the other answer" answered cut 2 || return
    check_equal G5_the_one_that_stays_is_not_cut 1 "$(cat "$WORK"/slow-cut? | grep -c '^200 ')"
}

# Load that comes back takes a draining instance back in, before anything new is made.
returning_load_readmits() {
    local before
    write_conf min=2 max=2 drain=10m
    start_autoscale || return
    wait_settled 2 || return
    before=$(containers)
    occupy back 2 || return
    write_conf min=1 max=1 drain=10m
    reload_autoscale || return
    wait_for 60 "one to be draining" field_is draining 1 || return
    write_conf min=2 max=2 drain=10m
    reload_autoscale || return
    check G5_drain_is_cancelled_when_load_returns wait_settled 2
    check_equal G5_nothing_new_was_made_for_it "$before" "$(containers)"
    check G5_both_take_traffic_again wait_rest 2
    release
    wait_for 60 "two answers" answered back 2 || return
    check_equal G5_its_request_completes "200 200 " "$(cut -d' ' -f1 "$WORK"/slow-back? | tr '\n' ' ')"
}

up_loop() { # FILE: how many members are up, all the time; its own row says that the backend was told of
    local said
    while :; do
        said=$(haproxy_cli "$WORK/lb" 'show stat web 6 -1')
        [[ $said == *web,BACKEND,* ]] && awk -F, '$2 ~ /^web-/ && $18 == "UP" { n++ } END { print n + 0 }' <<<"$said" >>"$1"
    done
}

looked_up() { # FILE
    [ "$(grep -c . "$1")" -ge 20 ]
}

# One of two is paused: the balancer has given it up, we have not. Whom does a scale-in take?
last_serving_member_stays() {
    local paused name pid
    local health='http = "/healthz"; interval = "200ms"; timeout = "300ms"; rise = 2; fall = 100; boot_timeout = "30s";'
    write_conf min=2 max=2 "health=$health"
    start_autoscale || return
    wait_settled 2 || return
    read -r paused name _ < <(our_containers)
    docker_api POST "/containers/$paused/pause"
    wait_for 60 "the balancer to give it up" field_is serving 1 || return
    spawn "$WORK/up.log" up_loop "$WORK/up"
    pid=$SPAWN_PID
    write_conf min=1 max=1 "health=$health" drain=3s
    reload_autoscale || return
    check G5_the_sick_one_is_the_victim wait_settled 1
    check_equal G5_the_last_serving_member_stays 0 "$(containers | grep -c "$name")"
    wait_for 60 "enough looks" looked_up "$WORK/up"
    end_pid "$pid" 15 KILL 2>/dev/null
    note "$(grep -c . "$WORK/up") looks at the members"
    check_equal G5_a_member_was_up_all_the_time 1 "$(sort -n "$WORK/up" | head -n 1)"
}

start_platform
# The port answers long before the service does: in the second, HAProxy's own checks are all that stands in between.
subject scale_out_of_slow_starters own_checks 'http = "/healthz"; interval = "100ms"; rise = 2; timeout = "3s"; boot_timeout = "60s";'
subject scale_out_of_slow_starters balancer_checks 'tcp = true; interval = "100ms"; rise = 1; timeout = "3s"; boot_timeout = "60s";'
subject no_request_is_lost
subject long_requests_complete
subject drain_survives_a_crash
subject drain_deadline_cuts
subject returning_load_readmits
subject last_serving_member_stays
finish
