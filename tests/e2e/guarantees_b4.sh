#!/usr/bin/env bash
# G9: launches that fail are tried ever more rarely, and starve nobody. G10: what hangs delays nobody else, and when it
# wakes up nothing exists twice. Real dockerds without image, without room, stopped and killed.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
start_wide

launches() { # of web: seconds since midnight of each, from the log
    awk '$3 == "web" && / -> CREATING / { split(substr($1, 12, 12), t, ":"); printf "%.3f\n", t[1] * 3600 + t[2] * 60 + t[3] }' "$LOG"
}

waited() { # N: seconds between launch N of web and the one after it, whole ones
    launches | awk -v n="$1" 'NR == n { at = $1 } NR == n + 1 { d = $1 - at; print int(d < 0 ? d + 86400 : d) }'
}

# --- G9: the image is missing --------------------------------------------------------------------------------
wide_conf image=e2e-web:none min=3 max=3
start_autoscale
check G9_missing_image_is_said wait_for 60 "the failure" gf_has web hosts "image 'e2e-web:none' is not on host .*docker load or pull it there"
hold 2 6
check G9_another_group_scales_meanwhile wait_group two 3
wait_for 60 "three failures" eval '[ "$(gf web launch_failures_total)" = 3 ]' # the three of min, at once
check_says G9_status_says_why_and_when_next "blocked +(launches wait|no host can take one|one launch).*" autoscale status
check_says G9_status_counts_failures 'launch(es)? failed in a row, next try in [0-9.]+m?s: image' autoscale status
check_becomes G9_status_exit_says_that_something_fails 2 eval 'autoscale status >/dev/null; echo $?'
check_equal G9_nothing_is_left_of_failed_launches "" "$(containers_of web)"
check_equal G9_footprint_stays_within_max ok "$([ "$(gf web footprint)" -le 3 ] && echo ok)"
check G9_the_next_try_is_in_the_future wait_for 60 "a wait" eval 'status_json | jq -e ".groups[0].launch_wait_s > 3" >/dev/null' # none is tried meanwhile
docker_of 1 POST '/images/e2e-web:1/tag?repo=e2e-web&tag=none' -o /dev/null
HEALED=$(grep -c . "$LOG")
check G9_heals_when_the_image_is_there wait_group web 3 150
check_equal G9_one_probe_then_the_rest "CREATING SERVING CREATING" \
    "$(tail -n "+$((HEALED + 1))" "$LOG" | awk '$3 == "web" && / -> (CREATING|SERVING) / { print $8 }' | head -n 3 | tr '\n' ' ' | sed 's/ $//')"
check G9_the_probe_waited_for_the_back_off [ "$(waited 3)" -ge 4 ] # three that failed together are one failure
check_soon G9_all_agree_after_that in_step web 3

# --- G9: an image that never becomes healthy ---------------------------------------------------------------------
reset_wide
docker_of 1 DELETE '/images/e2e-web:none' -o /dev/null
wide_conf env='WEB_WARMUP_MS = "-1";' boot=3s min=1 max=1
start_autoscale
watch_footprint "$WORK/watched"
check G9_unhealthy_instances_are_given_up wait_for 90 "the failures" eval '[ "$(gf web launch_failures_total)" -ge 2 ]'
check_says G9_says_what_the_health_check_said 'no healthy answer within 3.*500' gf web launch_error
check G9_unhealthy_launches_wait_too [ "$(waited 1)" -ge 7 ] # three to fail, five of back-off
end_watch
check_equal G9_never_more_containers_than_max 1 "$(most_containers "$WORK/watched")"
check_equal G9_unhealthy_ones_never_got_traffic "" "$(haproxy_cli "$WORK/lb" 'show stat web 4 -1' | awk -F, '$2 ~ /^web-/ && $8 > 0')"
wide_conf boot=20s min=2 max=2 # and what they lacked
autoscale reload >/dev/null
check G9_heals_after_the_reload wait_group web 2 150

# --- a host without room -----------------------------------------------------------------------------------------
reset_wide
mkdir -p "$WORK/docker3/data" && mount -t tmpfs -o size=64m none "$WORK/docker3/data"
cleanup_add 'stop_dockerd "$WORK/docker3" 2>/dev/null; umount -l "$WORK/docker3/data" 2>/dev/null || :'
start_dockerd "$WORK/docker3" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" &&
    load_image "$WORK/docker3" e2e-web:1 "$WORK/rootfs" || bail "the third dockerd does not start"
