#!/usr/bin/env bash
# G15: no secret in any text. Signals and systemd's notifications: a stop is clean and leaves the instances serving.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
need_command openssl
start_wide

# --- G15 ----------------------------------------------------------------------------------------------------
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$WORK/tls.key" -out "$WORK/tls.pem" -days 2 -subj /CN=e2e 2>/dev/null
KEY_TEXT=$(sed -n 5p "$WORK/tls.key")
chmod 0600 "$WORK/tls.key"
TLS_PORT=$(pick_port)
spawn "$WORK/tls-server.log" openssl s_server -quiet -accept "127.0.0.1:$TLS_PORT" -key "$WORK/tls.key" -cert "$WORK/tls.pem"
tls_group() {
    cat <<CONF
  tls = { min = 1; max = 2; compute = { driver = "docker"; hosts = [ "https://127.0.0.1:$TLS_PORT" ]; image = "x"; port = 1;
          tls_cert = "$WORK/tls.pem"; tls_key = "$WORK/tls.key"; }; policies = [ "knob" ]; };
CONF
}
wide_conf groups="$(tls_group)"
start_autoscale NOTIFY_SOCKET= || bail "autoscale does not start"
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
pg_sql "alter role watcher password 'changed'; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'watcher'" >/dev/null
check G15_wrong_password_is_said wait_for 60 "the failure" eval '[[ $(source_field db ".endpoints[0].error") = *password* ]]'
wait_for 60 "the TLS host's failure" eval '[[ $(gf tls hosts) = *error* ]]'
echo "a line that is no password $SECRET" >"$WORK/db2.pass" && chmod 0600 "$WORK/db2.pass"
wide_conf groups="$(tls_group)" pass="$WORK/db2.pass"
autoscale reload >"$WORK/reload.out" 2>&1
wide_conf groups="$(tls_group)" extra='password = "'"$SECRET"'"' # as one who does not know better
autoscale reload --socket "$WORK/autoscale.sock" >"$WORK/reload2.out" 2>&1
check_equal G15_bad_reload_is_refused 1 $?
autoscale check >>"$WORK/all.out" 2>&1
wide_conf groups="$(tls_group)" pass="$WORK/db2.pass"
wait_ticks 4
for what in status "status --json" "explain web" "explain web --json" "history -n 5000" "history -n 5000 --json" plan "plan --json" check; do
    # shellcheck disable=SC2086
    autoscale $what >>"$WORK/all.out" 2>&1
done
cat "$WORK"/reload*.out "$LOG" >>"$WORK/all.out"
tr '\0' ' ' <"/proc/$AUTOSCALE_PID/cmdline" >>"$WORK/all.out"
tr '\0' '\n' <"/proc/$AUTOSCALE_PID/environ" >>"$WORK/all.out"
check G15_the_texts_were_written [ "$(wc -c <"$WORK/all.out")" -gt 10000 ]
check G15_texts_speak_of_the_failure grep -q 'password authentication failed' "$WORK/all.out"
check_equal G15_no_password_in_any_text "" "$(grep -aF "$SECRET" "$WORK/all.out")"
check_equal G15_no_key_in_any_text "" "$(grep -aF "$KEY_TEXT" "$WORK/all.out")"
check_equal G15_no_secret_in_the_journal 0 "$(cat "$WORK"/state.db* | grep -acF -e "$SECRET" -e "$KEY_TEXT")"
pg_sql "alter role watcher password '$SECRET'"
wide_conf groups="$(tls_group)"
autoscale reload >/dev/null 2>&1
check G15_the_right_password_heals wait_for 120 "the source" source_well db

chmod 0644 "$WORK/db.pass"
OUT=$(autoscale plan 2>&1)
check_match G15_readable_secret_is_refused_with_advice "^1 .*source .?db.?.*secret file $WORK/db.pass can be read by others: run chmod 600" "$? $OUT"
chmod 0600 "$WORK/db.pass"
wide_conf db="host=127.0.0.1 user=watcher password=$SECRET"
OUT=$(autoscale check 2>&1)
check_match G15_inline_password_is_refused "^1 .*autoscale.conf:[0-9]+: .*password_file" "$? $OUT"
check_equal G15_inline_password_is_not_repeated "" "$(grep -F "$SECRET" <<<"$OUT")"
stop_autoscale

