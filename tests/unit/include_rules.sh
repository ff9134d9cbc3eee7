#!/usr/bin/env bash
# Who may include whom (the house plan), and which folders there are. Checks itself first: a tree with
# planted violations must be caught, one by one, or the check proves nothing.
#
#     tests/unit/include_rules.sh [ROOT]     exit 0: the tree keeps the rules; 1: each violation on a line
set -u

here=$(cd "$(dirname "$0")" && pwd)
top_level='^(\..*|Makefile|README\.md|controller|drivers|policies|include|tests|examples)$'
violations=0

complain() { # FILE:LINE TEXT…
    violations=$((violations + 1))
    printf '%s: %s\n' "$1" "${*:2}"
}

list_files() { # ROOT: what git knows or would add; without git, all but build directories
    if [ -e "$1/.git" ] && git -C "$1" ls-files --cached --others --exclude-standard 2>/dev/null; then
        :
    else # no git here, or git refuses a repository of another owner
        (cd "$1" && find . -type f -not -path './build*' | sed 's|^\./||')
    fi
}

# FILE: prints "LINE STYLE TARGET" for each include; STYLE is system or local.
list_includes() {
    sed -nE \
        -e '/^[[:space:]]*#[[:space:]]*include[[:space:]]*</{s/[^<]*<([^>]*)>.*/system \1/;=;p}' \
        -e '/^[[:space:]]*#[[:space:]]*include[[:space:]]*"/{s/[^"]*"([^"]*)".*/local \1/;=;p}' "$1" | paste -d' ' - -
}

# DIRECTORY-OF-THE-FILE TARGET: prints the path from the root that a local include means, dots resolved.
resolve() {
    local part path= from=$1
    local IFS=/
    case $2 in autoscale/*) from=include ;; esac
    for part in $from $2; do
        case $part in
        . | '') ;;
        ..) case $path in */*) path=${path%/*} ;; *) path= ;; esac ;;
        *) path=${path:+$path/}$part ;;
        esac
    done
    printf '%s' "$path"
}

# FILE TARGET (both from the root): prints why FILE must not include TARGET, nothing when it may.
forbidden() {
    case $1 in
    policies/*)
        case $2 in include/autoscale/* | policies/*) ;; *) echo "policies/ sees only include/" ;; esac ;;
    drivers/wire/*)
        case $2 in include/autoscale/* | drivers/wire/*) ;; *) echo "drivers/wire/ sees only include/ and itself" ;; esac ;;
    drivers/*)
        case $2 in
        include/autoscale/* | drivers/wire/*) ;;
        drivers/*/*) [ "${1%/*}" = "${2%/*}" ] || echo "a driver sees include/, drivers/wire/ and its own folder" ;;
        *) echo "drivers/ sees include/ and drivers/wire/, never controller/" ;;
        esac ;;
    include/*)
        case $2 in include/autoscale/*) ;; *) echo "include/ stands alone" ;; esac ;;
    controller/loop/* | controller/sim/* | controller/model/*)
        case $2 in drivers/* | policies/*) echo "${1%/*}/ never sees a driver's or policy's header" ;; esac ;;
    esac
}

check_file() { # ROOT FILE
    local number style target path why
    while read -r number style target; do
        case $style:$target in
        system:autoscale/* | system:*.c | system:../*) complain "$2:$number" "<$target> must be written with quotes" ;;
        esac
        [ "$style" = local ] || continue
        path=$(resolve "${2%/*}" "$target")
        why=$(forbidden "$2" "$path")
        [ -z "$why" ] || complain "$2:$number" "includes \"$target\": $why"
    done < <(list_includes "$1/$2")
}

check_tree() { # ROOT: counts into `violations`
    local file top
    violations=0
    while read -r top; do
        [[ $top =~ $top_level ]] || complain "$top" "no such folder or file at the top level in the house plan"
    done < <(list_files "$1" | cut -d/ -f1 | sort -u)
    while read -r file; do
        [ -f "$1/$file" ] && check_file "$1" "$file"
    done < <(list_files "$1" | grep -E '^(policies|drivers|controller|include)/.*\.[ch]$')
}

# --- does the check catch anything? -----------------------------------------------------------------
plant() { # NAME FILE LINE…: a tree that must be refused because of this one file
    local tree
    tree=$(mktemp -d "${TMPDIR:-/tmp}/include-rules.XXXXXX") || exit 1
    mkdir -p "$tree/$(dirname "$2")"
    printf '%s\n' "${@:3}" >"$tree/$2"
    check_tree "$tree" >/dev/null
    rm -rf -- "$tree"
}

must_refuse() {
    plant "$@"
    [ "$violations" = 1 ] && return
    echo "include_rules: self-check failed: $1 was not caught exactly once but $violations times"
    exit 1
}

must_allow() {
    plant "$@"
    [ "$violations" = 0 ] && return
    echo "include_rules: self-check failed: $1 is legal and was refused"
    exit 1
}

self_check() {
    must_refuse "a policy that sees the controller" policies/a.c '#include "../controller/model/series.h"'
    must_refuse "a policy that sees a driver" policies/a.c '  #  include "../drivers/wire/http.h"'
    must_refuse "a driver that sees the controller" drivers/source/a.c '#include "../../controller/runtime/log.h"'
    must_refuse "a wire that sees a driver" drivers/wire/a.h '#include "../source/b.h"'
    must_refuse "a driver that sees another kind" drivers/source/a.c '#include "../compute/docker_json.h"'
    must_refuse "the loop that sees a driver" controller/loop/a.c '#include "../../drivers/wire/http.h"'
    must_refuse "the simulator that sees a driver" controller/sim/a.c '#include "../../drivers/source/a.h"'
    must_refuse "a contract that sees a room" include/autoscale/a.h '#include "../../controller/config/config.h"'
    must_refuse "a detour" policies/a.c '#include "./../policies/../controller/config/config.h"'
    must_refuse "a detour by the contracts" policies/a.c '#include "autoscale/../../controller/config/config.h"'
    must_refuse "a contract in angle brackets" drivers/source/a.c '#include <autoscale/source.h>'
    must_refuse "a new top-level folder" lib/a.c 'int a;'
    must_allow "a policy with its contract" policies/a.c '#include <math.h>' '#include "autoscale/policy.h"' '#include "common.h"'
    must_allow "a driver with its wire" drivers/source/a.c '#include "../wire/http.h"' '#include "autoscale/source.h"'
    must_allow "the loop with its rooms" controller/loop/a.c '#include "../model/series.h"' '#include "op.h"'
    must_allow "a dot file" .ci/run '#!/bin/sh'
}

self_check
check_tree "${1:-$here/../..}"
if [ "$violations" = 0 ]; then
    echo "1 passed, 0 failed"
    exit 0
fi
echo "FAILED  include_rules: $violations violations"
echo "0 passed, 1 failed"
exit 1
