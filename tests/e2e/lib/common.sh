# Common ground of the end-to-end tests: sourced, never run. It gives a test a private work directory,
# a cleanup stack that runs however the test ends, waiting for conditions instead of sleeping, and
# one way to say what passed. It never ends a process that the test did not start.
#
# A test file is tests/e2e/NAME.sh:
#
#     #!/usr/bin/env bash
#     . "$(dirname "$0")/lib/common.sh"
#     . "$E2E/lib/postgres.sh"
#     need_root                                  # skips the whole file, with the reason
#     start_postgres "$WORK/pg" "$(pick_port)" || bail "PostgreSQL does not start"
#     wait_for 5 "the answer" test -e "$WORK/answer"
#     check G4_no_traffic_before_health [ "$(http_status http://127.0.0.1:8080/)" = 200 ]
#     finish
#
# Conventions
# - Variables: ROOT (the repository), E2E (tests/e2e), BUILD (build directory, absolute), AUTOSCALE (the
#   program), WORK (private directory, mode 0711, removed at the end; KEEP=1 keeps it).
# - Tests run with `set -u`, without `set -e`: a test goes on after a failed check and counts it.
# - start_X DIR … starts a server with all its files in DIR, waits until it answers, sets X_PID and its
#   address variables, registers its own cleanup, and returns non-zero with one line on stderr when
#   it cannot. stop_X ends it early; calling it twice is harmless. Logs are DIR/*.log or DIR/log.
# - Background processes are started with `spawn LOG command…` (pid in SPAWN_PID) or reported with
#   own_pid, which remembers the start time too: end_pid ends exactly that process, or nobody.
# - cleanup_add "command" runs at the end, last added first, after failure, INT and TERM too.
# - Names of checks are the behaviour: ok NAME, fail NAME TEXT, skip NAME REASON, check NAME command….
# - One reading of something that moves (status, explain, a log, a balancer's table) is no proof on a slow machine:
#   check_says, check_becomes and check_soon repeat it for a minute. One reading is right for what must not have moved,
#   after a count of decisions in which it could have.
# - The last line of a test is "N passed, N failed" or "N passed, N failed, N skipped"; the exit status is
#   0 only when nothing failed and `finish` was reached.

[ -n "${E2E_COMMON:-}" ] && return 0
E2E_COMMON=1
set -u

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$E2E/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$ROOT/$BUILD ;; esac
AUTOSCALE=${AUTOSCALE:-$BUILD/autoscale}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/autoscale-e2e.XXXXXX") || exit 1
chmod 0711 "$WORK" # servers that run as another user must reach their own directory in it

# --- saying what happened ---------------------------------------------------------------------------
PASSED=0 FAILED=0 SKIPPED=0 FINISHED=

say() { printf '%s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }

ok() {
    PASSED=$((PASSED + 1))
    say "ok      $1"
}

fail() { # NAME TEXT…
    FAILED=$((FAILED + 1))
    say "FAILED  $1${2:+: ${*:2}}"
}

skip() { # NAME REASON…
    SKIPPED=$((SKIPPED + 1))
    say "skipped $1${2:+: ${*:2}}"
}

check() { # NAME command…: ok when the command succeeds
    local name=$1
    shift
    if "$@"; then ok "$name"; else fail "$name" "'$*' is not so"; fi
}

check_equal() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "wanted '$2', got '$3'"; fi
}

check_match() { # NAME REGEX TEXT
    if [[ $3 =~ $2 ]]; then ok "$1"; else fail "$1" "no /$2/ in '$3'"; fi
}

check_says() { # NAME REGEX command…: comes to say so
    local name=$1 regex=$2
    shift 2
    if repeat_until matches "$regex" "$@"; then ok "$name"; else fail "$name" "no /$regex/ within ${PATIENCE}s in '$SAID'"; fi
}

check_becomes() { # NAME WANT command…: comes to say just that
    local name=$1 want=$2
    shift 2
    if repeat_until equals "$want" "$@"; then ok "$name"; else fail "$name" "wanted '$want' within ${PATIENCE}s, last got '$SAID'"; fi
}

check_soon() { # NAME command…: comes to succeed
    local name=$1
    shift
    if wait_quiet "$PATIENCE" "$@"; then ok "$name"; else fail "$name" "'$*' did not come true within ${PATIENCE}s"; fi
}

PATIENCE=${PATIENCE:-60} SAID=

matches() { # REGEX TEXT
    [[ $2 =~ $1 ]]
}

equals() { # WANT TEXT
    [ "$1" = "$2" ]
}

repeat_until() { # PREDICATE ARGUMENT command…: SAID is the last output of the command, errors too
    local until predicate=$1 argument=$2
    shift 2
    until=$(($(now_ms) + PATIENCE * 1000))
    while SAID=$("$@" 2>&1); ! "$predicate" "$argument" "$SAID"; do
        [ "$(now_ms)" -lt "$until" ] || return 1
        sleep 0.1
    done
}

finish() {
    FINISHED=1
    exit 0 # the EXIT trap cleans up, prints the summary and sets the status
}

bail() { # TEXT…: the test cannot go on
    fail "$(basename "$0" .sh)" "$*"
    finish
}

skip_all() { # REASON…
    skip "$(basename "$0" .sh)" "$*"
    finish
}

need_root() {
    [ "$(id -u)" = 0 ] || skip_all "needs root"
}

