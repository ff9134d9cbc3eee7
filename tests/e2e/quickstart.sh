#!/usr/bin/env bash
# The quick start as its reader runs it: by a user without privileges, to the end and interrupted. No request may fail,
# nothing may be left.
. "$(dirname "$0")/lib/common.sh"

need_command haproxy busybox curl setpriv
[ -x "$AUTOSCALE" ] && [ -x "$BUILD/examples/shop/loadgen" ] || bail "autoscale or the load generator is not built"
! is_listening 127.0.78.1 8080 || skip_all "something listens on 127.0.78.1 port 8080"

# --- helpers ----------------------------------------------------------------------------------------------
AS_NOBODY=()
USER_ID=$(id -u)
if [ "$USER_ID" = 0 ]; then
    USER_ID=65534
    AS_NOBODY=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all)
fi
mkdir -m 1777 "$WORK/tmp"
[ ${#AS_NOBODY[@]} = 0 ] || "${AS_NOBODY[@]}" test -r "$ROOT/examples/quickstart/run.sh" -a -x "$AUTOSCALE" ||
    skip_all "user 65534 may not read $ROOT or $BUILD"

started_here() { # prints the pids of processes that work in our directory
    local pid
    for pid in /proc/[0-9]*; do
        grep -qaF -- "$WORK/tmp/" "$pid/cmdline" 2>/dev/null && echo "${pid#/proc/}"
    done
}

is_left() {
    [ -n "$(started_here)$(ls -A "$WORK/tmp")" ]
}

is_clean() {
    ! is_left
}

run_quickstart() { # LOG [VARIABLE=value…]
    local log=$1
    shift
    spawn "$log" env TMPDIR="$WORK/tmp" BUILD="$BUILD" AUTOSCALE="$AUTOSCALE" "$@" "${AS_NOBODY[@]}" \
        "$ROOT/examples/quickstart/run.sh"
}

# --- to the end -------------------------------------------------------------------------------------------
# The peak lasts longer than the reader's: the machine may be busy with other tests.
run_quickstart "$WORK/whole.log" CURVE=0s:5,4s:5,6s:70,30s:70,32s:5,40s:5 || bail "the quick start does not start"
wait_for 200 "the quick start to end" is_gone "$SPAWN_PID"
wait "$SPAWN_PID"
status=$?
text=$(<"$WORK/whole.log")
check_equal quickstart_succeeds_without_privileges 0 "$status"
check_match quickstart_no_request_fails 'done in [0-9.]+ s: [1-9][0-9]* due, [0-9]+ ok, 0 failed' "$text"
check_match quickstart_scales_out_and_in 'scaled 1 -> 4 -> 1' "$text"
check_match quickstart_instances_outlive_the_controller 'autoscale has ended, and the site still answers' "$text"
check quickstart_leaves_nothing wait_quiet 60 is_clean

# --- interrupted ------------------------------------------------------------------------------------------
is_serving() {
    grep -q 'is served by one process' "$WORK/cut.log"
}

run_quickstart "$WORK/cut.log" CURVE=0s:5,100s:5 || bail "the quick start does not start again"
if wait_for 60 "the first instance" is_serving; then
    owners=$(for pid in $(started_here); do stat -c %u "/proc/$pid" 2>/dev/null; done | sort -u)
    check_equal quickstart_runs_as_the_user_alone "$USER_ID" "$owners"
else
    fail quickstart_runs_as_the_user_alone "it never served"
fi
kill -TERM "$SPAWN_PID"
wait_for 60 "the interrupted quick start to end" is_gone "$SPAWN_PID"
check quickstart_leaves_nothing_when_interrupted wait_quiet 60 is_clean
finish
