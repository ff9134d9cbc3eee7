#!/usr/bin/env bash
# G3: nothing is scaled in on missing, stale or partial data. Real HAProxys and PostgreSQL that die, hang and come back
# while a group is scaled out and its load is gone.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
start_wide

# --- one HAProxy of two hangs: what is left is partial ---------------------------------------------------
wide_conf web='"sessions"'
start_autoscale || bail "autoscale does not start"
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
hold 1 2 && hold 2 6
check G3_two_haproxys_are_summed wait_for 60 "the sum" value_is lb lb.load.sessions 8
wait_group web 4 || bail "web is not scaled out"
hang_haproxy "$WORK/lb2"
drop 1
drop 2
check G3_hung_endpoint_is_said_to_fail wait_for 60 "the failure" source_fails lb 1
check_soon G3_the_other_endpoint_is_still_measured source_well lb 0
hold 1 1
check G3_values_of_the_other_go_on wait_for 60 "the other's value" value_is lb lb.load.sessions 1
drop 1
wait_for 60 "its end to be seen" value_is lb lb.load.sessions 0
check G3_partial_data_never_scales_in stays web 4 12
check_says G3_explain_says_partial 'no fewer on partial data' autoscale explain web
check_says G3_explain_names_the_missing_endpoint_s_source 'lb\.load\.sessions .*partial' autoscale explain web
hold 1 10
check G3_partial_data_may_scale_out wait_group web 5
drop 1
check G3_and_stays_there stays web 5 8
wake_haproxy "$WORK/lb2"
check G3_scales_in_when_all_answer_again wait_group web 1

# --- one HAProxy of two is dead ------------------------------------------------------------------------------
hold 1 6
wait_group web 3 || bail "web is not scaled out"
stop_haproxy "$WORK/lb2"
wait_for 60 "the failure" source_fails lb 1
drop 1
wait_for 60 "the end of the load to be seen" value_is lb lb.load.sessions 0
check G3_dead_endpoint_never_scales_in stays web 3 12
check_says G3_status_says_since_when 'endpoint +.*/lb2/.* FAILING for [0-9.]+m?s: ' autoscale status
start_haproxy "$WORK/lb2/haproxy.cfg" "$WORK/lb2"
check G3_scales_in_after_the_restart wait_group web 1

# --- the only HAProxy of a source is dead: stale -------------------------------------------------------------
wait_group two 1 || bail "two did not come back"
hold 2 6
wait_group two 3 || bail "two is not scaled out"
hang_haproxy "$WORK/lb2"
drop 2
wait_for 60 "the failure" source_fails lb2
check G3_stale_data_is_said wait_for 60 "stale data" eval '[ "$(source_field lb2 ".series[0].state")" = stale ]'
check G3_stale_data_never_scales_in stays two 3 12
check_equal G3_stale_data_ends_no_container 3 "$(containers_of two | wc -l)"
check_says G3_explain_says_stale 'lb2\.load\.sessions .* stale, [0-9.]+s old.*does not answer' autoscale explain two
wake_haproxy "$WORK/lb2"
check G3_recovers_without_restart wait_group two 1

# --- PostgreSQL with the ceiling is gone ---------------------------------------------------------------------
knob free 30
wide_conf web='"sessions", "head"'
autoscale reload >/dev/null || bail "reload fails"
wait_ticks 3
hold 1 6
wait_group web 3 || bail "web is not scaled out"
knob free 10
wait_for 60 "the new ceiling" gf_is web ceiling 4
stop_postgres QUIT
wait_for 60 "the failure" source_fails db
hold 1 6
check G3_last_ceiling_holds_without_the_database wait_group web 4
check G3_nothing_grows_beyond_it stays web 4 10
check_becomes G3_the_ceiling_is_named_as_the_bound 'ceiling head' gf web binding
check_says G3_status_says_which_source_fails_since_when "port=$PG_CHOSEN_PORT .*FAILING for [0-9.]+m?s: " autoscale status
check_says G3_explain_says_that_the_last_ceiling_holds 'head \(ceiling\): .*(last|holds)' autoscale explain web
drop 1
wait_for 60 "the end of the load to be seen" value_is lb lb.load.sessions 0
check G3_no_scale_in_without_the_ceiling_s_source stays web 4 12
check_says G3_summary_says_who_lacks_data 'head lacks fresh data' gf web summary
start_postgres "$WORK/pg" "$PG_CHOSEN_PORT" || bail "PostgreSQL does not start again"
check G3_scales_in_when_the_database_is_back wait_group web 1
check G3_the_daemon_was_never_restarted is_running "$AUTOSCALE_PID"
finish
