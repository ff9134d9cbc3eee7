#!/usr/bin/env bash
# G9: launches that fail are tried ever more rarely, and starve nobody. G10: what hangs delays nobody else, and when it
# wakes up nothing exists twice. Real dockerds without image, without room, stopped and killed.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
start_wide

launches() { # of web: seconds since midnight of each, from the log
    awk '$3 == "web" && / -> CREATING / { split(substr($1, 12, 12), t, ":"); printf "%.3f\n", t[1] * 3600 + t[2] * 60 + t[3] }' "$LOG"
}

never_within() { # SECONDS FIRST: none of the launches after the first FIRST followed the one before sooner
    launches | awk -v least="$1" -v first="$2" 'NR > first && $1 - last < least && $1 >= last { print "after " $1 - last "s" } { last = $1 }'
}

# --- G9: an image that never becomes healthy ---------------------------------------------------------------------
reset_wide
docker_of 1 DELETE '/images/e2e-web:none' -o /dev/null
wide_conf env='WEB_WARMUP_MS = "-1";' boot=2s min=2 max=2
start_autoscale
watch_footprint "$WORK/watched"
check G9_unhealthy_instances_are_given_up wait_for 60 "the failures" eval '[ "$(gf web launch_failures_total)" -ge 3 ]'
check_match G9_says_what_the_health_check_said 'no healthy answer within 2.*500' "$(gf web launch_error)"
check_equal G9_unhealthy_launches_wait_longer_too "" "$(never_within 4.9 2)"
end_watch
check_equal G9_never_more_containers_than_max ok "$([ "$(most_containers "$WORK/watched")" -le 2 ] && echo ok)"
check_equal G9_unhealthy_ones_never_got_traffic "" "$(haproxy_cli "$WORK/lb" 'show stat web 4 -1' | awk -F, '$2 ~ /^web-/ && $8 > 0')"
wide_conf boot=20s min=2 max=2
autoscale reload >/dev/null
check G9_heals_after_the_reload wait_group web 2 90

cp "$LOG" /tmp/gb/x.log
finish
