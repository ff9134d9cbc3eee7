#!/usr/bin/env bash
# Warm standby on a real Docker and on plain processes, behind a real HAProxy, under traffic: the pool is filled, comes
# back before anything new is made, takes in what a scale-in leaves, survives kill -9 of the daemon between each intent
# and its effect, a reload, the death of parked instances and a restart of dockerd. HAProxy does not retry, and a
# stopped process accepts connections that nobody answers: one mistake is a failed request.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"

HOOKS=$BUILD/autoscale-hooks
[ -x "$HOOKS" ] || skip_all "$HOOKS is not built; run make e2e"

# --- looking --------------------------------------------------------------------------------------------------
# Docker's view or the kernel's: "id state" of all that exist, state being running or paused.
existing() {
    if [ -d "$WORK/instances" ]; then
        local file pid state
        for file in "$WORK"/instances/*.json; do
            [ -f "$file" ] || continue
            pid=$(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$file")
            { read -r _ _ state _ <"/proc/$pid/stat"; } 2>/dev/null || continue
            [ "$state" = T ] && state=paused || state=running
            echo "$(basename "$file" .json) $state"
        done
    else
        our_containers | cut -d' ' -f2-
    fi | sort
}

paused() {
    existing | sed -n 's/ paused$//p'
}

running() {
    existing | sed -n 's/ running$//p'
}

all_ids() {
    existing | cut -d' ' -f1
}

# So many serve and are HAProxy's members, so many are paused, and each view says so: journal, host and balancer.
is_warm() { # SERVING PARKED
    local all
    all=$(existing)
    [ "$(grep -c ' running$' <<<"$all")" = "$1" ] && [ "$(grep -c ' paused$' <<<"$all")" = "$2" ] &&
        [ "$(grep -c . <<<"$all")" = $(($1 + $2)) ] && [ "$(members)" = "$(sed -n 's/ running$//p' <<<"$all")" ] &&
        [ "$(up_members)" = "$(members)" ] &&
        [ "$(instances | sort)" = "$(sed 's/ running$/ SERVING/; s/ paused$/ PARKED/' <<<"$all")" ] &&
        [ "$(status_json | jq -r '.groups[0] | "\(.serving) \(.parked) \(.footprint)"')" = "$1 $2 $(($1 + $2))" ]
}

wait_warm() { # SERVING PARKED
    wait_for 120 "$1 that serve and $2 parked" is_warm "$1" "$2" && return 0
    note "existing: $(existing | tr '\n' ';') members: $(backend_rows web | tr '\n' ';')"
    note "status: $(status_json | jq -c '.groups[0] | {wanted,serving,parked,footprint,blocked,summary,i: [.instances[] | .id + " " + .state + " " + .reason]}')"
    return 1
}

# Whoever is a member while it was paused before and after the look at the balancer. In rotation means UP: a member that
# leaves is told of first, and the list of the balancer is asked for by itself. A look that took long proves nothing: it
# may have been awake in between.
watch_members() { # FILE
    local before now began
    while :; do
        began=$(now_ms)
        before=$(paused)
        now=$(up_members)
        comm -12 <(comm -12 <(echo "$before") <(paused)) <(echo "$now") | sed '/^$/d; s/$/ is paused and a member/' >"$1.look"
        [ $(($(now_ms) - began)) -lt 1500 ] || continue
        cat "$1.look" >>"$1"
        echo look >>"$1.looks"
    done
}

begin_watch() { # NAME
    : >"$WORK/watch-$1"
    spawn "$WORK/watch.log" watch_members "$WORK/watch-$1"
    MEMBER_WATCH=$SPAWN_PID
}

finish_watch() { # NAME CHECK
    wait_for 60 "enough looks" eval "[ \$(grep -c . '$WORK/watch-$1.looks') -ge 10 ]" || fail "$2" "too few looks: they prove nothing"
    end_pid "$MEMBER_WATCH" 15 KILL
    note "$(grep -c . "$WORK/watch-$1.looks") looks at the members"
    check_equal "$2" "" "$(head -n 3 "$WORK/watch-$1")"
} 2>/dev/null

no_failure() { # CHECK LOAD
    note "$2: $(load_summary "$2")"
    check "$1" jq -e '.failed == 0 and .ok > 20' "$WORK/load-$2.out"
}

# --- configurations ---------------------------------------------------------------------------------------------
docker_group() { # STANDBY [NAME=VALUE…]
    local standby=$1
    shift
    write_conf interval=200ms drain=3s "compute=park = \"suspend\"; standby = $standby;" "$@"
}

# The check is a TCP connection: it is the kernel that answers while nobody is awake.
process_group() { # STANDBY MIN MAX
    mkdir -p -m 700 "$WORK/instances"
    cat >"$CONF" <<CONF
controller = { name = "$CONTROLLER"; interval = "200ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = { lb = { driver = "haproxy"; address = "$ADMIN"; }; };
groups = { web = { min = $2; max = $3;
    compute = { driver = "process"; command = [ "$WEB" ]; directory = "$WORK/instances"; address = "$WEB_ADDRESS";
                env = { WEB_ADDRESS = "{address}"; WEB_PORT = "{port}"; WEB_NAME = "{id}"; }; stop_timeout = "2s";
                park = "suspend"; standby = $1; };
    health = { tcp = true; interval = "100ms"; rise = 2; timeout = "3s"; boot_timeout = "60s"; };
    balancer = { driver = "haproxy"; address = "$ADMIN"; backend = "web"; maxconn = 100; inter = "100ms"; rise = 2;
                 drain = "3s"; };
    policies = [ "load" ]; scale_in = { window = "2s"; period = "1s"; }; }; };
policies = { load = { type = "target"; metric = "lb.web.request_rate"; per_instance = 20.0; }; };
CONF
}

# --- out and in under traffic -------------------------------------------------------------------------------------
served_are() { # ID…: they serve, whatever else exists
    [ -z "$(comm -23 <(printf '%s\n' "$@") <(up_members))" ]
}

comes_back_and_goes() { # NAME
    local name=$1 round before
    start_autoscale || return
    wait_warm 1 2 || return
    ok "STANDBY_${name}_fills_in_quiet_times"
    begin_watch "$name"
    start_load "steady-$name" 0s:8,900s:8 || return
    start_load "fresh-$name" 0s:4,900s:4 --no-keepalive || return
    for round in 1 2 3; do
        before=$(all_ids)
        start_load "peak-$name-$round" 0s:40,900s:40 || return
        check "STANDBY_${name}_parked_ones_serve_first_$round" wait_for 60 "all three of before to serve" served_are $before
        wait_warm 3 2 || return
        stop_load "peak-$name-$round"
        wait_warm 1 2 || return
        no_failure "STANDBY_${name}_no_request_fails_peak_$round" "peak-$name-$round"
    done
    stop_load "steady-$name"
    stop_load "fresh-$name"
    finish_watch "$name" "STANDBY_${name}_no_parked_one_is_a_member"
    no_failure "STANDBY_${name}_no_request_fails" "steady-$name"
    no_failure "STANDBY_${name}_no_request_fails_without_keepalive" "fresh-$name"
    note "lead: $(status_json | jq -c '.groups[0] | {lead_ms, lead_measured, unpark_lead_ms, unpark_lead_measured}')"
    check_soon "STANDBY_${name}_leads_are_measured_apart" eval \
        "status_json | jq -e '.groups[0] | .unpark_lead_measured >= 6 and .lead_measured >= 1'"
}

containers_come_back() {
    docker_group 2
    comes_back_and_goes docker
}

processes_come_back() {
    local id
    process_group 2 1 6
    comes_back_and_goes process || return
    stop_autoscale
    write_process_end
}

write_process_end() { # nobody is left of them; a number that is another's by now is left alone
    local file pid
    for file in "$WORK"/instances/*.json; do
        pid=$(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$file")
        [ "$(pid_started "$pid")" = "$(sed -nE 's/.*"start":([0-9]+).*/\1/p' "$file")" ] && kill -KILL -- "-$pid"
    done
    rm -rf "$WORK/instances"
}
cleanup_add 'write_process_end 2>/dev/null'

