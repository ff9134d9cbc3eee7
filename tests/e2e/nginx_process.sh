#!/usr/bin/env bash
# examples/nginx-process as its reader runs it: by a user without privileges, to the end. No request may fail, nothing
# may be left.
. "$(dirname "$0")/lib/common.sh"

PATH=$PATH:/usr/sbin
need_command nginx busybox curl setpriv
[ -x "$AUTOSCALE" ] && [ -x "$BUILD/examples/shop/loadgen" ] || bail "autoscale or the load generator is not built"
! is_listening 127.0.79.1 8080 || skip_all "something listens on 127.0.79.1 port 8080"
AS_NOBODY=()
[ "$(id -u)" != 0 ] ||
    AS_NOBODY=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all)
mkdir -m 1777 "$WORK/tmp"
[ ${#AS_NOBODY[@]} = 0 ] || "${AS_NOBODY[@]}" test -r "$ROOT/examples/nginx-process/run.sh" -a -x "$AUTOSCALE" ||
    skip_all "user 65534 may not read $ROOT or $BUILD"

is_clean() {
    [ -z "$(ls -A "$WORK/tmp")" ] && ! grep -qaF -- "$WORK/tmp/" /proc/[0-9]*/cmdline 2>/dev/null
}

# The peak lasts longer than the reader's: the machine may be busy with other tests.
spawn "$WORK/whole.log" env CURVE=0s:5,3s:5,5s:70,30s:70,32s:5,38s:5 TMPDIR="$WORK/tmp" BUILD="$BUILD" AUTOSCALE="$AUTOSCALE" "${AS_NOBODY[@]}" \
    "$ROOT/examples/nginx-process/run.sh" || bail "the example does not start"
wait_for 240 "the example to end" is_gone "$SPAWN_PID"
wait "$SPAWN_PID"
check_equal nginx_process_succeeds_without_privileges 0 $?
text=$(<"$WORK/whole.log")
check_match nginx_process_no_request_fails 'done in [0-9.]+ s: [1-9][0-9]* due, [0-9]+ ok, 0 failed' "$text"
check_match nginx_process_scales_out_and_in 'scaled 1 -> 4 -> 1' "$text"
check nginx_process_leaves_nothing wait_quiet 60 is_clean
finish
