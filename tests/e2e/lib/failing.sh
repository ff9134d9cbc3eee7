# A group whose policies depend on one source of each kind, for tests in which these fail. Each of them is hung (SIGSTOP),
# killed, replaced by something that answers garbage and started again: meanwhile nothing is scaled in, the other sources go
# on, status says which one fails and since when, and all is well again without a restart of autoscale. Sourced after
# common.sh; ONLY="redis db" in the environment takes these alone.
#
#     SOURCE[NAME]='driver = …;'           a source; METRIC[NAME]=NAME.series is what a policy reads of it
#     PORT[NAME]                           where it listens on 127.0.0.1
#     start_NAME                           starts it, also again, until it answers; sets PID[NAME], as launch does
#     hang_NAME wake_NAME kill_NAME        for a source that is no process which listens at its port and may be
#     garbage_NAME end_garbage_NAME        stopped with its children; garbage is GARBAGE_PID's, as garbage_at makes it
#     launch NAME command…                 starts a server and waits for its port
#     fail_one_by_one NAME…                the test; sources `web` and `command` are the knobs of the load and always there
#
# To a probe the failure of what it asks is a measurement: there status says what is left out, and since when.

CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log KNOBS=$WORK/knobs
declare -A PORT PID SOURCE METRIC

# --- servers ------------------------------------------------------------------------------------------------
listening() { # NAME
    wait_for 60 "$1 to listen" is_listening 127.0.0.1 "${PORT[$1]}"
}

launch() { # NAME command…
    spawn "$WORK/$1.log" "${@:2}" || return 1
    PID[$1]=$SPAWN_PID
    listening "$1"
}

serve_knobs() { # NAME
    launch "$1" busybox httpd -f -p "127.0.0.1:${PORT[$1]}" -h "$KNOBS"
}

# --- the knobs: a page and a program that prints one --------------------------------------------------------
PORT[web]=$(pick_port)
SOURCE[web]="driver = \"http\"; url = \"http://127.0.0.1:${PORT[web]}/load.json\"; values = { load = \"/load\"; };"
SOURCE[command]="driver = \"exec\"; command = [ \"$WORK/command\" ];"
METRIC+=([web]=web.load [command]=command.value)

start_web() { serve_knobs web; }

be_command() { # SCRIPT
    printf '#!/bin/sh\n%s\n' "$1" >"$WORK/command.new" && chmod +x "$WORK/command.new" && mv "$WORK/command.new" "$WORK/command"
}

start_command() { be_command "exec cat $KNOBS/load"; }
hang_command() { be_command 'exec sleep 600'; }
wake_command() { start_command; }
kill_command() { rm -f "$WORK/command"; }
garbage_command() { be_command 'head -c 3000 /dev/urandom'; }
end_garbage_command() { :; }

load() { # VALUE: both knobs at once
    echo "$1" >"$KNOBS/load.new" && mv "$KNOBS/load.new" "$KNOBS/load"
    echo "{\"load\": $1}" >"$KNOBS/load.json.new" && mv "$KNOBS/load.json.new" "$KNOBS/load.json"
}

# --- what can go wrong --------------------------------------------------------------------------------------
own() { # WHAT NAME: has this source a way of its own?
    declare -F "$1_$2" >/dev/null
}

pids_of() { # NAME: the process and its children
    echo "${PID[$1]} $(cat "/proc/${PID[$1]}/task/${PID[$1]}/children" 2>/dev/null)"
}

hang() { # NAME
    own hang "$1" && { "hang_$1"; return; }
    HUNG=$(pids_of "$1")
    # shellcheck disable=SC2086
    hang_pid $HUNG
}

wake() { # NAME
    own wake "$1" && { "wake_$1"; return; }
    # shellcheck disable=SC2086
    kill -CONT $HUNG 2>/dev/null
}

kill_source() { # NAME
    if own kill "$1"; then "kill_$1"; else end_pid "${PID[$1]}" 10 KILL; fi
} 2>/dev/null

garbage_at() { # LISTEN [SCRIPT]: answers every connection to this address of socat's with what the script prints
    printf '%s\n' "${2:-head -c 3000 /dev/urandom}" >"$WORK/garbage.sh"
    spawn "$WORK/garbage.log" socat "$1,fork" "EXEC:sh $WORK/garbage.sh" || return 1
    GARBAGE_PID=$SPAWN_PID
}

