#!/usr/bin/env bash
# The manual pages are complete and well formed: every option of every table stands in autoscale.conf(5), in the part of
# its driver or policy, and the formatters have nothing to complain about.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$root/$BUILD ;; esac
page=$BUILD/autoscale.conf.5
passed=0 failed=0 skipped=0

verdict() { # NAME COMPLAINTS: none is good
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$1" "$2"
    fi
}

# "source haproxy address" for each option and series of a driver, "policy target metric" for those of a policy
list_names() {
    "$BUILD/autoscale" drivers --json | flatten ''
    "$BUILD/autoscale" policies --json | flatten policy
}

flatten() { # KIND: for tables without one
    awk -v kind="$1" -F'"' '
        /^\t\t"kind"/ { kind = $4 }
        /^\t\t"name"/ { table = $4 }
        /^\t\t\t+"name"/ { print kind, table, $4 }'
}

section_of() { # KIND NAME: what stands between its heading and the next
    awk -v driver=".SS \"$1 driver $2\"" -v policy=".SS \"$1 type $2\"" '
        /^\.S[SH]/ { inside = $0 == driver || $0 == policy; next }
        inside' "$page"
}

missing_options() {
    local kind table name count=0
    while read -r kind table name; do
        count=$((count + 1))
        grep -qF "\\fB${name//-/\\-}\\fR" <<<"$(section_of "$kind" "$table")" || echo "$kind $table: $name is not there"
    done < <(list_names)
    [ "$count" -gt 50 ] || echo "only $count options were found: this test does not see them"
}

missing_block_options() { # the common blocks: their tables are the source of the fragment
    local name names
    names=$(sed -nE 's/^ *\{ \.name = "([a-z_]+)".*/\1/p' "$root/controller/config/schema.c" | sort -u)
    [ -n "$names" ] || echo "no option was found: this test does not see them"
    for name in $names; do
        grep -qF "\\fB$name\\fR" "$page" || echo "$name is not there"
    done
}

missing_commands() {
    local name
    while read -r name _; do
        grep -qE "^\.B $name\$" "$BUILD/autoscale.1" || echo "$name is not there"
    done < <("$BUILD/autoscale" -h | sed -nE 's/^  ([a-z]+) +.*/\1/p')
}

format() { # FILE: what the formatters that are installed say against it
    if command -v mandoc >/dev/null; then
        mandoc -Tlint -Wwarning "$1" | grep -v 'STYLE:'
    fi
    if command -v groff >/dev/null; then
        groff -man -ww -Tutf8 "$1" 2>&1 >/dev/null
    fi
}

verdict the_manual_exists "$(for file in "$page" "$BUILD/autoscale.1"; do [ -s "$file" ] || echo "$file is not built"; done)"
verdict nothing_is_left_to_replace "$(grep -nE '^@[A-Z]+@$' "$page")"
verdict every_option_and_series_is_in_the_manual "$(missing_options)"
verdict every_option_of_the_common_blocks_is_in_the_manual "$(missing_block_options)"
verdict every_command_is_in_the_manual "$(missing_commands)"
if command -v mandoc >/dev/null || command -v groff >/dev/null; then
    for file in "$page" "$BUILD/autoscale.1"; do
        verdict "$(basename "$file")_is_well_formed" "$(format "$file")"
    done
else
    skipped=1
    echo "skipped manual_is_well_formed: neither mandoc nor groff is installed"
fi
[ "$skipped" = 0 ] || also=", $skipped skipped"
echo "$passed passed, $failed failed${also:-}"
[ "$failed" = 0 ]
