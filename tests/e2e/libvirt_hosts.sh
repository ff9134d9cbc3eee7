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
    start_load steady 0s:15,600s:15 || return
    write_conf 'policies="load"' per_instance=2.5 # six of them
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

subject grows_and_shrinks_under_traffic
finish
