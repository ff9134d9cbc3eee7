#!/usr/bin/env bash
# A group of virtual machines over two real libvirtd, each a host of its own, behind a HAProxy: growing and shrinking under
# traffic, hosts of unequal size, kill -9 of autoscale and of libvirtd, hosts that hang, what is missing, full or deaf.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"
. "$E2E/lib/hypervisors.sh"

need_hypervisors
start_world 3 1
note "world is up after ${SECONDS}s"

clean() { [ -z "$(left_over)" ]; }

explained() { # TEXT
    "$AUTOSCALE" explain web -c "$CONF" 2>&1 | grep -q -- "$1"
}

grows_and_shrinks_under_traffic() {
    write_conf 'policies="load"' per_instance=100.0
    start_autoscale || return
    wait_settled 1 120 || return
    note "the first machine serves after ${SECONDS}s"
    start_load steady 0s:6,600s:6 || return
    write_conf 'policies="load"' per_instance=1.0 # six of them
    reload_autoscale && wait_settled 4 120 || return
    note "four serve after ${SECONDS}s"
    check_equal spread_until_the_small_host_is_full "3 1" "$(machines 1 | wc -l) $(machines 2 | wc -l)"
    check room_on_the_hosts_is_named_as_what_binds wait_for 20 "the explanation" explained "room on the hosts"
    check three_views_agree_on_four wait_for 30 "three views" three_agree 4
    write_conf 'policies="load"' per_instance=100.0
    reload_autoscale && wait_settled 1 120 || return
    stop_load steady
    note "$(load_summary steady)"
    check_equal no_request_failed_from_one_to_four_and_back 0 "$(load_count steady failed)"
    check nothing_is_left_of_machines_that_went wait_for 30 "the last disk" clean
    check foreign_machines_and_disks_are_untouched eval 'foreign_untouched 1 && foreign_untouched 2'
}

# --- autoscale dies -------------------------------------------------------------------------------------
HOOKS=$BUILD/autoscale-hooks

dies_at() { # POINT
    AUTOSCALE=$HOOKS start_autoscale "AUTOSCALE_CRASH=$1" || return 1
    wait_for 60 "the crash at $1" is_gone "$AUTOSCALE_PID" || return 1
    AUTOSCALE_PID=
} 2>>"$WORK/shell.log" # the shell's own note about a killed job

at_most_two() { # of max 2: machines in whatever state, and disks
    [ "$(existing | wc -l)" -le 2 ] && [ "$(disks_of web)" -le 2 ]
}

# One machine goes all the way, and with each step of it another of us dies: the next takes over where that was. What is
# there at the end is what went in.
goes_through() { # NAME POINT…
    local name=$1 point
    shift
    for point; do
        if ! dies_at "$point"; then
            fail "kill_while_it_${name}_at_${point/:/_}" "no crash"
            stop_autoscale
        else
            check "kill_while_it_${name}_at_${point/:/_}_makes_nothing_twice" at_most_two
        fi
    done
}

ends_as() { # NAME SERVING PARKED STATE: and nothing is left over
    start_autoscale || return
    check "kills_while_it_$1_lose_and_double_nothing" wait_warm "$2" "$3" "$4" || return
    stop_autoscale
}

sleeps_and_wakes() { # PARK STATE POINT POINT…: dies at one while it parks, at the others while it unparks
    local park=$1 state=$2 parking=$3 both
    shift 3
    write_conf count=1 max=2 "compute=park = \"$park\"; standby = 1;"
    goes_through "is_parked_by_$park" "$parking"
    ends_as "is_parked_by_$park" 1 1 "$state" || return
    both=$(existing | cut -d' ' -f1)
    write_conf count=2 max=2 # the pool has no room then, and is not destroyed before it is woken
    goes_through "comes_back_from_$park" "$@"
    ends_as "comes_back_from_$park" 2 0 "$state" || return
    check_equal "it_comes_back_from_$park" "$both" "$(existing | cut -d' ' -f1)"
}

autoscale_is_killed_at_every_step() {
    local first both
    [ -x "$HOOKS" ] || { skip kills_of_autoscale "$HOOKS is not built"; return; }
    first=$(machines)
    write_conf count=2 max=2
    goes_through is_launched before:CREATING after:CREATING done:create before:BOOTING after:BOOTING before:JOINING \
        after:JOINING done:admit before:SERVING after:SERVING # a WANTED one is noted only where it waits for others
    ends_as is_launched 2 0 paused || return
    both=$(machines)
    check_equal what_served_goes_on_serving "$first" "$(comm -12 <(echo "$first") <(echo "$both"))"
    sleeps_and_wakes suspend paused done:park done:unpark &&
        sleeps_and_wakes suspend paused before:PARKED before:BOOTING after:BOOTING before:JOINING &&
        sleeps_and_wakes suspend paused after:PARKED after:JOINING &&
        sleeps_and_wakes save saved done:park done:unpark || return
    both=$(machines)
    write_conf count=1 max=2
    goes_through goes before:DRAINING after:DRAINING done:drain before:LEAVING after:LEAVING done:evict \
        before:DESTROYING after:DESTROYING done:destroy before:GONE after:GONE
    ends_as goes 1 0 paused || return
    check_equal no_new_one_takes_its_place "" "$(comm -13 <(echo "$both") <(machines))"
    check nothing_is_left_after_the_kills wait_for 60 "the last disk" clean
}

