# What the parts of `make bench` share: how they end, medians, and the rows of the table. Sourced after common.sh.

ROWS=()

e2e_exit() { # in place of the tests' own: the same cleanup, no count of tests
    local status=$1 i
    trap - EXIT
    trap '' INT TERM
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
        eval "${CLEANUPS[i]}" || warn "cleanup failed: ${CLEANUPS[i]}"
    done
    [ "$status" = 0 ] || { for i in "$WORK"/*.log; do log_tail "$i"; done; } >&2
    if [ -n "${KEEP:-}" ]; then say "kept: $WORK"; else rm -rf -- "$WORK"; fi
    exit "$status"
}

give_up() {
    warn "bench: $*"
    exit 1
}

progress() {
    warn "bench: $*"
}

calc() { # EXPRESSION FORMAT
    awk "BEGIN { printf \"${2:-%.2f}\", $1 }"
}

median() { # of the numbers on standard input
    sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

row() { # WHAT MEASURED AGAINST RATIO GOAL: the ratio must not be above the goal
    local verdict=ok
    [ "$(calc "($4) <= ($5)" %d)" = 1 ] || verdict=MISSED
    ROWS+=("$1|$2|$3|$(calc "$4")|$(calc "$5")|$verdict")
}
