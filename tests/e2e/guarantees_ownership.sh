#!/usr/bin/env bash
# G6: nothing without our ownership mark is ever touched. G13: a balancer that reloads or restarts gets its
# members back within one interval, and nothing is recreated for it.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"

# --- G6: strangers that look like ours ------------------------------------------------------------------------
STRANGERS=(web-0badcafe web-1badcafe web-2badcafe web-3badcafe web-4badcafe nothing-like-it)

stranger() { # NAME LABELS(JSON)
    local id
    id=$(docker_api POST "/containers/create?name=$1" -H 'Content-Type: application/json' -d "{\"Image\":\"e2e-web:1\",
        \"Cmd\":[\"/web\"],\"Labels\":$2,\"HostConfig\":{\"NetworkMode\":\"e2e-foreign\"}}" | jq -r .Id)
    docker_api POST "/containers/$id/start" -o /dev/null -w '%{http_code}' | grep -q 204
}

make_strangers() {
    local ours="\"autoscale.controller\":\"$CONTROLLER\"" group='"autoscale.group":"web"' id='"autoscale.instance"'
    docker_api POST /networks/create -H 'Content-Type: application/json' -o /dev/null \
        -d '{"Name":"e2e-foreign","Driver":"bridge","Labels":{"owner":"somebody"}}'
    docker_api POST /networks/create -H 'Content-Type: application/json' -o /dev/null \
        -d '{"Name":"e2e-shared","Driver":"bridge","Labels":{"owner":"somebody"}}'
    docker_api POST /volumes/create -H 'Content-Type: application/json' -o /dev/null -d '{"Name":"web-0badcafe"}'
    stranger web-0badcafe '{}' &&                                                         # only the name
        stranger web-1badcafe "{$group,$id:\"web-1badcafe\"}" &&                           # no controller
        stranger web-2badcafe "{\"autoscale.controller\":\"other\",$group,$id:\"web-2badcafe\"}" && # another's
        stranger web-3badcafe "{$ours,\"autoscale.group\":\"other\",$id:\"web-3badcafe\"}" &&       # another group
        stranger web-4badcafe "{$ours,$group}" &&                                          # no instance
        stranger nothing-like-it '{"owner":"somebody"}'
}

# All that Docker knows about them, but for what changes by itself.
docker_strangers() {
    local name
    for name in "${STRANGERS[@]}"; do
        docker_api GET "/containers/$name/json" | jq -cS '{Id, Name, State, RestartCount, Config, HostConfig}'
    done
    docker_api GET /networks/e2e-foreign | jq -cS '{Id, Labels, Created, Containers}'
    docker_api GET /networks/e2e-shared | jq -cS '{Id, Labels, Created}'
    docker_api GET /volumes/web-0badcafe | jq -cS .
}

# Static servers of the backend and one that somebody added by hand under a name like ours.
balancer_strangers() {
    haproxy_cli "$WORK/lb" 'show servers state' | awk '$4 ~ /badcafe|foreign|static/ { print $2, $4, $5, $6, $7, $8, $19 }'
}

add_foreign_member() {
    haproxy_cli "$WORK/lb" "add server web/web-5badcafe $STATIC_ADDRESS:8080 weight 7 maxconn 3"
    haproxy_cli "$WORK/lb" "set server web/web-5badcafe state ready"
}

# From two instances to one and back, with restarts, a crash and a death in between.
full_cycle() {
    local dead
    start_autoscale && wait_settled 3 || return 1
    write_conf min=1 max=1 network=e2e-shared
    reload_autoscale && wait_settled 1 || return 1
    stop_autoscale
    start_autoscale && wait_settled 1 || return 1
    kill9_autoscale
    start_autoscale && wait_settled 1 || return 1
    dead=$(our_real_containers)
    docker_api POST "/containers/$dead/kill" -o /dev/null
    wait_for 60 "the dead instance to be replaced" eval \
        '[ "$(our_real_containers | wc -l)" = 1 ] && [ "$(our_real_containers)" != "$dead" ] && is_settled 1' || return 1
    write_conf min=3 max=3 network=e2e-shared
    reload_autoscale && wait_settled 3 || return
}

our_real_containers() { # with the whole mark; the strangers have less of it
    our_containers | awk '$2 ~ /^web-[0-9a-f]+$/ && $2 !~ /badcafe$/ && $3 == "running" { print $2 }' | sort
}

strangers_are_left_alone() {
    local docker_before balancer_before n=0
    make_strangers || bail "the foreign containers do not start"
    add_foreign_member >/dev/null
    wait_for 60 "the static servers to be up" eval '[ "$(backend_rows web | grep -c " UP ")" = 2 ]' || return
    docker_before=$(docker_strangers) balancer_before=$(balancer_strangers)
    note "$(wc -l <<<"$docker_before") foreign objects in Docker, $(wc -l <<<"$balancer_before") foreign servers"
    check_equal G6_the_test_has_its_strangers "9 4" "$(wc -l <<<"$docker_before") $(wc -l <<<"$balancer_before")"
    write_conf min=3 max=3 network=e2e-shared
    check G6_full_cycle_among_strangers full_cycle
    check_equal G6_foreign_containers_networks_and_volumes_untouched "$docker_before" "$(docker_strangers)"
    check_equal G6_foreign_balancer_members_untouched "$balancer_before" "$(balancer_strangers)"
    check_becomes G6_foreign_members_are_counted 3 eval "status_json | jq '.groups[0].balancers[0].foreign_members'"
    check_becomes G6_used_the_foreign_network 3 eval "docker_api GET /networks/e2e-shared | jq '.Containers | length'"
    # With the journal lost, ours are known by their mark alone; that must not make strangers ours.
    n=$(our_real_containers)
    kill9_autoscale
    rm -f "$WORK"/state.db*
    start_autoscale || return
    check G6_lost_journal_finds_ours_again wait_settled 3
    check_equal G6_lost_journal_makes_no_new_ones "$n" "$(our_real_containers)"
    check_equal G6_lost_journal_leaves_containers_alone "$docker_before" "$(docker_strangers)"
    check_equal G6_lost_journal_leaves_members_alone "$balancer_before" "$(balancer_strangers)"
    check_becomes G6_other_backend_serves 200 http_status "$OTHER_SITE/"
}