need_command() { # NAME…
    local name
    for name in "$@"; do
        command -v "$name" >/dev/null || skip_all "needs '$name', which is not installed"
    done
}

log_tail() { # FILE [LINES]: for the reader of a failure
    [ -s "$1" ] || return 0
    say "--- last lines of ${1#"$WORK/"}"
    tail -n "${2:-20}" "$1" | sed 's/^/    /'
}

# --- cleaning up ------------------------------------------------------------------------------------
CLEANUPS=()

cleanup_add() { # COMMAND: evaluated at the end, last added first
    CLEANUPS+=("$*")
}

e2e_exit() {
    local status=$1 i
    trap - EXIT
    trap '' INT TERM # a second signal must not cut the cleanup short
    [ -n "$FINISHED" ] || fail "$(basename "$0" .sh)" "ended early (status $status)"
    if [ "$FAILED" -gt 0 ]; then
        while read -r i; do log_tail "$i"; done < <(find "$WORK" -maxdepth 2 \( -name '*.log' -o -name log \) -type f)
    fi
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
        eval "${CLEANUPS[i]}" || warn "cleanup failed: ${CLEANUPS[i]}"
    done
    if [ -n "${KEEP:-}" ]; then say "kept: $WORK"; else rm -rf -- "$WORK"; fi
    local skipped=
    [ "$SKIPPED" -gt 0 ] && skipped=", $SKIPPED skipped"
    say "$PASSED passed, $FAILED failed$skipped"
    [ "$FAILED" = 0 ] && exit 0
    exit 1
}

trap 'e2e_exit $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# --- processes --------------------------------------------------------------------------------------
declare -A OWN_PIDS=() # pid -> start time, so that a reused pid is never taken for ours

pid_started() { # PID: prints its start time in ticks since boot, nothing when it is gone or a zombie
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    set -- ${stat##*) }
    [ "$1" != Z ] && printf '%s' "${20}"
}

own_pid() { # PID: from now on ours to end; it is ended at the end
    local started
    started=$(pid_started "$1") || return 1
    OWN_PIDS[$1]=$started
    cleanup_add "end_pid $1"
}

is_running() { # PID: the process we own still runs
    local started
    started=$(pid_started "$1") && [ "$started" = "${OWN_PIDS[$1]:-}" ]
}

is_gone() {
    ! is_running "$1"
}

spawn() { # LOG command…: in the background, pid in SPAWN_PID
    local log=$1
    shift
    "$@" >>"$log" 2>&1 </dev/null &
    SPAWN_PID=$!
    own_pid "$SPAWN_PID" || {
        warn "$1 ended at once: $(tail -n 1 "$log")"
        return 1
    }
}

end_pid() { # PID [SECONDS [SIGNAL]]: asks, wakes it when stopped, and kills it after SECONDS (15)
    is_running "$1" || return 0
    kill -s "${3:-TERM}" "$1" 2>/dev/null
    kill -s CONT "$1" 2>/dev/null
    if ! wait_quiet "${2:-15}" is_gone "$1"; then
        is_running "$1" && kill -s KILL "$1" 2>/dev/null
        wait_quiet 60 is_gone "$1"
    fi
    wait "$1" 2>/dev/null
    unset "OWN_PIDS[$1]"
    return 0
}

stand_still() { # PID…: each of their threads
    local pid
    for pid; do
        ! grep -hs '^State:' "/proc/$pid"/task/*/status | grep -qvE '[TZ] \(' || return 1
    done
}

hang_pid() { # PID…: SIGSTOP, until they have heard it: on a busy machine a thread may go on answering for a while
    kill -s STOP "$@" 2>/dev/null
    wait_for 60 "processes $* to stand still" stand_still "$@"
}

# --- waiting ----------------------------------------------------------------------------------------
now_ms() {
    local t=$EPOCHREALTIME
    t=${t/[.,]/}
    printf '%s' "${t:0:-3}"
}

wait_quiet() { # SECONDS command…: in steps of 50 ms; false when it never succeeded
    local until
    until=$(($(now_ms) + $1 * 1000))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt "$until" ] || return 1
        sleep 0.05
    done
}

wait_for() { # SECONDS DESCRIPTION command…
    local seconds=$1 what=$2
    shift 2
    wait_quiet "$seconds" "$@" && return 0
    warn "waited ${seconds}s in vain for $what ($*)"
    return 1
}

# --- network ----------------------------------------------------------------------------------------
is_listening() { # ADDRESS PORT
    (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

pick_port() { # [ADDRESS]: prints a free TCP port below the ephemeral range, never twice in one test
    local port i
    for ((i = 0; i < 200; i++)); do
        port=$((20000 + SRANDOM % 10000))
        is_listening "${1:-127.0.0.1}" "$port" && continue
        mkdir "$WORK/.port-$port" 2>/dev/null || continue
        printf '%s\n' "$port"
        return 0
    done
    warn "no free port on ${1:-127.0.0.1}"
    return 1
}

pick_address() { # prints an address of 127.0.0.0/8 that other tests hardly use
    printf '127.%d.%d.%d\n' $((20 + SRANDOM % 200)) $((SRANDOM % 250)) $((1 + SRANDOM % 250))
}

http_status() { # URL [curl options…]: prints the status, 000 when there is no answer
    curl -s -o /dev/null -m 10 -w '%{http_code}' "${@:2}" "$1"
}
