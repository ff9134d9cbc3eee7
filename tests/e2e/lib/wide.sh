# A platform twice as wide, for tests about parts that fail while others go on: the platform of platform.sh, a second
# dockerd, a second HAProxy and PostgreSQL. Sourced after common.sh, in place of platform.sh.
#
#     start_wide                           all of it; group `web` lives on the first of each, group `two` on the second
#     wide_conf [NAME=VALUE…]              writes $CONF; NAME is one of those at the top of wide_conf
#     knob NAME VALUE                      sets the number that the series db.NAME measures (load, free)
#     hold N COUNT · drop N [COUNT]        opens or closes COUNT (all) connections that HAProxy N counts as lbN.load.sessions
#     gf GROUP FIELD                       a field of the group's status
#     settled GROUP N                      N wanted, N serving, N existing
#     wait_group GROUP N [SECONDS]
#     source_field SOURCE JQ               of the source's status
#     stays GROUP N TICKS                  for so many rounds nothing but N is wanted and exists
#     containers_of GROUP · members_of N BACKEND
#     docker_of N METHOD PATH              Docker's API of host N
#     pg_hang · pg_wake                    SIGSTOP and SIGCONT to every process of PostgreSQL
#
# Load is a number in a table or a count of open connections: nothing depends on the speed of this machine.

. "$E2E/lib/platform.sh"
. "$E2E/lib/postgres.sh"

SECRET=pw-Qz7-not-to-be-seen
DOCKER2=$WORK/docker2/docker.sock ADMIN2=$WORK/lb2/admin.sock

start_wide() {
    LOAD_ADDRESS_1=$(pick_address) LOAD_ADDRESS_2=$(pick_address) WEB_ADDRESS_2=$(pick_address) SITE_ADDRESS_2=$(pick_address)
    start_platform
    mkdir -p "$WORK/lb2"
    sed -e "s|$ADMIN|$ADMIN2|; s|$SITE_ADDRESS:|$SITE_ADDRESS_2:|; s|$LOAD_ADDRESS_1|$LOAD_ADDRESS_2|" \
        "$WORK/lb/haproxy.cfg" >"$WORK/lb2/haproxy.cfg"
    cleanup_add 'stop_haproxy "$WORK/lb2"'
    start_haproxy "$WORK/lb2/haproxy.cfg" "$WORK/lb2" || bail "the second HAProxy does not start"
    cleanup_add 'stop_dockerd "$WORK/docker2" 2>/dev/null'
    start_second_docker || bail "the second dockerd does not start"
    PG_CHOSEN_PORT=$(pick_port)
    start_postgres "$WORK/pg" "$PG_CHOSEN_PORT" && pg_role watcher "$SECRET" monitor &&
        pg_sql "create table knobs (name text primary key, v float);
                insert into knobs values ('load', 10), ('free', 1000); grant select on knobs to watcher" ||
        bail "PostgreSQL does not start"
    (umask 077 && echo "$SECRET" >"$WORK/db.pass")
}

start_second_docker() { # [dockerd option…]
    start_dockerd "$WORK/docker2" - --default-address-pool "base=10.$((100 + SRANDOM % 150)).0.0/16,size=24" "$@" &&
        load_image "$WORK/docker2" e2e-web:1 "$WORK/rootfs"
}

# The platform's HAProxy and a backend that only counts connections; `fixed` cannot take dynamic servers.
eval "platform_$(declare -f write_balancer)"
write_balancer() {
    platform_write_balancer
    HOLD_ADDRESS=$(pick_address)
    spawn "$WORK/hold.log" env "WEB_ADDRESS=$HOLD_ADDRESS" WEB_PORT=8080 "$WEB"
    cat >>"$WORK/lb/haproxy.cfg" <<CFG
listen load
    mode tcp
    timeout client 1h
    timeout server 1h
    bind $LOAD_ADDRESS_1:8082
    server hold $HOLD_ADDRESS:8080
backend fixed
    balance static-rr
CFG
}