# --- a libvirtd dies, and hangs -------------------------------------------------------------------------
resize() { # COUNT
    write_conf count="$1"
    reload_autoscale && wait_settled "$1" 120
}

a_libvirtd_dies_and_hangs() {
    local two
    write_conf count=2
    start_autoscale || return
    wait_settled 2 120 || return
    check_equal two_machines_on_two_hosts "1 1" "$(machines 1 | wc -l) $(machines 2 | wc -l)"
    two=$(machines 2)
    start_load dead 0s:5,600s:5 || return
    kill_hypervisor 2
    check a_dead_libvirtd_stops_nobody_elses_work resize 3
    check_equal and_its_work_goes_to_the_other 2 "$(machines 1 | wc -l)"
    start_hypervisor 2 || return
    check machines_are_found_again_after_a_restart wait_for 60 "three views of the same 3" three_agree 3
    check_equal and_are_the_same_ones "$two" "$(machines 2)"
    kill_hypervisor 2 STOP
    check a_hung_libvirtd_stops_nobody_elses_work resize 4
    kill_hypervisor 2 CONT
    check and_is_heard_again wait_for 60 "three views of the same 4" three_agree 4
    resize 1 || return
    stop_load dead
    note "$(load_summary dead)"
    check_equal no_request_failed_meanwhile 0 "$(load_count dead failed)"
}

# --- what cannot work -----------------------------------------------------------------------------------
small_pool() { # K: nothing fits into it
    mkdir -p "$WORK/hv$1/small" && inside "$1" mount -t tmpfs -o size=8k none "$WORK/hv$1/small" &&
        hv "$1" pool-define-as small dir --target "$WORK/hv$1/small" && hv "$1" pool-start small
}

lone_group() { # NAME CMDLINE MORE
    echo "$1 = { min = 1; max = 1;"
    compute_block "cmdline = \"console=ttyS0 quiet $2\";" | sed -e "$3"
    echo 'health = { http = "/healthz"; interval = "250ms"; boot_timeout = "10s"; }; };'
}

gone_again() { # PREFIX: a machine of this name was there and is not any more
    local id
    id=$(sed -nE "s/.*instance ($1-[0-9a-f]{8}): .*FAILED.*/\1/p" "$LOG" | head -n 1)
    [ -n "$id" ] && ! hv 1 domstate "$id" && ! hv 2 domstate "$id" && ! ls "$WORK"/hv?/pool/*"$id"*
}

kept_with_its_traces() {
    local id
    id=$(sed -nE "s/.*instance (kept-[0-9a-f]{8}): .*FAILED.*/\1/p" "$LOG" | head -n 1)
    [ -n "$id" ] && [ "$(disks_of kept)" = 1 ] && grep -q 'Linux version' "$WORK/serial/$id.log"
}

disks_of() { # GROUP
    find "$WORK"/hv?/pool "$WORK"/hv?/small -name "autoscale.$CONTROLLER.$1-*" | wc -l
}

what_cannot_work_is_said_and_harms_nobody() {
    local k before
    for k in 1 2; do small_pool "$k" || return; done
    before=$(machines)
    write_conf count=1 "groups=$(lone_group missing '' s,pool/base,pool/none,) $(lone_group tight '' 's,pool = "pool",pool = "small",') \
        $(lone_group mute mute '') $(lone_group kept mute 's,driver =,keep_failed = "1h"; driver =,; s, quiet mute, mute,')"
    start_autoscale || return
    check a_missing_base_image_is_named wait_for 60 "the log" log_has "base image 'pool/none.qcow2' is in no storage pool"
    check a_full_pool_is_named wait_for 60 "the log" log_has "storage pool 'small' on .* is full"
    check a_guest_that_never_answers_is_removed wait_for 90 "its end" gone_again mute
    check_equal nothing_is_left_of_launches_that_failed "0 0" "$(disks_of missing) $(disks_of tight)"
    check what_failed_is_kept_with_disk_and_serial_log wait_for 60 "a failed one" kept_with_its_traces
    check others_serve_on wait_settled 1
    check_equal and_are_the_same "$before" "$(machines)"
    check foreign_things_are_untouched_by_all_this eval 'foreign_untouched 1 && foreign_untouched 2'
    stop_autoscale
}

part() { # FUNCTION: what serves at its end is there for the next
    local began=$SECONDS
    "$@" || fail "$1" "gave up before its end: what it waited for did not come"
    stop_autoscale
    note "$1 took $((SECONDS - began))s"
}

part grows_and_shrinks_under_traffic
part autoscale_is_killed_at_every_step
part a_libvirtd_dies_and_hangs
part what_cannot_work_is_said_and_harms_nobody
finish
