#!/usr/bin/env bash
# The demo on virtual machines, with a short sale and in directories of its own: it must serve every order, leave nothing,
# and clean up when it is told to stop in the middle.
. "$(dirname "$0")/lib/common.sh"

need_root
need_command haproxy socat jq curl ip nsenter
MISSING=$(bash "$E2E/lib/libvirtd.sh" missing | paste -sd';')
[ -z "$MISSING" ] || skip_all "no virtual machine is tested: $MISSING"
export TMPDIR=$WORK/tmp RUN=$WORK/run BUILD
mkdir "$TMPDIR"

nothing_left() {
    [ -z "$(ls -A "$TMPDIR")" ] && ! [ -e "$RUN" ]
}

says() { # LOG TEXT
    grep -q -- "$2" "$1"
}

# unshare waits with SIGTERM blocked: who is to be told is the script, its child.
tell_script() { # PID SIGNAL
    local child
    child=$(cat "/proc/$1/task/$1/children") && kill -s "$2" $child
}

spawn "$WORK/cut.log" "$ROOT/examples/shop-vm/run.sh" || bail "the demo does not start"
wait_for 60 "the demo to begin" says "$WORK/cut.log" "two hypervisors" || bail "the demo does not begin"
CUT=$SPAWN_PID
tell_script "$CUT" TERM
check demo_that_is_told_to_stop_ends wait_for 60 "its end" is_gone "$CUT"
check_soon demo_that_is_told_to_stop_leaves_nothing nothing_left

CURVE=0s:5,3s:5,4s:45,14s:45,15s:5,24s:5 "$ROOT/examples/shop-vm/run.sh" >"$WORK/sale.log" 2>&1 </dev/null
STATUS=$?
grep -E '^(making|shop on|requests|orders|slower|latency|scale|instances|ordered)' "$WORK/sale.log" | while read -r line; do note "$line"; done
check_equal demo_on_machines_ends_well 0 "$STATUS"
check demo_on_machines_fails_no_request says "$WORK/sale.log" '^requests failed    0$'
check demo_on_machines_leaves_no_instance says "$WORK/sale.log" '^instances left     0$'
check_soon demo_on_machines_leaves_nothing nothing_left
finish
