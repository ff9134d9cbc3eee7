#!/usr/bin/env bash
# README.md tells the truth: each guarantee names tests that exist, its first configuration passes, its commands, make targets
# and files are there.
#
#     tests/unit/readme_guarantees.sh [README]     another text, to see what this test catches
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$root/$BUILD ;; esac
readme=$(realpath "${1:-$root/README.md}")
passed=0 failed=0
cd "$root" || exit 1

verdict() { # NAME COMPLAINTS: none is good
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$1" "$2"
    fi
}

guarantee_without_test() { # G1 to G15 each have a row, with at least one test of their own
    local k row
    for k in {1..15}; do
        row=$(grep -E "^\| G$k \|" "$readme") || { echo "G$k is not in the table"; continue; }
        grep -qE "\`G${k}_[A-Za-z0-9_]+\`" <<<"$row" || echo "G$k names no test of its own"
    done
}

shell_checks() { # as patterns: a name made with a variable in it, "G4_$1_starts", stands for all that it can become
    grep -ohE 'G[0-9]+_[A-Za-z0-9_${}]+' tests/e2e/*.sh | sed -E 's/\$\{[^}]*\}|\$[0-9]|\$[A-Za-z_]+/[A-Za-z0-9_]+/g' |
        grep -vE '^G[0-9]+_\[A-Za-z0-9_\]\+$' | sort -u # one that could become anything proves nothing
}

test_that_does_not_exist() { # a check of a shell test, or a test function of a C test that is also run
    local name count=0 checks
    checks=$(shell_checks)
    for name in $(grep -oE '`G[0-9]+_[A-Za-z0-9_]+`' "$readme" | tr -d '`' | sort -u); do
        count=$((count + 1))
        grep -qxEf <(printf '%s\n' "$checks") <<<"$name" && continue
        grep -qE "cmocka_unit_test[a-z_]*\($name[,)]" tests/*/test_*.c && continue
        echo "$name is not a test"
    done
    [ "$count" -ge 15 ] || echo "only $count tests are named"
}

wrong_first_configuration() {
    local file answer
    file=$(mktemp "${TMPDIR:-/tmp}/readme-XXXXXX.conf") || return
    awk '/<!-- first configuration -->/ { seen = 1; next } seen && /^```/ { if (inside) exit; inside = 1; next } inside' \
        "$readme" >"$file"
    answer=$("$BUILD/autoscale" check -c "$file" 2>&1) || printf '%s\n' "$answer"
    grep 'warning:' <<<"$answer"
    rm -f "$file"
}

missing_command() { # of the table and of the text, with what it is called with
    local name names options option
    "$BUILD/autoscale" -h | sed -nE 's/^  ([a-z]+) +.*/\1/p' | while read -r name; do
        grep -qF "\`autoscale $name" "$readme" || echo "autoscale $name is not in the README"
    done
    names=$(grep -oE '(`|^    )autoscale [a-z]+[^`]*' "$readme" | sed -E 's/^(`|    )//; s/   .*//' | sort -u)
    while read -r _ name options; do
        "$BUILD/autoscale" "$name" -h >/dev/null 2>&1 || { echo "there is no command '$name'"; continue; }
        for option in $(grep -oE '(^| )--?[a-z-]+' <<<"$options"); do
            "$BUILD/autoscale" "$name" -h | grep -qE -- "(^|[ [,])$option([] ,]|\$)" || echo "autoscale $name knows no $option"
        done
    done <<<"$names"
}

missing_target() {
    local target
    for target in $(grep -oE '(`|^    |sudo )make [a-z -]+' "$readme" | sed -E 's/.*make //; s/   .*//' | tr ' ' '\n' | sort -u); do
        grep -qE "^$target:" Makefile || echo "there is no make target '$target'"
    done
}

missing_file() {
    local file
    for file in $(grep -oE '`(tests|examples|drivers|policies|controller|include|\.ci)/[A-Za-z0-9_./-]+`' "$readme" | tr -d '`' | sort -u); do
        [ -e "$file" ] || echo "there is no $file"
    done
    for file in $(sed -nE 's/^    ([a-z.]+\/[a-z/]*) .*/\1/p' "$readme"); do
        [ -d "$file" ] || echo "there is no folder $file"
    done
}

verdict every_guarantee_names_a_test "$(guarantee_without_test)"
verdict every_named_test_exists "$(test_that_does_not_exist)"
verdict the_first_configuration_passes "$(wrong_first_configuration)"
verdict every_command_exists "$(missing_command)"
verdict every_make_target_exists "$(missing_target)"
verdict every_file_exists "$(missing_file)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
