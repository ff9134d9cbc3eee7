#!/usr/bin/env bash
# The docker source in the daemon: containers on two hosts that compute without end drive their group to its maximum,
# a source that nobody reads is not asked, and a host that does not answer takes nothing away.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/dockerd.sh"

need_root
need_command dockerd busybox jq curl
[ -x "$AUTOSCALE" ] || bail "$AUTOSCALE is not built"
CONF=$WORK/autoscale.conf LOG=$WORK/autoscale.log
A=$WORK/a B=$WORK/b

start_host() { # DIR: networks of a range of its own, several of these may run on one machine
    cleanup_add "stop_dockerd '$1' 2>/dev/null"
    start_dockerd "$1" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" &&
        bash "$E2E/lib/dockerd.sh" image "$1" bb:1
}

write_conf() { # POLICIES
    cat >"$CONF.new" <<CONF
controller = { name = "load-$$"; interval = "1s"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
sources = {
  use    = { driver = "docker"; hosts = [ "unix://$A/docker.sock", "unix://$B/docker.sock" ]; timeout = "10s"; };
  unread = { driver = "docker"; hosts = [ "unix://$A/docker.sock" ]; };
};
groups = {
  job = {
    min = 2; max = 4;
    compute = { driver = "docker"; hosts = [ "unix://$A/docker.sock", "unix://$B/docker.sock" ]; image = "bb:1"; port = 80;
                network = "load-$$"; cpus = 0.1; command = [ "sh", "-c", "while :; do :; done" ]; stop_timeout = "0s"; };
    health = { tcp = false; };
    policies = [ $1 ];
    scale_in = { window = "5s"; };
  };
};
policies = {
  busy = { type = "target"; metric = "use.job.cpus_used"; per_instance = 0.01; };
};
CONF
    mv "$CONF.new" "$CONF"
}

autoscale() { "$AUTOSCALE" "$@" -c "$CONF"; }
status() { autoscale status --json 2>/dev/null; }
group() { status | jq -r ".groups[0].$1"; }
source_of() { status | jq -r ".sources[] | select(.name == \"$1\") | $2"; }
is_settled() { [ "$(status | jq -r '.groups[0] | "\(.wanted) \(.serving) \(.footprint)"')" = "$1 $1 $1" ]; }
wait_ticks() { # N decisions of the daemon
    local until=$(($(status | jq .ticks) + $1))
    wait_for 60 "decisions" eval "[ \"\$(status | jq .ticks)\" -ge $until ]"
}
on_host() { _dk_curl "$1" /containers/json | jq length; }

start_host "$A" && start_host "$B" || bail "the Docker hosts do not start"
write_conf '"busy"'
spawn "$LOG" "$AUTOSCALE" run -c "$CONF"
check containers_that_compute_drive_their_group wait_for 120 "four containers" is_settled 4
check_equal they_are_on_both_hosts "2 2" "$(on_host "$A") $(on_host "$B")"
check_soon both_hosts_are_asked eval '[ "$(source_of use "[.endpoints[].polls > 0] | all")" = true ]'
check_equal what_nobody_reads_is_not_asked "true 0" "$(source_of unread '"\(.idle) \(.endpoints[0].polls)"')"
check_says status_says_so "source unread \(docker\)
  not asked: no policy reads it" autoscale status
wait_for 60 "one sum of both hosts" eval '[[ $(source_of use ".series[0].value") != null ]]'
note "cpus used by four containers with a limit of 0.1 each: $(source_of use '.series[0].value')"
check_says a_plan_looks_twice_and_sees_the_rate "use.job.cpus_used +[0-9.e-]+  fresh" autoscale plan

hang_pid "$(cat "$B/pid")"
check a_host_that_hangs_is_named wait_for 60 "its failure" eval '[ -n "$(source_of use ".endpoints[1].error // empty")" ]'
wait_ticks 8 # more than the window of scale-in
check_equal nothing_is_taken_away 4 "$(group wanted)"
kill -CONT "$(cat "$B/pid")"
check it_is_measured_again wait_for 60 "its answer" eval '[ "$(source_of use "[.endpoints[].ok] | all")" = true ]'

write_conf ""
autoscale reload >/dev/null || fail reload "refused"
polls() { source_of use '[.endpoints[].polls] | add'; }
check a_source_is_left_alone_after_its_last_reader eval '[ "$(source_of use .idle)" = true ]'
not_asked() { # for four decisions; what was on its way may have come back before
    local before
    before=$(polls)
    wait_ticks 4
    [ "$before" = "$(polls)" ]
}
check and_is_not_asked_any_more wait_for 60 "four decisions without a poll" not_asked
finish