# --- what is said ---------------------------------------------------------------------------------------------------
says_what_it_does() {
    docker_group 2
    start_autoscale || return
    wait_warm 1 2 || return
    check_says STANDBY_status_says_how_many_are_parked 'serving 1, parked 2 of 2' "$AUTOSCALE" status -c "$CONF"
    check_says STANDBY_explain_says_it 'serving 1, parked 2, on the way 0, footprint 3' "$AUTOSCALE" explain web -c "$CONF"
    check_says STANDBY_explain_tells_the_leads 'a parked one serves after ' "$AUTOSCALE" explain web -c "$CONF"
    check_says STANDBY_history_has_it 'BOOTING -> PARKED' "$AUTOSCALE" history -c "$CONF"
    stop_autoscale
    docker_group 2 min=2
    check_says STANDBY_plan_says_unpark 'unpark +web-' "$AUTOSCALE" plan -c "$CONF"
    docker_group 0
    check_says STANDBY_plan_says_what_leaves 'leave +web-.*0 parked ones are enough' "$AUTOSCALE" plan -c "$CONF"
    sed -i 's/driver = "docker"/driver = "docker"; standby = 9/; s/standby = 0;//' "$CONF"
    check_match STANDBY_check_refuses_what_cannot_be 'counts both' "$("$AUTOSCALE" check -c "$CONF" 2>&1)"
}

# --- failures -----------------------------------------------------------------------------------------------------
kill_container() { # ID
    docker_api POST "/containers/$1/kill" -o /dev/null
}

other_than() { # OLD: two are parked, and none of them is one of OLD
    is_warm 1 2 && [ -z "$(comm -12 <(paused) <(echo "$1"))" ]
}