cat /dev/zero >"$WORK/docker3/data/filler" 2>/dev/null
wide_conf hosts="\"unix://$WORK/docker3/docker.sock\", \"unix://$DOCKER\"" min=2
start_autoscale
check G9_another_host_takes_over wait_group web 2
check_equal G9_all_are_on_the_other_host "$(containers_of web)" "$(status_json | jq -r '.groups[0].instances[].id' | sort)"
check_says G9_full_host_is_said 'docker3/docker.sock +ok; [0-9]+ launch[es]* failed in a row, next try [^;]*no space left on device' autoscale status
rm "$WORK/docker3/data/filler"
knob load 40
wait_group web 4
on_full_host() { status_json | jq -e '[.groups[0].instances[] | select(.host | contains("docker3"))] | length > 0'; }
check G9_the_host_is_used_again_when_there_is_room wait_for 120 "an instance there" eval \
    'on_full_host || { knob load $((40 + RANDOM % 2 * 20)); sleep 3; false; }'
stop_autoscale
stop_dockerd "$WORK/docker3" 2>/dev/null

# --- G10 ------------------------------------------------------------------------------------------------------------
reset_wide
wide_conf compute='timeout = "4s";'
start_autoscale
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
pace() { # rounds of 500 ms in 4 s are 8; with half of them nothing waits for what hangs
    local before
    before=$(ticks)
    sleep 4
    [ $(($(ticks) - before)) -ge 4 ]
}

keeps_pace() { # what hangs goes on hanging: a loop that waited for it would never have such four seconds
    wait_for 60 "the pace of the rounds" pace
}
hang_pid "$(<"$WORK/docker/pid")"
knob load 40 # creates are under way when it hangs
hold 2 6
check G10_hung_docker_delays_no_other_group wait_group two 3
check G10_rounds_keep_their_pace keeps_pace
check G10_hung_docker_is_said wait_for 60 "the failure" gf_has web hosts 'failing_s'
check_says G10_unknown_outcomes_are_called_so ' -> UNKNOWN ' autoscale history -g web -n 5000
kill -CONT "$(<"$WORK/docker/pid")"
check G10_woken_docker_converges wait_group web 4 150
check G10_nothing_exists_twice wait_for 60 "agreement" in_step web 4

hang_haproxy "$WORK/lb"
knob load 60
hold 2 4
check G10_hung_haproxy_delays_no_other_group wait_group two 5
check G10_rounds_keep_their_pace_without_haproxy keeps_pace
check G10_hung_haproxy_is_said wait_for 60 "the failure" gf_has web balancers 'failing_s'
wake_haproxy "$WORK/lb"
check G10_woken_haproxy_converges wait_group web 6 150
check G10_nothing_is_a_member_twice wait_for 60 "agreement" in_step web 6

pg_hang
drop 2 4
check G10_hung_postgresql_delays_no_other_group wait_group two 3
check G10_rounds_keep_their_pace_without_postgresql keeps_pace
check_soon G10_hung_postgresql_is_said source_fails db
pg_wake
check G10_woken_postgresql_is_read_again wait_for 60 "the source" source_well db

# --- dockerd killed --------------------------------------------------------------------------------------------------
knob load 30
wait_group web 3 || bail "web is not scaled in"
OLD=$(containers_of web)
kill_dockerd "$WORK/docker"
wait_for 60 "the failure" gf_has web hosts 'failing_s'
# The published ports die with it, so that all look dead at once.
check killed_dockerd_is_doubted wait_for 60 "the doubt" gf_has web doubt 'of 3 serving instances look dead'
check_equal killed_dockerd_nothing_is_given_up "3 0" "$(gf web footprint) $(gf web failed)"
start_dockerd "$WORK/docker" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" || bail "dockerd does not start again"
check killed_dockerd_its_dead_containers_are_replaced wait_for 90 "agreement" in_step web 3
check_equal killed_dockerd_none_of_the_old_is_left "" "$(comm -12 <(echo "$OLD") <(containers_of web))"
finish