garbage() { # NAME
    own garbage "$1" && { "garbage_$1"; return; }
    garbage_at "TCP-LISTEN:${PORT[$1]},bind=127.0.0.1,reuseaddr" && listening "$1"
}

end_garbage() { # NAME
    if own end_garbage "$1"; then "end_garbage_$1"; else end_pid "$GARBAGE_PID" 10; fi
}

# --- autoscale ----------------------------------------------------------------------------------------------
per_instance() { # NAME: the two knobs count, the others just have to be there
    case $1 in web | command) echo 10.0 ;; *) echo 1000.0 ;; esac
}

write_conf() { # uses ALL
    local name sources= policies=
    for name in "${ALL[@]}"; do
        sources+="  $name = { ${SOURCE[$name]} interval = \"500ms\"; timeout = \"4s\"; };"$'\n'
        policies+="  p-$name = { type = \"target\"; metric = \"${METRIC[$name]}\"; per_instance = $(per_instance "$name"); window = \"0s\"; };"$'\n'
    done
    cat >"$CONF" <<CONF
controller = { name = "sources-$$"; interval = "250ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = {
$sources};
groups = {
  work = {
    min = 1;
    max = 4;
    compute = { driver = "process"; command = [ "$(command -v busybox)", "httpd", "-f", "-p", "{address}:{port}", "-h", "$KNOBS" ];
                directory = "$WORK/instances"; address = "127.0.0.1"; ports = "30000-30999"; stop_timeout = "2s"; };
    health = { http = "/load"; interval = "500ms"; rise = 1; timeout = "5s"; boot_timeout = "60s"; };
    policies = [ $(printf '"p-%s", ' "${ALL[@]}" | sed 's/, $//') ];
    scale_in = { window = "1s"; period = "1s"; max_step = 3; };
  };
};
policies = {
$policies};
CONF
}

status_json() {
    "$AUTOSCALE" status -c "$CONF" --json 2>/dev/null
}

is_settled() { # N
    [ "$(status_json | jq -r '.groups[0] | "\(.wanted) \(.serving) \(.footprint)"')" = "$1 $1 $1" ]
}

is_well() { # NAME
    [ "$(status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) |
        (all(.endpoints[]; .ok and (has("left_out") | not)) and all(.series[]; .state == "fresh"))')" = true ]
}

all_well() {
    local name
    for name in "${ALL[@]}"; do is_well "$name" || return 1; done
}

fails() { # NAME
    [ -n "$(status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0] | .error // .left_out // empty')" ]
}

failing_s() { # NAME
    status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0] | .failing_s // .left_out_s // -1'
}

others_fresh() { # NAME
    [ "$(status_json | jq -r --arg s "$1" '[.sources[] | select(.name != $s) |
        select((all(.endpoints[]; .ok) | not) or any(.series[]; .state != "fresh" or .age_ms > 6000)) | .name] | join(" ")')" = "" ]
}

load_is_seen() { # VICTIM VALUE: by the knobs that are not the victim
    [ "$(status_json | jq -r --arg s "$1" --argjson v "$2" '[.sources[] | select(.name != $s) | .series[] |
        select(.metric == "web.load" or .metric == "command.value") | .value == $v] | length > 0 and all')" = true ]
}

polls() { # NAME
    status_json | jq -r --arg s "$1" '.sources[] | select(.name == $s) | .endpoints[0].polls'
}

polled_since() { # NAME BEFORE COUNT
    local now
    now=$(polls "$1")
    [[ $now =~ ^[0-9]+$ ]] && [ "$now" -ge $(($2 + $3)) ]
}