parked_ones_that_die_are_replaced() {
    local before id
    docker_group 2
    start_autoscale || return
    wait_warm 1 2 || return
    start_load dying 0s:8,900s:8 || return
    before=$(paused)
    for id in $before; do kill_container "$id"; done
    check STANDBY_parked_ones_that_die_are_replaced wait_for 60 "two others" other_than "$before"
    before=$(paused)
    for id in $before; do kill_container "$id"; done # and at once they are needed
    start_load needed 0s:50,900s:50 || return
    wait_for 60 "three to serve" field_at_least serving 3 || return
    stop_load needed
    stop_load dying
    no_failure STANDBY_a_dead_pool_fails_no_request dying
    no_failure STANDBY_a_dead_pool_fails_no_request_of_the_peak needed
    check STANDBY_the_pool_is_whole_again wait_warm 1 2
}

a_reload_turns_it_on_and_off() {
    local before
    docker_group 0
    start_autoscale || return
    wait_warm 1 0 || return
    docker_group 2
    reload_autoscale || return
    check STANDBY_a_reload_turns_it_on wait_warm 1 2
    before=$(running)
    write_conf interval=200ms drain=3s
    reload_autoscale || return
    check STANDBY_a_reload_turns_it_off wait_warm 1 0
    check_equal STANDBY_whoever_served_still_does "$before" "$(running)"
}

# Containers outlive a dockerd that is killed, the paused ones too, when the next one is told to keep them. Published ports
# do not answer in between: whoever serves is given the time.
dockerd_restarts() {
    local before
    docker_group 2 'health=http = "/healthz"; interval = "100ms"; rise = 2; fall = 100; timeout = "3s"; boot_timeout = "60s";'
    start_autoscale || return
    wait_warm 1 2 || return
    before=$(all_ids)
    kill_dockerd "$WORK/docker"
    start_dockerd "$WORK/docker" - --live-restore || return
    check STANDBY_parked_ones_are_found_after_a_restart_of_dockerd wait_warm 1 2
    check_equal STANDBY_a_restart_of_dockerd_loses_none "$before" "$(all_ids)"
    start_load after 0s:50,900s:50 || return
    wait_for 60 "all three of before to serve" served_are $before || return
    stop_load after
    check STANDBY_and_they_come_back_after_it wait_warm 1 2
}

# --- kill -9 --------------------------------------------------------------------------------------------------------
# Five in all: with one that serves four are parked, with three two. So going from one to the other parks and unparks two,
# and makes or destroys nothing.
settings() { # SERVING
    docker_group $((5 - $1)) min="$1" max=5 policies= 'health=http = "/healthz"; interval = "50ms"; rise = 1; timeout = "3s"; boot_timeout = "60s";'
}

crash_at() { # POINT SERVING
    settings "$2"
    AUTOSCALE=$HOOKS start_autoscale "AUTOSCALE_CRASH=$1" || return 1
    wait_for 60 "the crash at $1" is_gone "$AUTOSCALE_PID" || return 1
    wait "$AUTOSCALE_PID" 2>/dev/null
    CRASH_STATUS=$?
    AUTOSCALE_PID=
    [ "$CRASH_STATUS" = 137 ]
} 2>>"$WORK/shell.log"

survives() { # POINT SERVING [KEPT]: how many of before must still exist
    local before name=STANDBY_G7_${1/:/_}
    before=$(all_ids)
    if ! crash_at "$1" "$2"; then
        fail "$name" "no crash at $1 (status ${CRASH_STATUS:-none})"
        stop_autoscale
    fi
    start_autoscale
    if ! wait_warm "$2" $((5 - $2)); then
        fail "$name" "not $2 that serve and $((5 - $2)) parked everywhere"
    elif [ "$(comm -12 <(echo "$before") <(all_ids) | wc -l)" -lt "${3:-0}" ]; then
        fail "$name" "before: $before, now: $(all_ids)"
    else
        ok "$name"
    fi
    stop_autoscale
}

killed_between_intent_and_effect() {
    local n waking=(before:BOOTING after:BOOTING done:unpark before:JOINING done:admit after:SERVING)
    local parking=(before:PARKED after:PARKED done:park)
    settings 1
    start_autoscale || return
    wait_warm 1 4 || return
    stop_autoscale
    begin_watch crashes
    watch_footprint "$WORK/crashes" || return
    start_load crashes 0s:8,900s:8 || return
    for ((n = 0; n < ${#waking[@]}; n++)); do
        survives "${waking[n]}" 3 5
        case ${parking[n]:-} in
            before:PARKED | "") survives "${parking[n]:-after:LEAVING}" 1 ;; # not written down yet: made anew
            *) survives "${parking[n]}" 1 4 ;;                              # of two the other may be so far behind
        esac
    done
    stop_load crashes
    end_watch
    finish_watch crashes STANDBY_G7_no_parked_one_is_a_member
    no_failure STANDBY_G7_no_crash_fails_a_request crashes
    check_equal STANDBY_G1_no_crash_exceeds_max 5 "$(most_containers "$WORK/crashes")"
}

start_platform
subject containers_come_back
subject says_what_it_does
subject parked_ones_that_die_are_replaced
subject a_reload_turns_it_on_and_off
subject killed_between_intent_and_effect
subject dockerd_restarts
subject processes_come_back
finish
