#!/usr/bin/env bash
# nginx in front of plain processes, scaled 1 -> 4 -> 1 by `autoscale run` in half a minute, as any user. Everything is in
# one temporary directory and gone at the end, after Ctrl-C and after a failure too. See README.md.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SITE=http://127.0.79.1:8080
CURVE=${CURVE:-0s:5,3s:5,5s:70,17s:70,19s:5,26s:5}

[ -r "$HERE/../../tests/e2e/lib/common.sh" ] || {
    echo "This runs from the source tree only: it uses the tests' servers. The configuration beside it is complete." >&2
    exit 1
}
. "$HERE/../../tests/e2e/lib/common.sh"
. "$E2E/lib/processes.sh" # instances outlive the controller that started them: end_instances
PATH=$PATH:/usr/sbin
CONF=$WORK/autoscale.conf LOADGEN=$BUILD/examples/shop/loadgen

# --- ending: the tests' cleanup stack without their summary ------------------------------------------------
e2e_exit() {
    local i
    trap - EXIT
    trap '' INT TERM HUP
    [ "$1" = 0 ] || [ "$1" = 130 ] || for i in "$WORK"/*.log; do log_tail "$i" 15 >&2; done
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
        eval "${CLEANUPS[i]}" || warn "cleanup failed: ${CLEANUPS[i]}"
    done
    rm -rf -- "$WORK"
    exit "$1"
}

give_up() {
    warn "nginx-process: $*"
    exit 1
}

# --- starting ----------------------------------------------------------------------------------------------
check_programs() {
    local name
    for name in nginx busybox curl; do
        command -v "$name" >/dev/null || give_up "$name is not installed. Run: sudo apt install $name"
    done
    for name in "$AUTOSCALE" "$LOADGEN"; do
        [ -x "$name" ] || give_up "$name is not built. Run: make all examples"
    done
    ! is_listening 127.0.79.1 8080 || give_up "something already listens on 127.0.79.1 port 8080"
}

make_files() {
    mkdir "$WORK/www" && echo 'hello from behind nginx' >"$WORK/www/index.html" || return 1
    sed -e "s|/tmp/autoscale-nginx|$WORK|g" -e "s|/usr/sbin/nginx|$(command -v nginx)|" "$HERE/autoscale.conf" >"$CONF" &&
        sed "s|@DIR@|$WORK|g" "$HERE/nginx.conf" >"$WORK/nginx.conf"
}

# autoscale writes the file that nginx.conf includes, so it comes first; nginx joins when the file is there.
start_both() {
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || give_up "the configuration is not accepted"
    spawn "$WORK/autoscale.log" "$AUTOSCALE" run -c "$CONF" || give_up "autoscale does not start"
    AUTOSCALE_PID=$SPAWN_PID
    wait_for 60 "the upstream's file" test -s "$WORK/web.conf" || give_up "autoscale wrote no upstream"
    spawn "$WORK/nginx.log" nginx -c "$WORK/nginx.conf" -e "$WORK/nginx.log" -g 'daemon off;' || give_up "nginx does not start"
    NGINX_PID=$SPAWN_PID
    wait_for 60 "the first instance to serve" is_settled 1 || give_up "autoscale did not bring an instance into nginx"
}

# --- watching ----------------------------------------------------------------------------------------------
PEAK=0 T=0

group_number() { # NAME JSON: of the first group
    local groups=${2#*\"groups\":}
    [[ $groups =~ \"$1\":([0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

observe() { # sets WANTED, SERVING, FOOTPRINT
    local json
    json=$("$AUTOSCALE" status -c "$CONF" --json 2>/dev/null | tr -d ' \n\t')
    WANTED=$(group_number wanted "$json") SERVING=$(group_number serving "$json")
    FOOTPRINT=$(group_number footprint "$json")
}

is_settled() { # COUNT
    observe
    [ "$WANTED $SERVING $FOOTPRINT" = "$1 $1 $1" ]
}

row() { # T RATE P95 FAILED
    observe
    printf '%4ss %6s/s %7s %8s %6s %7s %7s\n' "$1" "$2" "${WANTED:--}" "${SERVING:--}" "${FOOTPRINT:--}" "$3" "$4"
    [ "${SERVING:-0}" -le "$PEAK" ] || PEAK=$SERVING
}

play() {
    local line field
    printf '%5s %8s %7s %8s %6s %7s %7s\n' time load wanted serving exist 'p95 ms' failed
    while read -r line; do
        if [[ $line == t=* ]]; then
            declare -A v=()
            for field in $line; do v[${field%%=*}]=${field#*=}; done
            row "${v[t]}" "${v[rate]%.*}" "${v[p95_ms]}" "${v[failed]}"
            T=${v[t]}
        elif [ -n "$line" ]; then
            SUMMARY+=("$line")
        fi
    done < <("$LOADGEN" --curve "$CURVE" --get / --timeout 30000 "$SITE" 2>&1)
}

# --- the demo ----------------------------------------------------------------------------------------------
SUMMARY=()
check_programs
make_files || give_up "cannot write to $WORK"
cleanup_add end_instances # before autoscale starts, so after it has ended
start_both
say "$SITE is served by one process behind nginx; now the load rises: $CURVE"
play
wait_for 60 "the group to shrink" is_settled 1 || give_up "the group did not shrink to one instance"
row $((T + 1)) 0 - 0
printf '\n'
printf '%s\n' "${SUMMARY[@]}"
end_pid "$AUTOSCALE_PID" 20
[ "$(http_status "$SITE")" = 200 ] || give_up "the instance did not outlive autoscale"
end_pid "$NGINX_PID" 10
end_instances || give_up "instances are left"
[[ ${SUMMARY[*]} == *", 0 failed"* ]] || give_up "requests failed"
[ "$PEAK" = 4 ] || give_up "the group grew to $PEAK instances, not to 4"
say "scaled 1 -> 4 -> 1, no request failed, nothing is left"
exit 0