end_knob_instances() { # they outlive the controller
    local pid
    for pid in $(sed -nE 's/.*"pid":([0-9]+).*/\1/p' "$WORK"/instances/*.json 2>/dev/null); do
        grep -qaF -- "$KNOBS" "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid"
    done
}

# --- one source, broken one way -----------------------------------------------------------------------------
ROUNDS=8 # polls of a source for which nothing may be scaled in; with all well it is, within half as many

witness() { # VICTIM: another one, whose polls are the clock
    [ "$1" = web ] && echo command || echo web
}

failing_status() { # VICTIM
    [[ ${SOURCE[$1]} == *'"probe"'* ]] && echo 0 || echo 2
}

holds_while_broken() { # VICTIM HOW BROKEN_AT
    local before what=$1_$2 text status clock elapsed since
    clock=$(witness "$1")
    check "${what}_is_noticed" wait_for 60 "$1 to fail" fails "$1"
    load 10
    wait_for 60 "the low load to be seen" load_is_seen "$1" 10
    before=$(polls "$clock")
    wait_for 60 "further rounds" polled_since "$clock" "$before" $ROUNDS
    check "${what}_nothing_is_scaled_in" is_settled 4
    check "${what}_others_go_on" wait_for 30 "all others to be fresh" others_fresh "$1"
    text=$("$AUTOSCALE" status -c "$CONF" 2>&1)
    status=$?
    check_equal "${what}_tells_the_exit_status" "$(failing_status "$1")" "$status"
    check_match "${what}_status_names_it" "source $1 \([a-z]+\)[^)]*(FAILING|left out)[^)]* for [0-9.]+ ?[a-z]+: " "$text"
    since=$(failing_s "$1") elapsed=$(($(now_ms) - $3))
    check "${what}_status_knows_since_when" awk -v s="$since" -v e="$elapsed" 'BEGIN { exit !(s > 0 && s * 1000 <= e) }'
    load 40
    wait_for 60 "the high load to be seen" load_is_seen "$1" 40
}

warnings_of() { # NAME
    grep -c " warning $1 " "$LOG"
}

fail_every_way() { # VICTIM
    local at began warned
    at=$(now_ms) began=$at warned=$(warnings_of "$1")
    hang "$1"
    holds_while_broken "$1" hung "$at"
    wake "$1"
    check "$1_hung_recovers" wait_for 60 "$1 to answer again" all_well

    at=$(now_ms)
    kill_source "$1"
    holds_while_broken "$1" killed "$at"
    if garbage "$1"; then
        holds_while_broken "$1" garbage "$at"
    else
        fail "$1_garbage" "nothing can answer garbage in its place"
    fi
    end_garbage "$1"
    "start_$1" || fail "$1_restarts" "it does not start again"
    check "$1_restarted_recovers" wait_for 60 "$1 to answer again" all_well
    # a line for each failure, and now and then one for its newest text
    check "$1_is_not_in_the_log_at_every_poll" [ $(($(warnings_of "$1") - warned)) -le $((5 + ($(now_ms) - began) / 30000)) ]
}

# --- all of them --------------------------------------------------------------------------------------------
start_all() { # uses ALL
    local name
    mkdir -p "$KNOBS" && load 40
    for name in "${ALL[@]}"; do "start_$name" || bail "$name does not start"; done
    write_conf
    "$AUTOSCALE" check -c "$CONF" >"$WORK/check.log" 2>&1 || bail "the configuration is not accepted: $(<"$WORK/check.log")"
    cleanup_add end_knob_instances
    spawn "$LOG" "$AUTOSCALE" run -c "$CONF" || bail "autoscale does not start"
    DAEMON=$SPAWN_PID
    wait_for 90 "four instances" is_settled 4 || bail "the group does not come up"
    wait_for 60 "all sources to answer" all_well || bail "a source does not answer: $("$AUTOSCALE" status -c "$CONF")"
}

fewer_are_wanted() {
    [ "$(status_json | jq '.groups[0].wanted')" -lt 4 ]
}

scale_in_comes_when_nothing_fails() {
    local before took
    load 10
    wait_for 60 "the low load to be seen" load_is_seen none 10
    before=$(polls web)
    check control_scale_in_comes wait_for 60 "fewer to be wanted" fewer_are_wanted
    took=$(($(polls web) - before))
    note "it took $took rounds"
    [ $((2 * took)) -le $ROUNDS ] || ROUNDS=$((2 * took))
    load 40
    wait_for 90 "four instances again" is_settled 4 || bail "the group does not grow again"
}

fail_one_by_one() { # NAME…
    local name
    mapfile -t ALL < <(printf '%s\n' "$@" web command | awk '!seen[$0]++')
    start_all
    scale_in_comes_when_nothing_fails
    for name in ${ONLY:-"$@"}; do fail_every_way "$name"; done
    check the_daemon_is_the_same is_running "$DAEMON"
    load 10
    check scale_in_comes_when_all_are_well wait_for 60 "one instance" is_settled 1
    "$AUTOSCALE" status -c "$CONF" >/dev/null 2>&1
    check_equal status_is_0_when_all_are_well 0 $?
}
