#!/usr/bin/env bash
# G8: check, plan and run --dry-run cannot act. Also what `run` refuses at the start: a balancer that cannot take dynamic
# servers, a journal that is damaged, taken or not writable; and that nothing is done while the journal cannot be written.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/wide.sh"
start_wide
wide_conf

# --- G8 ---------------------------------------------------------------------------------------------------
world() { # all that could be changed: containers, networks, servers
    local n dir
    for n in 1 2; do
        docker_of $n GET '/containers/json?all=1' | jq -cS 'map({Id, Names, State, Labels}) | sort_by(.Id)[]'
        docker_of $n GET /networks | jq -cS 'map({Id, Name}) | sort_by(.Id)[]'
    done
    for dir in "$WORK/lb" "$WORK/lb2"; do
        haproxy_cli "$dir" 'show stat -1 4 -1' | cut -d, -f1,2,18,19,20,21,74 | sed -E 's: [0-9]+/[0-9]+,:,:' # checks on the way
    done
}

journal_files() { # bytes and times; a reader may touch SQLite's index of the log (-shm), which is no data
    stat -c '%n %s %y %i' "$WORK/state.db"
    cat "$WORK/state.db" | sha256sum
    cat "$WORK/state.db-wal" 2>/dev/null | wc -c
}

docker_events() { # SECONDS since when, so far
    docker_of 1 GET "/events?since=$1&until=$(date +%s)"
    docker_of 2 GET "/events?since=$1&until=$(date +%s)"
}

unchanged() { # NAME: since `before` was called
    check_equal "$1_changes_nothing" "$WORLD" "$(world)"
    check_equal "$1_leaves_the_journal_alone" "$JOURNAL" "$(journal_files)"
    check_equal "$1_sends_no_write_to_docker" "" "$(docker_events "$BEGAN")"
}

before() {
    sleep 1 # Docker's events are asked for by whole seconds
    BEGAN=$(date +%s) WORLD=$(world) JOURNAL=$(journal_files)
}

OUT= STATUS=
run() { # command…: OUT is both outputs
    OUT=$("$@" 2>&1)
    STATUS=$?
}

wide_conf min=2
start_autoscale
wait_group web 2 && wait_group two 1 || bail "the groups do not come up"
wide_conf
autoscale reload >/dev/null
wait_group web 1 || bail "web is not scaled in"
GONE=$(autoscale history -g web --json | jq -r '[.events[] | select(.text | test("-> GONE"))][0].instance')
stop_autoscale
run autoscale plan
check_equal G8_plan_with_nothing_to_do_is_0 0 "$STATUS"
check_match G8_plan_says_that_there_is_nothing_to_do 'Nothing to do\.$' "$OUT"

# What the daemon would act on at once: a member of an instance that is gone, a container with our mark, a large demand.
haproxy_cli "$WORK/lb" "add server web/$GONE 127.0.0.1:9 check" >/dev/null
docker_of 1 POST '/containers/create?name=web-0badbeef' -o /dev/null -H 'Content-Type: application/json' -d "{
    \"Image\": \"e2e-web:1\", \"Cmd\": [\"/web\"], \"Labels\": {\"autoscale.controller\": \"$CONTROLLER\",
    \"autoscale.group\": \"web\", \"autoscale.instance\": \"web-0badbeef\"}}"
check G8_the_bait_is_laid eval '[[ $(members_of 1 web) = *$GONE* && $(containers_of web) = *web-0badbeef* ]]'
knob load 100
before
run autoscale check
check_equal G8_check_is_0 0 "$STATUS"
unchanged G8_check
run autoscale plan
check_equal G8_plan_with_changes_is_2 2 "$STATUS"
check_match G8_plan_shows_current_and_wanted_counts 'web, decided.* +1 -> 6: .*wanted until now 1, serving 1' "$OUT"
check_match G8_plan_shows_the_stages 'merge +1 -> 10 +knob asks for 10.*bound +10 -> 6 +bound by max' "$OUT"
check_match G8_plan_names_the_binding_constraint 'limits +1 to 6; bound by max' "$OUT"
check_match G8_plan_lists_steps_in_order 'steps.* 1\. create +a new instance.* 2\. ' "$OUT"
check_match G8_plan_says_that_nothing_was_done 'Changes are planned; nothing was done\.$' "$OUT"
run autoscale plan --json
check_equal G8_plan_json_is_2_and_valid "2 6 max" "$STATUS $(jq -r '.groups[0] | "\(.desired) \(.binding)"' <<<"$OUT")"
unchanged G8_plan
spawn "$WORK/dry.log" "$AUTOSCALE" run --dry-run -c "$CONF"
DRY=$SPAWN_PID
check G8_dry_run_says_what_it_would_do wait_for 60 "a decision" grep -qE '\[dry run\] 1 -> 6' "$WORK/dry.log"
wait_for 60 "a second round" eval '[ "$(grep -c . "$WORK/dry.log")" -ge 3 ]'
sleep 2 # four rounds in which it could act
check G8_dry_run_opens_no_socket [ ! -e "$WORK/autoscale.sock" ]
unchanged G8_dry_run
end_pid "$DRY"
unchanged G8_end_of_dry_run

