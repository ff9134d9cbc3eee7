#!/usr/bin/env bash
# G11: a bad reload changes nothing, a good one keeps windows and cooldowns. G12: every decision can be explained
# afterwards, also the ones that were held. G14: many deaths at once are doubted.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
start_wide
OUT= STATUS=
run() { # command…: OUT is both outputs
    OUT=$("$@" 2>&1)
    STATUS=$?
}

# --- G11: bad reloads ----------------------------------------------------------------------------------------
wide_conf
start_autoscale
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
view() { # what a reload could change
    status_json | jq -cS '[.controller, .interval_ms, (.groups[] | {name, min, max, wanted, hosts: [.hosts[].host],
        balancers: [.balancers[].balancer], instances: [.instances[] | [.id, .state, .outdated]]}), (.sources[] | [.name, .driver])]'
}
VIEW=$(view)
refused() { # NAME REGEX: the file as it is now
    run autoscale reload --socket "$WORK/autoscale.sock"
    check_match "G11_$1_is_refused" "^1 .*$2" "$STATUS $OUT"
    check_match "G11_$1_says_that_nothing_was_changed" 'autoscale reload: nothing was changed' "$OUT"
    kill -HUP "$AUTOSCALE_PID"
    wait_for 60 "both refusals in the log" eval '[ "$(grep -c "error reload nothing was changed" "$LOG")" -ge 2 ]'
    check_equal "G11_$1_changes_nothing" "$VIEW" "$(view)"
    : >"$LOG"
}
status_json() { # by the socket: the file may be broken
    "$AUTOSCALE" status --socket "$WORK/autoscale.sock" --json 2>/dev/null
}
sed -i 's/^groups = {/groups = { {/' "$CONF"
refused syntax_error 'autoscale.conf:[0-9]+: error: '
wide_conf
sed -i 's/ max = 6;/ maxx = 6;/' "$CONF"
refused unknown_key "autoscale.conf:[0-9]+: error: group 'web': .*'maxx'.*did you mean 'max'"
wide_conf hosts="\"unix://$DOCKER2\""
refused removed_host "nothing was changed: $CONF:[0-9]+: group 'web': host unix://$DOCKER still has 1 of its instances"
wide_conf
sed -i '0,/backend = "web"/s//backend = "other"/' "$CONF"
refused changed_backend "nothing was changed: $CONF:[0-9]+: group 'web': balancer.backend cannot change while the group has instances"
wide_conf name=other
refused changed_name 'autoscale.conf:[0-9]+: controller.name cannot change at run time'
wide_conf state="$WORK/other.db"
refused changed_journal 'autoscale.conf:[0-9]+: controller.state and controller.socket cannot change'

# --- G11: good reloads -----------------------------------------------------------------------------------------
wide_conf max=2
run autoscale reload
check_match G11_reload_reports_what_changed "^0 .*group 'web'.*max.*6.*2.*reloaded: 1 change" "$STATUS $OUT"
knob load 60
check G11_lowered_max_binds wait_group web 2
wide_conf max=4
kill -HUP "$AUTOSCALE_PID"
check G11_raised_max_by_SIGHUP_lets_it_grow wait_group web 4
check_soon G11_SIGHUP_logs_what_changed log_has "info reload .*group 'web'.*max"
wide_conf max=4 env='A = "1";'
run autoscale reload
check_equal G11_changed_template_marks_outdated_ones "0 4" \
    "$STATUS $(status_json | jq -r '.groups[] | select(.name == "web") | [.instances[] | select(.outdated)] | length')"
check_says G11_status_says_outdated ' outdated ' autoscale status
wide_conf max=3
autoscale reload >/dev/null
check G11_max_below_the_size_takes_effect wait_group web 3

# the group moves to another balancer, with all it has
members_are() { # COUNT-AT-1 COUNT-AT-2: of web's own
    [ "$(members_of 1 web | grep -c '^web-') $(members_of 2 web | grep -c '^web-')" = "$1 $2" ]
}
BEFORE=$(containers_of web)
wide_conf max=3 balancers="\"$ADMIN2\""
run autoscale reload
check G11_a_moved_group_leaves_nothing_behind wait_for 60 "the members to move" members_are 0 3
check G11_the_old_balancer_is_let_go wait_for 60 "the log" log_has "info web balancer $ADMIN has none of our servers any more"
check_equal G11_a_move_replaces_no_instance "$BEFORE" "$(containers_of web)"
wide_conf max=3
autoscale reload >/dev/null
check G11_a_group_moves_back wait_for 60 "the members to move back" members_are 3 0
check G11_a_moved_group_serves wait_group web 3

