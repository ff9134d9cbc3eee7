#!/usr/bin/env bash
# G7: kill -9 at any point, restart: no orphan, no duplicate, no lost member. A build with crash points kills
# itself before and after each journalled step and when an operation has just come back; the ordinary build
# takes over, and Docker, HAProxy and the journal must agree on exactly the wanted instances. Three instances are
# made of one, and one of three, so that each crash finds others on their way.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"

HOOKS=$BUILD/autoscale-hooks
[ -x "$HOOKS" ] || skip_all "$HOOKS is not built; run make e2e"

settings() { # COUNT [LAUNCHES]: launches one by one, so that a WANTED one is ever journalled
    write_conf min="$1" max="$1" interval=200ms policies= drain=2s \
        "compute=launches = ${2:-1};" 'health=http = "/healthz"; interval = "50ms"; rise = 1; timeout = "3s"; boot_timeout = "60s";'
}

crash_at() { # POINT COUNT: on the way to COUNT instances
    settings "$2"
    AUTOSCALE=$HOOKS start_autoscale "AUTOSCALE_CRASH=$1" || return 1
    wait_for 60 "the crash at $1" is_gone "$AUTOSCALE_PID" || return 1
    wait "$AUTOSCALE_PID" 2>/dev/null
    CRASH_STATUS=$?
    AUTOSCALE_PID=
    [ "$CRASH_STATUS" = 137 ]
} 2>>"$WORK/shell.log" # the shell's own note about a killed job

kept_what_served() { # COUNT BEFORE: growing keeps all of them, shrinking makes nothing new
    if [ "$1" -gt "$(wc -l <<<"$2")" ]; then
        [ -z "$(comm -23 <(echo "$2") <(containers))" ]
    else
        [ -z "$(comm -13 <(echo "$2") <(containers))" ]
    fi
}

survives() { # POINT COUNT
    local before most began=$SECONDS name=G7_${1/:/_}
    before=$(containers)
    if ! crash_at "$1" "$2"; then
        fail "$name" "no crash at $1 (status ${CRASH_STATUS:-none})"
        stop_autoscale
    fi
    start_autoscale
    if ! wait_rest "$2"; then
        fail "$name" "not the same $2 instances everywhere"
    elif ! kept_what_served "$2" "$before"; then
        fail "$name" "before: $before, now: $(containers)"
        show_three
    else
        ok "$name"
    fi
    stop_autoscale
    [ $((SECONDS - began)) -lt 15 ] || note "$1 took $((SECONDS - began))s"
}

GROWING=(before:WANTED after:WANTED before:CREATING after:CREATING done:create before:BOOTING after:BOOTING
    before:JOINING after:JOINING done:admit before:SERVING after:SERVING)
SHRINKING=(before:DRAINING after:DRAINING done:drain before:LEAVING after:LEAVING done:evict before:DESTROYING
    after:DESTROYING done:destroy before:GONE after:GONE)

# The host has taken our requests and carries them out only when the next of us already looks around.
kill_under_way() { # STATE COUNT: two instances in STATE are waited for, COUNT is wanted
    wait_for 60 "two in state $1" eval "[ \$(instances | grep -c '$1\$') = 2 ]" || { show_three; return 1; }
    kill9_autoscale
    start_autoscale || return
    wait_for 60 "the next of us" status_json || return
    kill -CONT "$(cat "$WORK/docker/pid")"
    check "G7_kill_while_$1" wait_for 60 "three views of the same $2" three_agree "$2"
    check "G7_kill_while_$1_ends_in_peace" wait_rest "$2"
}

requests_under_way() {
    write_conf min=1 max=3 interval=200ms drain=2s
    start_autoscale || return
    wait_settled 1 || return
    watch_footprint "$WORK/late" || return
    hang_pid "$(cat "$WORK/docker/pid")"
    start_load grow 0s:100,600s:100 || return # not a reload: a new driver would first ask for the network
    kill_under_way CREATING 3 || return
    end_watch
    note "$(watched "$WORK/late") looks"
    check_equal G7_late_creates_never_exceed_max 3 "$(most_containers "$WORK/late")"
    stop_load grow
    settings 3
    reload_autoscale || return
    wait_settled 3 || return
    hang_pid "$(cat "$WORK/docker/pid")"
    settings 1
    reload_autoscale || return
    kill_under_way DESTROYING 1
}

# No point chosen by us: killed at a random moment, again and again, while the wanted number goes up and down.
killed_at_random_moments() {
    local n count=1
    RANDOM=${SEED:=$((SRANDOM % 32768))}
    note "SEED=$SEED"
    watch_footprint "$WORK/storm"
    for ((n = 0; n < 12; n++)); do
        count=$((1 + RANDOM % 4))
        settings "$count" 4
        start_autoscale || return
        sleep "$((RANDOM % 2)).$((100 + RANDOM % 900))"
        kill9_autoscale
    done
    settings 2 4
    start_autoscale || return
    check G7_random_kills_converge wait_for 90 "three views of the same two" three_agree 2
    wait_settled 2 || return
    end_watch
    note "$(watched "$WORK/storm") looks, at most $(most_containers "$WORK/storm") containers"
    check G7_random_kills_never_exceed_max [ "$(most_containers "$WORK/storm")" -le 4 ]
}

start_platform
settings 1
start_autoscale
wait_settled 1 || bail "the first instance does not come up"
stop_autoscale
watch_footprint "$WORK/crashes"
for ((n = 0; n < ${#GROWING[@]}; n++)); do
    survives "${GROWING[n]}" 3
    survives "${SHRINKING[n]:-after:GONE}" 1
done
end_watch
note "$(watched "$WORK/crashes") looks, at most $(most_containers "$WORK/crashes") containers"
check_equal G7_no_crash_ever_exceeded_max 3 "$(most_containers "$WORK/crashes")"
reset_group
subject requests_under_way
subject killed_at_random_moments
finish