stop_haproxy "$WORK/lb2"
run autoscale plan
check_equal G8_plan_that_cannot_see_all_is_1 1 "$STATUS"
check_match G8_plan_names_the_unreachable_balancer "unreachable: group two, balancer $ADMIN2: " "$OUT"
check_match G8_plan_names_the_unreachable_source "unreachable: source lb2 $ADMIN2: " "$OUT"
start_haproxy "$WORK/lb2/haproxy.cfg" "$WORK/lb2"

docker_of 1 DELETE '/containers/web-0badbeef?force=1' -o /dev/null
knob load 20
start_autoscale
wait_group web 2 && wait_group two 1 || bail "the daemon does not start again"
check G8_bait_was_real wait_for 60 "the orphan's eviction" eval '[[ $(members_of 1 web) != *$GONE* ]] && in_step web 2 && in_step two 1'
WORLD=$(world)
run autoscale plan
check_equal G8_plan_beside_the_daemon_is_0 0 "$STATUS"
check_equal G8_plan_beside_the_daemon_changes_nothing "$WORLD" "$(world)"
check G8_the_daemon_goes_on wait_ticks 3

# --- a balancer that cannot be driven --------------------------------------------------------------------------
stop_autoscale
reset_wide
wide_conf backend=fixed
run autoscale plan
check_match static_rr_is_told_by_plan "1 .*group web, balancer $ADMIN: .*its \`balance\` takes no servers at run time: use roundrobin" "$STATUS $OUT"
WORLD=$(world)
run timeout 60 "$AUTOSCALE" run -c "$CONF"
check_match static_rr_is_refused_at_the_start "^1 .*web balancer $ADMIN cannot be driven: .*its \`balance\` takes no servers" "$STATUS $OUT"
check_equal static_rr_refusal_changes_nothing_anywhere "$WORLD" "$(world)"

# --- the journal ------------------------------------------------------------------------------------------------
wide_conf
start_autoscale
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
run "$AUTOSCALE" run -c "$CONF"
check_match second_daemon_is_refused "^1 .*state.db is in use by another autoscale \(pid $AUTOSCALE_PID\)" "$STATUS $OUT"
check second_daemon_leaves_the_first_alone wait_ticks 3
stop_autoscale

refused_state() { # NAME STATE REGEX
    wide_conf state="$2"
    run timeout 60 "$AUTOSCALE" run -c "$CONF"
    check_match "$1_is_refused" "^1 .*not started: $3" "$STATUS $OUT"
}
mkdir "$WORK/bad"
head -c 20000 /dev/urandom >"$WORK/bad/state.db"
sum=$(sha256sum <"$WORK/bad/state.db")
refused_state damaged_journal "$WORK/bad/state.db" "$WORK/bad/state.db is damaged .*move it aside"
check_equal damaged_journal_is_left_as_it_was "$sum" "$(sha256sum <"$WORK/bad/state.db")"
cp "$WORK/state.db" "$WORK/bad/half.db" && truncate -s 6000 "$WORK/bad/half.db"
sum=$(sha256sum <"$WORK/bad/half.db")
refused_state truncated_journal "$WORK/bad/half.db" "$WORK/bad/half.db is damaged .*move it aside"
check_equal truncated_journal_is_left_as_it_was "$sum" "$(sha256sum <"$WORK/bad/half.db")"
refused_state missing_directory "$WORK/nowhere/state.db" "cannot create .*/nowhere/state.db.*there is no directory $WORK/nowhere"
mkdir "$WORK/ro" && mount -t tmpfs -o ro,size=1m none "$WORK/ro" && cleanup_add 'umount "$WORK/ro"'
refused_state unwritable_directory "$WORK/ro/state.db" 'cannot create .*: Read-only file system'
check_equal refusals_change_nothing 1 "$(containers_of web | wc -l)"

# --- a disk that fills up at run time -----------------------------------------------------------------------------
reset_wide
mkdir "$WORK/small" && mount -t tmpfs -o size=2m none "$WORK/small" && cleanup_add 'umount -l "$WORK/small"'
wide_conf state="$WORK/small/state.db"
start_autoscale
wait_group web 1 && wait_group two 1 || bail "the groups do not come up"
IDS=$(containers_of web)
cat /dev/zero >"$WORK/small/filler" 2>/dev/null
knob load 40
check full_disk_is_logged wait_for 60 "the log" log_has 'error journal .*disk is full: make room.*no instance is created'
check_says full_disk_is_in_status 'journal .*state.db FAILING: .*disk is full' autoscale status
wait_for 60 "the decision" gf_is web wanted 4
wait_ticks 8
check_equal full_disk_nothing_is_created "$IDS" "$(containers_of web)"
docker_of 1 POST "/containers/$IDS/kill" -o /dev/null
wait_ticks 8
check_equal full_disk_nothing_is_replaced "$IDS" "$(containers_of web)"
rm "$WORK/small/filler"
check full_disk_recovers_by_itself wait_group web 4
check_soon full_disk_end_is_logged log_has 'journal can be written again after'
check_soon full_disk_end_all_agree in_step web 4
finish