# nothing is left behind either when the daemon is killed on the way, or when the file was changed while it was down
BEFORE=$(containers_of web)
hang_haproxy "$WORK/lb2" # nobody leaves the old one before the new one serves
wide_conf max=3 balancers="\"$ADMIN2\""
run autoscale reload
kill9_autoscale
start_autoscale
wake_haproxy "$WORK/lb2"
check G7_a_move_goes_on_after_a_kill wait_for 60 "the members to move" members_are 0 3
kill9_autoscale
wide_conf max=3
start_autoscale
check G7_a_group_moved_while_the_daemon_was_down_leaves_nothing_behind wait_for 60 "the members to move back" members_are 3 0
kill9_autoscale
wide_conf max=3 backend=other
start_autoscale
in_backends() { # COUNT-IN-WEB COUNT-IN-OTHER: of web's own, at the first
    [ "$(members_of 1 web | grep -c '^web-') $(members_of 1 other | grep -c '^web-')" = "$1 $2" ]
}
check G7_a_backend_changed_while_the_daemon_was_down_is_cleared wait_for 60 "the members to change the backend" in_backends 0 3
check G7_the_moved_group_serves wait_group web 3
check_equal G7_a_move_over_restarts_replaces_no_instance "$BEFORE" "$(containers_of web)"

# windows: web is about to shrink when another group is reloaded
reset_wide
wide_conf scale_in='window = "20s"; cooldown = "60s"; max_step = 1; period = "1s";' max=6
start_autoscale
knob load 50
wait_group web 5 || bail "web is not scaled out"
knob load 10
wait_for 60 "the window to hold" eval '[[ $(gf web summary) = *"was wanted within the last 20s"* ]]'
wait_ticks 6 # three seconds of the window
LEFT=$(autoscale explain web --json | jq .next_change_ms)
wide_conf scale_in='window = "20s"; cooldown = "60s"; max_step = 1; period = "1s";' max=6 max2=5
run autoscale reload
check_match G11_only_the_other_group_changed "group 'two'" "$OUT"
check_equal G11_unchanged_group_is_not_named "" "$(grep "group 'web'" <<<"$OUT")"
wait_ticks 2
NOW=$(autoscale explain web --json | jq .next_change_ms)
check G11_window_goes_on_over_the_reload [ "${NOW:-0}" -gt 0 -a "${NOW:-0}" -le "$LEFT" ]
wait_for 90 "the first scale-in" gf_is web wanted 4
wait_for 60 "the cooldown to hold" eval '[[ $(gf web summary) = *"cooldown of scale-in"* ]]'
BEFORE=$(autoscale explain web --json | jq .next_change_ms)
wide_conf scale_in='window = "20s"; cooldown = "60s"; max_step = 1; period = "1s";' max=6 max2=6
autoscale reload >/dev/null
wait_ticks 2
AFTER=$(autoscale explain web --json | jq .next_change_ms)
check G11_cooldown_goes_on_over_the_reload [ "${AFTER:-0}" -gt 0 -a "${AFTER:-0}" -lt "$BEFORE" ]
check_says G11_explain_shows_the_cooldown 'rate +[0-9]+ -> 4 +cooldown of scale-in: [0-9.]+s left' autoscale explain web

# --- G12 -----------------------------------------------------------------------------------------------------------
wait_ticks 4 # a moment is told by whole seconds: well after the cooldown began to hold
HELD=$(date -u +%Y-%m-%dT%H:%M:%SZ)
wait_ticks 4
wide_conf max=6
autoscale reload >/dev/null
check G12_the_hold_ends_with_its_configuration wait_group web 1
run autoscale explain web --at "$HELD"
check_match G12_past_decision_is_explained "^0 group web, decided .*cooldown of scale-in" "$STATUS $OUT"
check_match G12_with_its_inputs_and_ages 'db\.load +10 +fresh, [0-9.]+m?s old' "$OUT"
check_match G12_with_each_policy_s_proposal 'knob \(target\): want 1: ' "$OUT"
check_match G12_with_every_stage 'merge .*stabilise .*flap-test .*rate +[0-9]+ -> 4 .*bound ' "$OUT"
check_equal G12_past_decision_as_json "4 4 rate" "$(autoscale explain web --at "$HELD" --json |
    jq -r '"\(.current) \(.desired) \(.stages[] | select(.before != .after and .after == 4) | .stage)"')"