# --- systemd ----------------------------------------------------------------------------------------------------
reset_wide
wide_conf
NOTIFY=$WORK/notify
spawn "$WORK/notify.log" socat -u "UNIX-RECV:$NOTIFY" "OPEN:$NOTIFY.got,creat,append"
wait_for 60 "the notify socket" test -S "$NOTIFY"
notified() { # COUNT TEXT: at least so often
    [ "$(grep -aoF -- "$2" "$NOTIFY.got" 2>/dev/null | wc -l)" -ge "$1" ]
}
start_autoscale NOTIFY_SOCKET="$NOTIFY" WATCHDOG_USEC=1000000
check systemd_is_told_READY wait_for 60 "READY" notified 1 READY=1
check systemd_gets_its_watchdog wait_for 60 "WATCHDOG" notified 3 WATCHDOG=1
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
check_equal systemd_no_RELOADING_before_one 0 "$(grep -aoc RELOADING "$NOTIFY.got")"
wide_conf max=5
kill -HUP "$AUTOSCALE_PID"
check systemd_is_told_RELOADING wait_for 60 "RELOADING" notified 1 RELOADING=1
check_soon systemd_gets_the_time_of_the_reload notified 1 MONOTONIC_USEC=
check systemd_is_told_READY_after_the_reload wait_for 60 "READY" notified 2 READY=1
check sighup_reloads wait_for 60 "the new max" gf_is web max 5

# --- signals ----------------------------------------------------------------------------------------------------
knob load 30
wait_for 60 "three that serve" in_step web 3 || bail "web is not scaled out"
all_of_it() { # containers with their start, servers with their state
    local n
    for n in 1 2; do docker_of $n GET '/containers/json' | jq -cS 'map({Id, Names, State, Created}) | sort_by(.Id)[]'; done
    haproxy_cli "$WORK/lb" 'show stat web 4 -1' | cut -d, -f1,2,18,74 | sed -E 's: [0-9]+/[0-9]+,:,:' # checks on the way
    haproxy_cli "$WORK/lb2" 'show stat web 4 -1' | cut -d, -f1,2,18,74 | sed -E 's: [0-9]+/[0-9]+,:,:'
}
sleep 1 # Docker's events are asked for by whole seconds
WAS=$(all_of_it) SINCE=$(date +%s)
stops_with() { # SIGNAL: prints exit status, and whether it took less time than what hangs is given
    local began status
    began=$(now_ms)
    kill -s "$1" "$AUTOSCALE_PID"
    wait_quiet 60 is_gone "$AUTOSCALE_PID"
    wait "$AUTOSCALE_PID"
    status=$?
    unset "OWN_PIDS[$AUTOSCALE_PID]"
    AUTOSCALE_PID=
    [ $(($(now_ms) - began)) -lt 20000 ] && echo "$status soon" || echo "$status after $(($(now_ms) - began)) ms"
}
stops_with TERM >"$WORK/stopped" # not in a subshell: only the parent may wait for it
check_equal SIGTERM_stops_cleanly_and_soon "0 soon" "$(<"$WORK/stopped")"
check_soon systemd_is_told_STOPPING notified 1 STOPPING=1
check_equal SIGTERM_removes_the_socket no "$([ -e "$WORK/autoscale.sock" ] && echo yes || echo no)"
check_equal SIGTERM_leaves_everything_serving "$WAS" "$(all_of_it)"
check SIGTERM_is_logged log_has 'SIGTERM: stopping; instances are left serving'
start_autoscale
wait_group web 3 && wait_group two 1 || bail "the daemon does not start again"
wait_ticks 6
check_equal restart_recreates_nothing "$WAS" "$(all_of_it)"
for n in 1 2; do
    check_equal "restart_writes_nothing_to_docker_$n" "" "$(docker_of $n GET "/events?since=$SINCE&until=$(date +%s)")"
done
stops_with INT >"$WORK/stopped"
check_equal SIGINT_stops_cleanly_and_soon "0 soon" "$(<"$WORK/stopped")"
check_equal SIGINT_leaves_everything_serving "$WAS" "$(all_of_it)"
start_autoscale
wait_group web 3 || bail "the daemon does not start again"
hang_pid "$(<"$WORK/docker/pid")"
knob load 50
wait_for 60 "the host's failure" eval '[[ $(gf web hosts) = *error* ]]'
stops_with TERM >"$WORK/stopped"
check_equal SIGTERM_stops_soon_with_a_hung_host "0 soon" "$(<"$WORK/stopped")"
kill -CONT "$(<"$WORK/docker/pid")"
finish
