#!/usr/bin/env bash
# G1: the footprint never exceeds max, whatever fails, dies or is late. G2: serving is brought to min with no data.
# Docker is asked for the true number of containers all the time, in the background; the daemon's own counts
# are never taken as proof.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"

within_max() { # NAME FILE MAX: reached max, never passed it, and somebody looked
    local most
    most=$(most_containers "$2")
    note "$(watched "$2") looks, at most $most containers, max $3"
    looked_often "$2" || { fail "$1" "only $(watched "$2") looks: proves nothing"; return; }
    check_equal "$1" "$3" "$most"
}

never_healthy() {
    write_conf min=2 max=2 'env=WEB_WARMUP_MS = "-1";' 'compute=keep_failed = "60s";' \
        'health=http = "/healthz"; interval = "100ms"; rise = 2; timeout = "3s"; boot_timeout = "1s";'
    watch_footprint "$WORK/sick"
    start_autoscale || return
    wait_for 90 "a launch after the first two have failed" field_at_least launches_total 3 || return
    wait_for 60 "its failure" field_at_least launch_failures_total 3 || return
    end_watch
    within_max G1_sick_image_never_exceeds_max "$WORK/sick" 2
    check_equal G1_sick_image_takes_no_traffic "" "$(up_members)"
}

kill_some() { # COUNT: as `docker kill`, at the same time
    local id ids pids=()
    ids=$(our_containers | awk -v n="$1" '$3 == "running" && n-- > 0 { print $1 }')
    for id in $ids; do
        docker_api POST "/containers/$id/kill" -o /dev/null &
        pids+=($!)
    done
    wait "${pids[@]}"
    KILLED=$ids
}

killed_are_gone() {
    local id
    for id in $KILLED; do
        [ "$(docker_api GET "/containers/$id/json" -o /dev/null -w '%{http_code}')" = 404 ] || return 1
    done
}

dying_at_max() {
    local round rounds=0
    write_conf min=4 max=4
    start_autoscale || return
    wait_settled 4 || return
    watch_footprint "$WORK/dying"
    for round in 1 3 4; do
        kill_some "$round"
        wait_for 60 "the dead containers to be removed" killed_are_gone && wait_settled 4 && rounds=$((rounds + 1))
    done
    end_watch
    check_equal G1_every_death_was_replaced 3 "$rounds"
    within_max G1_deaths_at_max_never_exceed_it "$WORK/dying" 4
    check G1_deaths_leave_no_trace wait_rest 4
}

# The host takes the creates and answers nobody: their outcome is unknown, they may happen later, they count.
# (No reload in between: a new driver would first ask for the network, and then nothing is unknown.)
late_creates() {
    local pid
    write_conf min=1 max=3 'compute=timeout = "2s";'
    start_autoscale || return
    wait_settled 1 || return
    watch_footprint "$WORK/late"
    pid=$(cat "$WORK/docker/pid")
    hang_pid "$pid"
    start_load late 0s:80,300s:80 || return
    check G1_unanswered_creates_are_unknown wait_for 60 "two instances of unknown outcome" has_unknown 2
    check_equal G1_unknown_creates_count_in_the_footprint 3 "$(group_field footprint)"
    kill -CONT "$pid"
    wait_settled 3 || return
    end_watch
    within_max G1_late_creates_never_exceed_max "$WORK/late" 3
    check G1_late_creates_leave_no_orphan wait_rest 3 # while there is the load for three
    stop_load late
}

has_unknown() {
    [ "$(instances | grep -c UNKNOWN)" = "$1" ]
}

source_is_dead() {
    status_json | jq -e '.sources[] | select(.name == "lb") | .endpoints[] | select(.ok == false and .failures > 0)' >/dev/null
}

min_without_data() {
    write_conf min=2 max=4 lb="$WORK/nowhere.sock"
    start_autoscale || return
    check G2_min_is_reached_without_data wait_settled 2
    check_soon G2_the_source_was_really_dead source_is_dead
    check G2_min_really_serves wait_rest 2
    kill_some 2
    wait_for 60 "the dead containers to be removed" killed_are_gone || return
    check G2_min_is_restored_without_data wait_settled 2
    check G2_restored_min_really_serves wait_rest 2
    kill9_autoscale
    kill_some 2
    start_autoscale || return
    wait_for 60 "the dead containers to be removed" killed_are_gone || return
    check G2_min_is_restored_after_a_restart wait_settled 2
    check G2_min_really_serves_after_a_restart wait_rest 2
}

start_platform
subject never_healthy
subject dying_at_max
subject late_creates
subject min_without_data
finish
