# For the tests that run the configuration of an example on real servers: sourced after common.sh. The test writes $CONF out of
# the example's own file, then:
#
#     run_example                     checks $CONF and runs autoscale with it; its log is $LOG
#     autoscale COMMAND…              asks it
#     group GROUP JQ                  of the status of a group        serves GROUP N: N wanted, N serving, N existing
#     value METRIC · fresh METRIC     of a series that policies read
#     binding GROUP                   what the newest decision was bound by; explains GROUP TEXT: is it said so?
#     proposal GROUP POLICY JQ        what a policy of it proposed
#     wait_ticks N                    N more decisions

CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log

autoscale() { "$AUTOSCALE" "$@" -c "$CONF"; }
status_json() { autoscale status --json 2>/dev/null; }
explain_json() { autoscale explain "$1" --json 2>/dev/null; }

run_example() {
    autoscale check >"$WORK/check.log" 2>&1 || bail "the configuration is not accepted: $(<"$WORK/check.log")"
    spawn "$LOG" "$AUTOSCALE" run -c "$CONF" || bail "autoscale does not start"
    DAEMON=$SPAWN_PID
}

group() { status_json | jq -r --arg g "$1" ".groups[] | select(.name == \$g) | $2"; }
serves() { [ "$(group "$1" '"\(.wanted) \(.serving) \(.footprint)"')" = "$2 $2 $2" ]; }
at_least() { [ "$(group "$1" .serving)" -ge "$2" ]; }

series() { status_json | jq -r --arg m "$1" ".sources[].series[] | select(.metric == \$m) | $2"; }
value() { series "$1" .value; }
fresh() { [ "$(series "$1" .state)" = fresh ]; }

binding() { explain_json "$1" | jq -r .binding; }
explains() { autoscale explain "$1" 2>/dev/null | grep -q -- "$2"; }
bound_by() { [[ $(binding "$1") == *"$2"* ]]; } # GROUP POLICY
proposal() { explain_json "$1" | jq -r --arg p "$2" ".proposals[] | select(.policy == \$p) | $3"; }
asks_for() { [ "$(proposal "$1" "$2" .count)" -ge "$3" ]; } # GROUP POLICY N, or more

ticks_reach() { [ "$(status_json | jq .ticks)" -ge "$1" ]; }

wait_ticks() { # N decisions
    wait_for 90 "$1 decisions" ticks_reach $(($(status_json | jq .ticks) + $1))
}
