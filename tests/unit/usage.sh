#!/usr/bin/env bash
# The command line as somebody meets it who mistypes, whose configuration is broken, whose disk is full and whose
# daemon is down: each answer says what is wrong and what to do next. Needs no root; the one daemon it starts
# runs `sleep` as its instance.
set -u
cd "$(dirname "$0")/../.." || exit 1
program=$(cd "${BUILD:-build}" && pwd)/autoscale
work=$(mktemp -d) || exit 1
daemon='' passed=0 failed=0

end() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null
    daemon=
}
ends() { # the instances outlive the daemon
    local file pid
    end
    for file in "$work"/instances/*.json; do
        [ -f "$file" ] && pid=$(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$file") && kill -- "-$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap ends EXIT
trap 'exit 1' INT TERM

verdict() { # NAME TEXT command…; counts
    local name=$1 text=$2
    shift 2
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        printf 'FAILED  %s: %s\n' "$name" "$text"
    fi
}
matches() { # PATTERN TEXT
    grep -qE -- "$1" <<<"$2"
}
answers() { # NAME STATUS PATTERN ARGUMENT…
    local name=$1 want=$2 pattern=$3 out status
    shift 3
    out=$("$program" "$@" 2>&1 </dev/null)
    status=$?
    verdict "$name" "status $status, wanted $want and /$pattern/: $out" \
        eval '[ "$status" = "$want" ] && matches "$pattern" "$out"'
}
lacks() { # NAME PATTERN ARGUMENT…
    local name=$1 pattern=$2 out
    shift 2
    out=$("$program" "$@" 2>&1 </dev/null)
    verdict "$name" "/$pattern/ is in: $out" eval '! matches "$pattern" "$out"'
}
waits() { # command…: up to a minute
    local i
    for ((i = 0; i < 1200; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    return 1
}
conf() { # FILE LINE…: a configuration of one process, with LINEs in its group
    cat >"$1" <<CONF
controller = { name = "usage"; interval = "100ms"; state = "$work/state.db"; socket = "$work/autoscale.sock"; };
groups = { web = { min = 1; max = 2; health = { tcp = false; };
  compute = { driver = "process"; directory = "$work/instances"; command = [ "sleep", "600" ]; };
  policies = [ "size" ]; ${2:-} }; };
policies = { size = { type = "static"; count = ${3:-1}; }; };
CONF
}

# --- mistyped ---------------------------------------------------------------------------------------------
answers a_mistyped_command_is_guessed 1 "no command 'stauts': did you mean 'status'" stauts
answers an_unknown_command_names_the_list 1 '`autoscale -h` lists them' frobnicate
answers help_of_a_command 0 '^usage: autoscale status' help status
for command in check plan run simulate status explain history reload drivers policies; do
    answers "an_unknown_option_of_${command}_is_named" 1 "^autoscale $command: unrecognized option '--bogus'" "$command" --bogus
    lacks "an_unknown_option_of_${command}_is_not_buried_in_help" '^usage:' "$command" --bogus
done
for command in check plan run simulate status history reload version; do
    answers "${command}_takes_no_operand" 1 "^autoscale $command: 'extra' is too much" "$command" extra
done
answers drivers_takes_one_name 1 "'b' is too much" drivers haproxy b
answers an_option_of_another_command_is_refused 1 'status: there is no option --at here' status --at 3m
answers explain_wants_a_group 1 'name the group' explain
answers a_wrong_time_shows_right_ones 1 "history: 'yesterday' is no time: write 10m, 2h" history --since yesterday

# --- what was not written ---------------------------------------------------------------------------------
if [ -w /dev/full ]; then
    for command in drivers policies version -h; do
        text=$("$program" "$command" 2>&1 >/dev/full)
        verdict "an_answer_that_is_not_written_is_an_error_of_$command" "status $?: $text" \
            matches 'could not be written: No space left' "$text"
    done
fi

# --- configurations ---------------------------------------------------------------------------------------
conf "$work/good.conf"
answers a_good_configuration 0 'ok: 1 group' check -c "$work/good.conf"
sed 's/"600" ]/"600 ]/' "$work/good.conf" >"$work/quote.conf"
answers a_missing_quote_is_found_where_it_is 1 'quote.conf:3: error: the text that begins here has no closing quote' check -c "$work/quote.conf"
lacks a_missing_quote_brings_no_nonsense 'needs double quotes|syntax error' check -c "$work/quote.conf"
{ printf '\xef\xbb\xbf' && cat "$work/good.conf"; } >"$work/bom.conf"
answers a_byte_order_mark_is_named 1 'byte order mark' check -c "$work/bom.conf"
sed "s|$work/autoscale.sock|$work/$(printf 'x%.0s' {1..120})|" "$work/good.conf" >"$work/long.conf"
answers a_socket_path_that_cannot_work_is_an_error 1 'socket: the path of a Unix socket has at most 107 bytes' check -c "$work/long.conf"

{ cat "$work/good.conf" && echo "sources = { db = { driver = \"redis\"; address = \"127.0.0.1:1\"; password_file = \"$work/pass\"; }; };"; } >"$work/secret.conf"
answers a_secret_that_is_missing_is_warned_of 0 "warning: source 'db': password_file: secret file .*/pass: No such file" check -c "$work/secret.conf"
echo x >"$work/pass" && chmod 644 "$work/pass"
answers a_secret_that_others_can_read_is_warned_of 0 "warning: .* can be read by others: run chmod 600 " check -c "$work/secret.conf"
chmod 600 "$work/pass"
lacks a_good_secret_is_not_warned_of 'warning' check -c "$work/secret.conf"

sed 's/min = 1/min = 0/; s/policies = \[ "size" \];/policies = [ "load" ]; balancer = { driver = "haproxy"; address = "\/run\/none.sock"; backend = "web"; };/
     s/^policies = .*/sources = { lb = { driver = "haproxy"; address = "\/run\/none.sock"; }; }; policies = { load = { type = "target"; metric = "lb.web.sessions"; per_instance = 4; }; };/' \
    "$work/good.conf" >"$work/zero.conf"
answers zero_behind_a_balancer_is_warned_of 0 'warning: .*min = 0 behind a balancer' check -c "$work/zero.conf"

# --- no daemon --------------------------------------------------------------------------------------------
answers status_without_a_daemon 1 'status: no autoscale is running on .*start it with' status -c "$work/good.conf"
answers explain_without_daemon_and_journal 1 'explain: no daemon answers, and the journal .* cannot be reached' explain web -c "$work/good.conf"
sed 's/interval = "100ms"/interval = "1h"/' "$work/good.conf" >"$work/rare.conf"
began=$SECONDS
answers a_plan_with_a_rare_interval 2 'create +a new instance' plan -c "$work/rare.conf"
verdict a_plan_does_not_wait_for_the_interval "$((SECONDS - began)) s" [ $((SECONDS - began)) -lt 12 ] # it gives up after 15
timeout -s INT 60 "$program" run --dry-run -c "$work/good.conf" >"$work/dry.log" 2>&1 &
daemon=$!
waits grep -q 'would create a new instance' "$work/dry.log"
verdict a_dry_run_says_what_it_would_do "$(tail -n 3 "$work/dry.log")" \
    grep -qE 'web \[dry run\] would create a new instance: 1 wanted' "$work/dry.log"
verdict a_dry_run_says_what_it_decided "$(tail -n 3 "$work/dry.log")" grep -qE 'web \[dry run\] stays at 1: ' "$work/dry.log"
end

# --- a daemon ---------------------------------------------------------------------------------------------
"$program" run -c "$work/good.conf" >"$work/run.log" 2>&1 &
daemon=$!
waits eval '"$program" status -c "$work/good.conf" | grep -q SERVING'
answers status_with_a_daemon 0 'group web: wanted 1, serving 1' status -c "$work/good.conf"
answers explain_of_an_unknown_group_names_the_groups 1 "explain: there is no group 'wbe' \(there are: web\)" explain wbe -c "$work/good.conf"
answers explain_takes_a_name_as_it_was_typed 1 "explain: there is no group 'web#x y&at=5%' \(there are: web\)" explain 'web#x y&at=5%' -c "$work/good.conf"
answers history_takes_a_name_as_it_was_typed 0 'history: nothing is recorded of group we b&limit=1' history -g 'we b&limit=1' -c "$work/good.conf"
answers history_of_nothing_says_so 0 'history: nothing is recorded of group wbe' history -g wbe -c "$work/good.conf"
answers reload_of_the_same_says_so 0 '^reloaded: nothing is different' reload -c "$work/good.conf"
conf "$work/good.conf" '' 2
answers reload_counts_in_words 0 '^reloaded: 1 change$' reload -c "$work/good.conf"
conf "$work/good.conf" 'pause = "INC-4711: the database moves";'
answers a_pause_is_a_change 0 "^group 'web': pause no -> INC-4711: the database moves" reload -c "$work/good.conf"
waits eval '"$program" status -c "$work/good.conf" | grep -q paused'
answers a_pause_is_shown_with_its_reason 0 'paused: INC-4711: the database moves' status -c "$work/good.conf"
conf "$work/good.conf" 'pause = "";'
answers a_pause_wants_a_reason 1 'pause: wants a reason' check -c "$work/good.conf"
conf "$work/good.conf" 'maxx = 3;'
answers a_refused_reload_says_why 1 "did you mean 'max'" reload -c "$work/good.conf"
answers a_broken_configuration_does_not_hide_the_daemon 0 'group web: wanted' status -c "$work/good.conf"
answers a_broken_configuration_is_said_though 0 "did you mean 'max'" status -c "$work/good.conf"
printf '};;}' >>"$work/good.conf"
answers a_syntax_error_does_not_hide_the_daemon 0 'group web: wanted' status -c "$work/good.conf"
conf "$work/good.conf"
answers history_has_the_refused_reload 0 'reload .* refused, nothing was changed: .*maxx' history -c "$work/good.conf"
end
answers history_has_the_stop 0 'stop .*SIGTERM; instances are left serving' history -c "$work/good.conf"
answers explain_reads_the_journal_of_a_daemon_that_is_down 0 'no daemon answers; from the journal' explain web -c "$work/good.conf"
answers explain_reads_it_as_json_too 0 '"summary"' explain web --json -c "$work/good.conf"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