wide_conf() {
    local name=$CONTROLLER interval=500ms lb="\"$ADMIN\", \"$ADMIN2\"" db="host=127.0.0.1 port=$PG_CHOSEN_PORT user=watcher dbname=postgres"
    local pass=$WORK/db.pass state=$WORK/state.db sources= groups= policies= extra=
    local min=1 max=6 image=e2e-web:1 hosts="\"unix://$DOCKER\"" web='"knob"' compute= env= balancers="\"$ADMIN\"" backend=web drain=2s
    local scale_in='window = "2s";' scale_out= boot=60s check=2s
    local min2=1 max2=6 hosts2="\"unix://$DOCKER2\"" two='"sessions2"' publish2=$WEB_ADDRESS_2
    [ $# = 0 ] || local "$@"
    cat >"$CONF.new" <<CONF
controller = { name = "$name"; interval = "$interval"; state = "$state"; socket = "$WORK/autoscale.sock"; $extra };
sources = {
  lb = { driver = "haproxy"; address = [ $lb ]; timeout = "1s"; };
  lb2 = { driver = "haproxy"; address = "$ADMIN2"; timeout = "1s"; };
  db = { driver = "postgresql"; conninfo = "$db"; password_file = "$pass"; timeout = "1s";
         queries = { load = "select v from knobs where name = 'load'"; free = "select v from knobs where name = 'free'"; }; };
  $sources
};
groups = {
  web = {
    min = $min; max = $max;
    compute = { driver = "docker"; hosts = [ $hosts ]; image = "$image"; command = [ "/web" ]; port = 8080;
                network = "e2e"; publish = "$WEB_ADDRESS"; stop_timeout = "0s"; env = { $env }; $compute };
    health = { http = "/healthz"; interval = "200ms"; rise = 1; timeout = "$check"; boot_timeout = "$boot"; };
    balancer = { driver = "haproxy"; address = [ $balancers ]; backend = "$backend"; inter = "200ms"; rise = 1; drain = "$drain";
                 timeout = "1s"; };
    policies = [ $web ];
    scale_in = { $scale_in };
    scale_out = { $scale_out };
  };
  two = {
    min = $min2; max = $max2;
    compute = { driver = "docker"; hosts = [ $hosts2 ]; image = "e2e-web:1"; command = [ "/web" ]; port = 8080;
                network = "e2e"; publish = "$publish2"; stop_timeout = "0s"; };
    health = { http = "/healthz"; interval = "200ms"; rise = 1; timeout = "$check"; boot_timeout = "60s"; };
    balancer = { driver = "haproxy"; address = "$ADMIN2"; backend = "web"; inter = "200ms"; rise = 1; drain = "2s"; timeout = "1s"; };
    policies = [ $two ];
    scale_in = { window = "2s"; };
  };
  $groups
};
policies = {
  knob = { type = "target"; metric = "db.load"; per_instance = 10.0; window = "0s"; };
  head = { type = "ceiling"; metric = "db.free"; per_instance = 10.0; settle = "4s"; };
  sessions = { type = "target"; metric = "lb.load.sessions"; per_instance = 2.0; window = "0s"; };
  sessions2 = { type = "target"; metric = "lb2.load.sessions"; per_instance = 2.0; window = "0s"; };
  $policies
};
CONF
    mv "$CONF.new" "$CONF"
}

# --- load -----------------------------------------------------------------------------------------------
knob() { # NAME VALUE
    pg_sql "update knobs set v = $2 where name = '$1'"
}

declare -a HELD_1=() HELD_2=()

hold() { # HAPROXY COUNT
    local address=LOAD_ADDRESS_$1 i fd
    local -n held=HELD_$1
    for ((i = 0; i < $2; i++)); do
        exec {fd}<>"/dev/tcp/${!address}/8082" || return 1
        held+=("$fd")
    done
}

drop() { # HAPROXY [COUNT]
    local fd left
    local -n held=HELD_$1
    left=$((${#held[@]} - ${2:-${#held[@]}}))
    for fd in "${held[@]:$left}"; do exec {fd}<&-; done
    held=("${held[@]:0:$left}")
}

pg_hang() {
    PG_HUNG="$PG_PID $(cat "/proc/$PG_PID/task/$PG_PID/children")"
    # shellcheck disable=SC2086
    hang_pid $PG_HUNG
}

pg_wake() {
    # shellcheck disable=SC2086
    kill -CONT $PG_HUNG 2>/dev/null
}

# --- what the daemon says -------------------------------------------------------------------------------
autoscale() { # COMMAND…
    "$AUTOSCALE" "$1" -c "$CONF" "${@:2}"
}

gf() { # GROUP FIELD
    status_json | jq -r --arg g "$1" --arg f "$2" '.groups[]? | select(.name == $g) | .[$f]'
}

gf_is() { # GROUP FIELD VALUE
    [ "$(gf "$1" "$2")" = "$3" ]
}

gf_has() { # GROUP FIELD REGEX
    [[ $(gf "$1" "$2") =~ $3 ]]
}

settled() { # GROUP N
    [ "$(status_json | jq -r --arg g "$1" '.groups[]? | select(.name == $g) | "\(.wanted) \(.serving) \(.footprint)"')" = "$2 $2 $2" ]
}

wait_group() { # GROUP N [SECONDS]
    wait_for "${3:-120}" "group $1 to be settled at $2" settled "$1" "$2" && return 0
    note "status: $(status_json | jq -c --arg g "$1" '.groups[]? | select(.name == $g) |
        {wanted, serving, footprint, blocked, doubt, summary, i: [.instances[] | .id + " " + .state + " " + .reason]}')"
    return 1
}

source_field() { # SOURCE JQ
    status_json | jq -r --arg s "$1" ".sources[]? | select(.name == \$s) | $2"
}

source_fails() { # SOURCE [ENDPOINT]: the endpoint (the first) is said to fail
    [ "$(source_field "$1" ".endpoints[${2:-0}].error // empty")" ]
}

source_well() { # SOURCE [ENDPOINT]
    [ "$(source_field "$1" ".endpoints[${2:-0}].ok")" = true ]
}

value_is() { # SOURCE METRIC VALUE
    [ "$(source_field "$1" ".series[] | select(.metric == \"$2\") | .value")" = "$3" ]
}

kept() { # GROUP N: so many are wanted and exist and none of them leaves, whether or not each answers at this moment
    local said
    said=$(status_json | jq -r --arg g "$1" '.groups[]? | select(.name == $g) | "\(.wanted) \(.footprint) \(.draining)"')
    [ "${said:-$2 $2 0}" = "$2 $2 0" ] # no answer is no look; the count of ticks needs answers
}

stays() { # GROUP N TICKS: looked at all the time
    local until
    until=$(($(ticks) + $3))
    while ! ticks_reach "$until"; do
        kept "$1" "$2" || { note "$1 did not stay at $2: $(gf "$1" summary)"; return 1; }
        sleep 0.1
    done
    wait_for 60 "$2 to serve" settled "$1" "$2"
}

docker_of() { # N METHOD PATH
    local DOCKER=$DOCKER
    [ "$1" = 1 ] || DOCKER=$DOCKER2
    docker_api "${@:2}"
}

containers_of() { # GROUP
    local n=1
    [ "$1" = two ] && n=2
    docker_of "$n" GET /containers/json -G --data all=1 --data-urlencode \
        "filters={\"label\":[\"autoscale.controller=$CONTROLLER\",\"autoscale.group=$1\"]}" |
        jq -r '.[]? | .Labels["autoscale.instance"]' | sort
}

members_of() { # N BACKEND: all but the frontend's and backend's own rows
    local dir=$WORK/lb
    [ "$1" = 1 ] || dir=$WORK/lb2
    haproxy_cli "$dir" "show stat $2 4 -1" | awk -F, '!/^#/ && NF > 2 { print $2 }' | sort
}

in_step() { # GROUP N: Docker, HAProxy and the daemon have the same N
    local n=1 ids
    [ "$1" = two ] && n=2
    ids=$(containers_of "$1")
    [ "$(grep -c . <<<"$ids")" = "$2" ] && [ "$(members_of "$n" web)" = "$ids" ] && settled "$1" "$2" &&
        [ "$(status_json | jq -r --arg g "$1" '.groups[] | select(.name == $g) | .instances[].id' | sort)" = "$ids" ]
}

reset_wide() { # no daemon, no container, no member, no journal, no load
    drop 1
    drop 2
    knob load 10
    knob free 1000
    local id n
    stop_autoscale
    for n in 1 2; do
        for id in $(docker_of $n GET '/containers/json?all=1' | jq -r '.[].Id'); do
            docker_of $n DELETE "/containers/$id?force=1&v=1" -o /dev/null
        done
    done
    rm -f "$WORK"/state.db*
    restart_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
    restart_haproxy "$WORK/lb2/haproxy.cfg" "$WORK/lb2"
    : >"$LOG"
}