# --- G13 --------------------------------------------------------------------------------------------------------
members_back() {
    [ "$(up_members)" = "$WANTED" ]
}

known_again() { # in HAProxy's table, whether or not its checks have passed
    [ "$(members)" = "$WANTED" ]
}

# By the daemon's own count of its rounds: one, with room for a slow machine. The checks that bring a member up are HAProxy's,
# in its own time.
back_within_an_interval() { # NAME ROUND: the daemon's when HAProxy answered again
    local rounds began
    began=$(now_ms)
    wait_for 60 "the members to be known again" known_again || { fail "G13_$1"; show_three; return; }
    rounds=$(($(ticks) - $2))
    note "$1: members known after $rounds rounds, $(($(now_ms) - began)) ms"
    check "G13_$1" [ "$rounds" -le 4 ]
    check "G13_${1}_brings_them_up" wait_for 60 "the members to be up" members_back
    check "G13_${1}_recreates_nothing" [ "$(our_containers | sort) $(group_field launches_total)" = "$BEFORE 3" ]
    check "G13_${1}_keeps_all_serving" wait_settled 3
}

members_come_back() {
    write_conf min=3 max=3 interval=1s
    start_autoscale || return
    wait_settled 3 || return
    WANTED=$(containers) BEFORE=$(our_containers | sort)
    reload_haproxy "$WORK/lb"
    back_within_an_interval after_reload "$(ticks)"
    stop_haproxy "$WORK/lb"
    wait_for 60 "the loss to be noticed" eval '[ "$(status_json | jq .groups[0].balancers[0].ok)" = false ]' || return
    check_equal G13_outage_recreates_nothing "$BEFORE" "$(our_containers | sort)"
    start_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
    back_within_an_interval after_restart "$(ticks)"
    { # a crash of both
        kill -KILL "$(cat "$WORK/lb/haproxy.pid")" "$(haproxy_worker "$WORK/lb")"
        stop_haproxy "$WORK/lb"
    } 2>/dev/null
    start_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
    back_within_an_interval after_crash "$(ticks)"
    stop_autoscale
    reload_haproxy "$WORK/lb"
    start_autoscale || return
    wait_for 60 "the members to be back" members_back || return
    check G13_reload_while_we_were_away [ "$(our_containers | sort)" = "$BEFORE" ]
    check G13_all_three_agree wait_rest 3
}

# A reload leaves requests to the old worker, which the socket of the new one does not show: whoever drains, or
# is drained soon afterwards, must not be stopped because the new one says "no sessions", nor be put back.
busy() {
    [ "$(backend_rows web | awk '$1 ~ /^web-/ && $3 > 0' | wc -l)" = "$1" ]
}

two_busy_instances() { # ANSWERS
    local n
    write_conf min=2 max=2 drain=10m
    start_autoscale || return
    wait_settled 2 || return
    PIDS=()
    for n in 1 2; do
        curl -s -o /dev/null -m 300 -w '%{http_code}\n' "$SITE/hold" >>"$1" &
        PIDS+=($!)
        wait_for 60 "$n busy instances" busy "$n" || return
    done
    write_conf min=1 max=1 drain=10m
}

drain_then_reload() {
    two_busy_instances "$WORK/answers-1" || return
    reload_autoscale || return
    wait_for 60 "one to be draining" field_is draining 1 || return
    reload_haproxy "$WORK/lb"
    wait_for 60 "one member to be back" eval '[ "$(up_members | wc -l)" = 1 ]' || return
    wait_ticks 6
    check_equal G13_a_draining_member_is_not_put_back 1 "$(members | wc -l)"
    check_equal G13_the_drain_goes_on_meanwhile 1 "$(group_field draining)"
    release && wait "${PIDS[@]}"
    check_equal G13_reload_does_not_end_a_drain "200 200 " "$(tr '\n' ' ' <"$WORK/answers-1")"
}

reload_then_drain() {
    two_busy_instances "$WORK/answers-2" || return
    reload_haproxy "$WORK/lb"
    wait_for 60 "both members to be back" eval '[ "$(up_members | wc -l)" = 2 ]' || return
    reload_autoscale || return
    wait_for 60 "one to be draining" field_is draining 1 || return
    wait_ticks 6
    release && wait "${PIDS[@]}"
    check_equal G13_drain_waits_for_the_old_worker "200 200 " "$(tr '\n' ' ' <"$WORK/answers-2")"
}

WEB_SERVERS='    server foreign1 STATIC:8080 check inter 200ms weight 13
    server web-6badcafe STATIC:8080 check inter 200ms weight 17'
start_platform
subject strangers_are_left_alone
WEB_SERVERS= && write_balancer && restart_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
subject members_come_back
subject drain_then_reload
subject reload_then_drain
finish
