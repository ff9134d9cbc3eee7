#!/usr/bin/env bash
# Every example configuration passes `autoscale check` without a warning, but for secrets that are not on this machine.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$root/$BUILD ;; esac
passed=0 failed=0

cd "$root" || exit 1
# what a policy_dir holds is read with the main file
while read -r file; do
    answer=$("$BUILD/autoscale" check -c "$file" 2>&1)
    if [ $? = 0 ] && ! grep 'warning:' <<<"$answer" | grep -qv 'secret file .*: No such file'; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$file" "$answer"
    fi
done < <(find examples -type f -name '*.conf' -not -path '*/policies.d/*' -exec grep -lE '^[[:space:]]*groups[[:space:]]*=' {} + | sort)
[ "$((passed + failed))" -gt 0 ] || { failed=1; echo "FAILED  no example was found"; }
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
