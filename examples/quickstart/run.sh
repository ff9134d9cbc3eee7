#!/usr/bin/env bash
# The quick start: a web server as plain processes behind a private HAProxy, scaled 1 -> 4 -> 1 by `autoscale run` in
# half a minute. It needs neither root nor Docker; everything is in one temporary directory and gone at the end,
# after Ctrl-C and after a failure too. See README.md.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SITE=http://127.0.78.1:8080
CURVE=${CURVE:-0s:5,4s:5,6s:70,18s:70,20s:5,30s:5}

[ -r "$HERE/../../tests/e2e/lib/common.sh" ] || {
    echo "This runs from the source tree only: it uses the tests' servers. The configuration beside it is complete." >&2
    exit 1
}
. "$HERE/../../tests/e2e/lib/common.sh"
. "$E2E/lib/processes.sh" # instances outlive the controller that started them: end_instances
CONF=$WORK/autoscale.conf LOADGEN=$BUILD/examples/shop/loadgen

# --- ending ------------------------------------------------------------------------------------------------
# In place of the tests' own: the same cleanup stack, no test summary.
e2e_exit() {
    local i
    trap - EXIT
    trap '' INT TERM HUP
    [ "$1" = 0 ] || [ "$1" = 130 ] || show_logs
    [ "$1" != 130 ] || printf '\ninterrupted, cleaning up\n'
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
        eval "${CLEANUPS[i]}" || warn "cleanup failed: ${CLEANUPS[i]}"
    done
    rm -rf -- "$WORK"
    exit "$1"
}

show_logs() {
    local log
    for log in "$WORK"/*.log "$WORK"/instances/*.log; do
        [ -s "$log" ] && { echo "--- $log"; tail -n 15 "$log"; } >&2
    done
}

give_up() {
    warn "quickstart: $*"
    exit 1
}

# --- what must be there ------------------------------------------------------------------------------------
check_programs() {
    local missing=() name
    PATH=$PATH:/usr/sbin
    for name in haproxy busybox curl; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] || give_up "not installed: ${missing[*]}. Run: sudo apt install ${missing[*]}"
    busybox --list | grep -qx httpd || give_up "this busybox has no httpd. Run: sudo apt install busybox-static"
    for name in "$AUTOSCALE" "$LOADGEN"; do
        [ -x "$name" ] || give_up "$name is not built. Run: make all examples"
    done
    ! is_listening 127.0.78.1 8080 || give_up "something already listens on 127.0.78.1 port 8080"
}

# --- starting ----------------------------------------------------------------------------------------------
make_files() {
    mkdir "$WORK/www" && echo 'hello from the quick start' >"$WORK/www/index.html" || return 1
    sed "s|/tmp/autoscale-quickstart|$WORK|g" "$HERE/autoscale.conf" >"$CONF" || return 1
    sed "s|@DIR@|$WORK|g" "$HERE/haproxy.cfg" >"$WORK/haproxy.cfg"
}

start_haproxy() {
    spawn "$WORK/haproxy.log" haproxy -db -f "$WORK/haproxy.cfg" || give_up "HAProxy does not start"
    HAPROXY_PID=$SPAWN_PID
    wait_for 10 "HAProxy to listen" is_listening 127.0.78.1 8080 || give_up "HAProxy does not listen"
}

start_autoscale() {
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || give_up "the configuration is not accepted"
    spawn "$WORK/autoscale.log" "$AUTOSCALE" run -c "$CONF" || give_up "autoscale does not start"
    AUTOSCALE_PID=$SPAWN_PID
    wait_for 60 "the first instance to serve" is_settled 1 || give_up "autoscale did not start an instance"
}

# --- watching ----------------------------------------------------------------------------------------------
PEAK=0 ROWS=0

group_number() { # NAME JSON: of the first group
    local groups=${2#*\"groups\":}
    [[ $groups =~ \"$1\":([0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

observe() { # sets WANTED, SERVING, FOOTPRINT, dashes for what is not known
    local json
    json=$("$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | tr -d ' \n\t')
    WANTED=$(group_number wanted "$json") SERVING=$(group_number serving "$json")
    FOOTPRINT=$(group_number footprint "$json")
    WANTED=${WANTED:--} SERVING=${SERVING:--} FOOTPRINT=${FOOTPRINT:--}
}

is_settled() { # COUNT
    observe
    [ "$WANTED $SERVING $FOOTPRINT" = "$1 $1 $1" ]
}

is_answering() {
    [ "$(http_status "$SITE")" = 200 ]
}

row() { # T RATE P95 FAILED
    local text='########'
    observe
    [ $((ROWS++ % 20)) != 0 ] || printf '\n%5s %8s %7s %8s %6s %7s %7s\n' time load wanted serving exist 'p95 ms' failed
    [ "$SERVING" = - ] && text=
    printf '%4ss %6s/s %7s %8s %6s %7s %7s  %s\n' "$1" "$2" "$WANTED" "$SERVING" "$FOOTPRINT" "$3" "$4" \
        "${text:0:${SERVING/-/0}}"
    [ "$SERVING" = - ] || [ "$SERVING" -le "$PEAK" ] && return
    PEAK=$SERVING
    [ "$PEAK" != 4 ] || { echo; "$AUTOSCALE" status -c "$CONF"; ROWS=0; }
}

play() {
    local line load field
    exec {load}< <(exec "$LOADGEN" --curve "$CURVE" --get / --timeout 30000 "$SITE" 2>&1)
    LOAD_PID=$!
    own_pid $LOAD_PID
    while read -r line <&"$load"; do
        if [[ $line == t=* ]]; then
            declare -A v=()
            for field in $line; do v[${field%%=*}]=${field#*=}; done
            row "${v[t]}" "${v[rate]%.*}" "${v[p95_ms]}" "${v[failed]}"
            T=${v[t]}
        elif [ -n "$line" ]; then
            SUMMARY+=("$line")
        fi
    done
    exec {load}<&-
    wait "$LOAD_PID"
}

scale_in_rest() {
    local until=$((SECONDS + 60))
    while ! is_settled 1; do
        [ $SECONDS -lt $until ] || return 1
        row $((++T)) 0 - 0
        sleep 1
    done
}

# --- the demo ----------------------------------------------------------------------------------------------
SUMMARY=() T=0
check_programs
make_files || give_up "cannot write to $WORK"
start_haproxy
cleanup_add end_instances # before autoscale starts, so after it has ended
start_autoscale
wait_for 10 "the site to answer" is_answering || give_up "the site does not answer at $SITE"
say "$SITE is served by one process of user $(id -un); now the load rises: $CURVE"
play
FAILED_LOAD=$?
scale_in_rest || give_up "the group did not shrink to one instance"
row $((++T)) 0 - 0

printf '\n'
printf '%s\n' "${SUMMARY[@]}"
end_pid "$AUTOSCALE_PID" 20
is_answering || give_up "the instance did not outlive autoscale"
say "autoscale has ended, and the site still answers: instances do not depend on it"
end_instances || give_up "instances are left"
end_pid "$HAPROXY_PID"
[ "$FAILED_LOAD" = 0 ] || give_up "requests failed"
[ "$PEAK" = 4 ] || give_up "the group grew to $PEAK instances, not to 4"
say "scaled 1 -> 4 -> 1, no request failed, nothing is left"
exit 0
