#!/usr/bin/env bash
# Warm standby of virtual machines on two real libvirtd behind a HAProxy, under traffic: suspended ones and saved ones come
# back before anything new is made, a scale-in parks them again, and a libvirtd that is killed finds them as they were.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"
. "$E2E/lib/hypervisors.sh"

need_hypervisors
start_world 3 1
note "world is up after ${SECONDS}s"

# Fifteen requests a second, of which one machine takes so many. max leaves the pool no room while three serve: nothing new
# is made in the meantime.
sized() { # PER_INSTANCE PARK [STANDBY]
    write_conf max=3 'policies="load"' per_instance="$1" "compute=park = \"$2\"; standby = ${3:-2};"
}

comes_back_and_goes() { # PARK STATE
    local before
    before=$(existing | cut -d' ' -f1)
    sized 5.0 "$1"
    reload_autoscale && wait_warm 3 0 "$2" || return
    check_equal "STANDBY_$1_parked_machines_serve_and_no_others" "$before" "$(up_members)"
    sized 100.0 "$1"
    reload_autoscale && wait_warm 1 2 "$2" || return
    check_equal "STANDBY_$1_a_scale_in_parks_them_again" "$before" "$(existing | cut -d' ' -f1)"
}

leads() { # PROGRAM: of jq
    status_json | jq -r ".groups[0] | $1"
}

machines_come_back() {
    local before
    sized 100.0 suspend
    start_autoscale || return
    wait_warm 1 2 paused 240 || return
    note "one serves and two are parked after ${SECONDS}s"
    start_load steady 0s:15,900s:15 || return
    comes_back_and_goes suspend paused || return
    note "suspended: $(leads '"a new one serves after \(.lead_ms) ms, a parked one after \(.unpark_lead_ms) ms"')"
    check_becomes STANDBY_a_suspended_machine_is_back_before_one_boots true leads '.unpark_lead_measured > 0 and .unpark_lead_ms < .lead_ms'
    before=$(existing)
    kill_hypervisor 1
    start_hypervisor 1 || return
    check STANDBY_a_killed_libvirtd_finds_them wait_warm 1 2 paused
    check_equal STANDBY_as_they_were "$before" "$(existing)"
    kill9_autoscale
    start_autoscale || return
    check STANDBY_and_so_does_a_killed_autoscale wait_warm 1 2 paused
    sized 5.0 save # those that are suspended come back all the same
    reload_autoscale && wait_warm 3 0 saved || return
    sized 100.0 save
    reload_autoscale && wait_warm 1 2 saved || return
    comes_back_and_goes save saved || return
    note "saved too: $(leads '"a new one serves after \(.lead_ms) ms, a parked one after \(.unpark_lead_ms) ms"')"
    stop_load steady
    note "$(load_summary steady)"
    check_equal STANDBY_no_request_failed 0 "$(load_count steady failed)"
    sized 100.0 none 0
    reload_autoscale && wait_warm 1 0 saved || return
    check STANDBY_nothing_is_left_of_the_pool wait_for 60 "the last disk" eval '[ -z "$(left_over)" ]'
    check STANDBY_foreign_machines_are_untouched eval 'foreign_untouched 1 && foreign_untouched 2'
}

subject machines_come_back
finish
