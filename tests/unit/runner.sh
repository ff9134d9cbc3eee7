#!/usr/bin/env bash
# tests/run on tests that fail, crash and hang: what it counts, and that what it prints is enough where nobody can read
# the logs.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

program() { # NAME: its text on standard input
    { echo '#!/bin/bash'; cat; } >"$work/$1" && chmod +x "$work/$1"
}

run() { # [VARIABLE=value…] [OPTION…] NAME…: what it says in $work/said
    local words=() files=()
    while [ $# -gt 0 ]; do
        case $1 in [A-Z]*=*) words+=("$1") ;; -* | [0-9]) files+=("$1") ;; *) files+=("$work/$1") ;; esac
        shift
    done
    env BUILD="$work" TEST_LOGS="$work/logs" TMPDIR="$work" "${words[@]}" "$root/tests/run" "${files[@]}" >"$work/said" 2>&1
    STATUS=$?
}

says() { # NAME STATUS LINE…: it ended so and said these lines, in this order, whatever is between them
    local name=$1 at=0 line found
    [ "$STATUS" = "$2" ] || { lacks "$name" "status $2, not $STATUS"; return; }
    shift 2
    for line; do
        found=$(tail -n "+$((at + 1))" "$work/said" | grep -nF -m 1 -- "$line" | cut -d: -f1)
        [ -n "$found" ] || { lacks "$name" "'$line'"; return; }
        at=$((at + found))
    done
    passed=$((passed + 1))
}

says_not() { # NAME TEXT
    if grep -qF -- "$2" "$work/said"; then lacks "$1" "silence about '$2'"; else passed=$((passed + 1)); fi
}

lacks() { # NAME WHAT
    failed=$((failed + 1))
    printf 'FAILED  %s: lacks %s in\n' "$1" "$2"
    sed 's/^/    /' "$work/said"
}

# --- scripts ------------------------------------------------------------------------------------------------
program good.sh <<'TEXT'
echo "ok      one"
echo "2 passed, 0 failed, 1 skipped"
TEXT
program bad.sh <<'TEXT'
echo "ok      one"
echo "    a note about one"
echo "ok      two"
echo "    status: what was seen"
echo "waited 60s in vain for it" >&2
echo "FAILED  three: no /x/ in 'first line"
echo "second line'"
echo "ok      four"
echo "    a note after four"
echo "3 passed, 1 failed"
exit 1
TEXT
run good.sh
says what_passes_is_0 0 '2 passed, 0 failed, 1 skipped'
if [ -e "$work/logs" ]; then lacks no_log_is_kept_of_what_passed "nothing at $work/logs"; else passed=$((passed + 1)); fi
run good.sh bad.sh
says results_are_added_up 1 'good  ' 'bad  ' '5 passed, 1 failed, 1 skipped'
says a_failed_check_has_its_context 1 'status: what was seen' 'waited 60s in vain' 'FAILED  three: no /x/' "second line'" 'log: '
says_not other_checks_are_not_shown 'a note'

program mute.sh <<'TEXT'
seq -f 'line %g' 40
exit 3
TEXT
run mute.sh
says no_result_shows_the_end_of_the_log 1 '0 passed, 1 failed' 'ended with status 3 and no result' 'line 16' 'line 40'
says_not no_result_shows_the_end_alone 'line 15'

program slow.sh <<'TEXT'
echo "ok      one"
exec sleep 600
TEXT
run TEST_TIMEOUT=1 slow.sh
says a_hanging_test_is_ended 1 '0 passed, 1 failed' 'ended after 1s, its time limit' 'ok      one'

# --- cmocka -------------------------------------------------------------------------------------------------
program fails <<'TEXT'
cat <<'SAID'
[==========] Running 3 test(s).
[ RUN      ] one
said by one
[       OK ] one
[ RUN      ] two
ERROR: the text of two
over two lines
[  ERROR   ] --- 0x1 != 0x2
[   LINE   ] --- c.c:9: error: Failure!
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[==========] 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] three
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] two

 1 FAILED TEST(S)
SAID
exit 1
TEXT
program crashes <<'TEXT'
printf '%s\n' '[==========] Running 3 test(s).' '[ RUN      ] one' '[       OK ] one' '[ RUN      ] two' 'half a story'
kill -SEGV $$
TEXT
program leaves <<'TEXT'
printf '%s\n' '[==========] Running 3 test(s).' '[ RUN      ] one' '[       OK ] one' '[ RUN      ] two' 'half a story'
TEXT
program leaks <<'TEXT'
printf '%s\n' '[==========] Running 1 test(s).' '[ RUN      ] one' '[       OK ] one' '[==========] 1 test(s) run.' \
    '[  PASSED  ] 1 test(s).' '==7==ERROR: LeakSanitizer: detected memory leaks' 'Direct leak of 8 byte(s)' '    #0 in malloc'
exit 1
TEXT
run fails
says a_failed_test_is_shown_whole 1 '1 passed, 1 failed, 1 skipped' 'the text of two' 'over two lines' '0x1 != 0x2' \
    'c.c:9' '[  FAILED  ] two' 'log: '
says_not tests_that_passed_are_not_shown 'said by one'
says_not a_failure_is_no_crash 'ended'
run crashes
says a_crash_names_signal_and_test 1 '1 passed, 1 failed' 'ended by signal 11 (SIGSEGV), in two' 'half a story' 'log: '
run --jobs 2 leaves crashes
says an_end_in_the_middle_is_a_failure 1 'ended with status 0 and no result, in two'
says tests_at_a_time_are_added_up_too 1 '2 passed, 2 failed'
run leaks
says a_sanitizer_s_complaint_is_shown 1 '1 passed, 1 failed' 'ERROR: LeakSanitizer' 'Direct leak' 'in malloc'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