WINDOW=$(autoscale history -g web -n 5000 --json | jq -r '[.decisions[] | select(.outcome | test("stabilise:5"))][0].time')
check_match G12_decision_held_by_the_window_is_explained 'stabilise +1 -> 5 +5 was wanted within the last 20s' "$(autoscale explain web --at "$WINDOW")"
check_match G12_history_shows_scale_events 'scale-out +web +[0-9]+ -> [0-9]+: knob asks for.*scale-in +web +5 -> 4: ' "$(autoscale history -g web -n 5000)"
run autoscale explain web --at 2001-01-01T00:00:00Z
check_match G12_no_record_is_said "^1 .*no decision of group 'web' is recorded for that time" "$STATUS $OUT"
run autoscale explain nosuch
check_match G12_no_group_is_said "^1 .*no group 'nosuch'" "$STATUS $OUT"
WAS=$(autoscale history -g web -n 5000 --json | jq -c '.events | max_by(.id)')
kill9_autoscale
run autoscale history -g web -n 5000
check_match G12_history_works_when_the_daemon_was_killed '^0 .*scale-in +web +5 -> 4: ' "$STATUS $OUT"
check_equal G12_history_json_from_the_journal "$WAS" "$(autoscale history -g web -n 5000 --json |
    jq -c --argjson was "$WAS" '.events[] | select(.id == $was.id)')"

# --- G14 -----------------------------------------------------------------------------------------------------------
reset_wide
wide_conf
knob load 40
start_autoscale
wait_group web 4 || bail "web does not come up"
IDS=$(containers_of web)
freeze() { for id in $IDS; do docker_of 1 POST "/containers/$id/$1" -o /dev/null; done; }
freeze pause
check G14_many_silent_ones_are_doubted wait_for 60 "the doubt" gf_has web doubt '[2-4] of 4 serving instances look dead at once'
check_says G14_status_says_doubt 'doubt +[2-4] of 4 serving instances look dead' autoscale status
wait_ticks 10
check_equal G14_none_is_replaced "$IDS" "$(containers_of web)"
check_equal G14_none_failed 0 "$(gf web failed)"
freeze unpause
check G14_doubt_ends wait_for 60 "the end of the doubt" gf_is web doubt ""
check_soon G14_end_is_logged log_has 'the doubt is over'
check G14_all_serve_again wait_group web 4
check_equal G14_nothing_was_replaced "$IDS" "$(containers_of web)"

# a host whose list is suddenly empty, while the instances answer
PIDS=$(for id in $IDS; do # below the container's init
    pid=$(docker_of 1 GET "/containers/$id/json" | jq .State.Pid)
    cat "/proc/$pid/task/$pid/children"
done)
# shellcheck disable=SC2086
hang_pid $PIDS
check G14_stopped_processes_are_doubted wait_for 60 "the doubt" gf_has web doubt 'look dead at once'
hang_pid "$(<"$WORK/docker/pid")" # and the host does not answer either
wait_for 60 "the host's failure" gf_has web hosts 'failing_s'
wait_ticks 6
check_equal G14_blind_and_doubting_nothing_is_done "4 0" "$(gf web footprint) $(gf web failed)"
kill -CONT "$(<"$WORK/docker/pid")"
# shellcheck disable=SC2086
kill -CONT $PIDS
check G14_all_serve_after_that wait_group web 4
check_equal G14_nothing_was_replaced_then "$IDS" "$(containers_of web)"

# one that really dies is replaced, as one among many that live
docker_of 1 POST "/containers/$(head -n 1 <<<"$IDS")/kill" -o /dev/null
check G14_a_single_death_is_believed wait_for 60 "the replacement" eval '[[ $(containers_of web) != *$(head -n 1 <<<"$IDS")* ]] && settled web 4'
finish
