#!/usr/bin/env bash
# autoscale simulate as a user meets it: the same seed gives the same answer, options do what they say, errors say
# what to do. Needs no root and touches nothing real.
set -u
cd "$(dirname "$0")/../.." || exit 1
program=${BUILD:-build}/autoscale
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() { # NAME command…
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED  $name: $(tail -n 2 "$work/said")"
    fi
}
simulate() { "$program" simulate --trace "$work/day.csv" "$@"; }
same_twice() { [ "$(simulate "$@")" = "$(simulate "$@")" ] && simulate "$@" | grep -q '^target'; }
differ() { [ "$(simulate "${@:3}" --seed "$1")" != "$(simulate "${@:3}" --seed "$2")" ]; }
says() { # STATUS PATTERN OPTION…
    local out status
    out=$(simulate "${@:3}" 2>&1)
    status=$?
    echo "status $status: $out"
    [ "$status" = "$1" ] && grep -qE -- "$2" <<<"$out"
}
number() { # N NAME OPTION…: the N-th value of that name
    simulate --json "${@:3}" | sed -nE "s/.*\"$2\":[[:space:]]*([-0-9.e+]+).*/\\1/p" | sed -n "$1p"
}
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a < b) }'; }
picture() { simulate --policy target --svg "$work/o.svg" && grep -q '</svg>' "$work/o.svg" && [ "$(grep -c '<path class="supply"' "$work/o.svg")" -ge 1 ]; }

{
    echo "time,rate"
    for ((i = 0; i < 480; i++)); do echo "$((i * 60)),$((60 + 40 * (i % 120 < 60) + i % 5))"; done
} >"$work/day.csv"
cat >"$work/a.conf" <<CONF
sources = { lb = { driver = "haproxy"; address = "/run/none.sock"; };
            db = { driver = "postgresql"; conninfo = "host=/run/none"; }; };
groups = { web = { min = 1; max = 30; policies = [ "load", "db" ];
  compute = { driver = "docker"; hosts = "unix:///run/none.sock"; image = "shop:1"; port = 80; };
  balancer = { driver = "haproxy"; address = "/run/none.sock"; backend = "web"; maxconn = 8; }; }; };
policies = { load = { type = "target"; metric = "lb.web.request_rate"; per_instance = 20.0; };
             db = { type = "ceiling"; metric = "db.connections_free"; per_instance = 4.0; settle = "0s"; }; };
CONF

# a shop of four days: 200 in the night, up to 1200 within two hours of the morning; slow machines
awk 'BEGIN { print "time,rate"
             for (i = 0; i < 1152; i++) {
                 m = i * 5 % 1440
                 up = (m - 480) / 120; down = (1380 - m) / 180
                 part = up < down ? up : down
                 print i * 300 "," 200 + 1000 * (part < 0 ? 0 : part > 1 ? 1 : part) + i * 7 % 5
             } }' >"$work/shop.csv"
{
    cat <<CONF
sources = { lb = { driver = "haproxy"; address = "/run/none.sock"; }; };
policies = { load = { type = "target"; metric = "lb.web.request_rate"; per_instance = 80.0; };
             season = { type = "forecast"; metric = "lb.web.request_rate"; per_instance = 80.0; };
             advice = { type = "forecast"; metric = "lb.web.request_rate"; per_instance = 80.0; mode = "advise"; }; };
groups = {
CONF
    for more in "" season advice; do
        echo "g${more:-load} = { min = 1; max = 40; lead = \"15m\"; policies = [ \"load\"${more:+, \"$more\"} ];
          compute = { driver = \"docker\"; hosts = \"unix:///run/none.sock\"; image = \"shop:1\"; port = 80; timeout = \"1h\"; };
          balancer = { driver = \"haproxy\"; address = \"/run/none.sock\"; backend = \"web\"; maxconn = 8; }; };"
    done
    echo "};"
} >"$work/season.conf"
shop() { # GROUP NAME
    "$program" simulate --trace "$work/shop.csv" -c "$work/season.conf" -g "g$1" --boot 15m --json |
        sed -nE "s/.*\"$2\":[[:space:]]*([-0-9.e+]+).*/\1/p" | sed -n 1p
}
half() { awk -v a="$1" 'BEGIN { print a / 2 }'; }

check the_same_seed_is_the_same_answer same_twice --policy target --load poisson --fail 5% --boot-spread 0.4 --deaths 0.5
check another_seed_is_another_answer differ 1 2 --policy target --load poisson --fail 5% --boot-spread 0.4
check several_policies_in_one_world says 0 '^kpa' --compare target,hpa:target=80%,kpa
check equal_policies_win_half_of_their_comparisons [ "$(number 1 kappa_percent --compare target,target)" = 50 ]
check every_seed_shows_what_it_cost [ -n "$(number 3 miss_minutes --policy target --seeds 2)" ]
check a_sweep_tries_each_value says 0 '^target:tolerance=20%' --policy target --sweep tolerance=5%,20%
printf 'time,rate\n0,10\n60,20\n60,30\n30,5\n120,40\n' >"$work/odd.csv"
check what_is_out_of_order_is_said says 0 ': 3 samples every 60 s, 2 doubled or out of order and left out' --trace "$work/odd.csv" --policy target
printf '0,1\n\033[2Jred,5\n' >"$work/escape.csv"
check a_foreign_file_cannot_write_to_the_terminal says 1 'escape.csv:2: "\?\[2Jred,5" is no sample' --trace "$work/escape.csv" --policy target
check the_axes_are_round eval 'simulate --policy target --svg "$work/o.svg" && grep -q ">1 h<" "$work/o.svg" && ! grep -q "[0-9][.][0-9]* h<" "$work/o.svg"'
check a_part_of_the_trace says 0 ': 60 samples every 60 s' --policy target --from 1h --for 1h
check compressed_in_time says 0 '^target' --policy target --speed 12
check a_longer_boot_costs_more less "$(number 1 over_slo_percent --policy target:per_instance=80 --boot 2s)" \
    "$(number 1 over_slo_percent --policy target:per_instance=80 --boot 300s)"
check spare_instances_cost_and_help less "$(number 1 over_slo_percent --policy target:per_instance=50)" \
    "$(number 1 over_slo_percent --policy target:per_instance=100)"
check a_picture_is_drawn picture
check a_configuration_with_its_own_policies says 0 '^web' -c "$work/a.conf" -g web --capacity 25 --db 200:4
check the_database_limits_growth less "$(number 1 instance_hours -c "$work/a.conf" -g web --capacity 25 --db 12:4)" \
    "$(number 1 instance_hours -c "$work/a.conf" -g web --capacity 25 --db 400:4)"
check a_forecast_halves_the_misses_of_slow_machines less "$(shop season miss_minutes)" "$(half "$(shop load miss_minutes)")"
check a_forecast_that_advises_changes_nothing [ "$(shop advice instance_hours)$(shop advice miss_minutes)" = \
    "$(shop load instance_hours)$(shop load miss_minutes)" ]
fourth_day() { number 1 pain --trace "$work/shop.csv" --from 3d --boot 600s --policy auto "$@"; }
check the_past_before_the_part_is_known_as_from_a_journal less "$(fourth_day)" "$(fourth_day --cold)"
check no_database_is_no_zero says 1 'db.connections_free needs a simulated database: say --db' -c "$work/a.conf"
check bounds_of_a_configuration_are_its_own says 1 '--max: with -c the configuration says it' -c "$work/a.conf" -g web --max 3
check what_it_is_told_is_its_own says 1 '--believed: with -c the configuration says it' -c "$work/a.conf" -g web --believed 1.2
check no_such_group says 1 "has no group 'api'" -c "$work/a.conf" -g api
check no_such_type says 1 "there is no policy type 'nosuch'" --policy nosuch
check no_such_option says 1 "policy type 'target' has no option 'nope'" --policy target:nope=1
check no_such_trace says 1 'No such file' --policy target --trace /nonexistent.csv
check a_time_wants_a_unit says 1 '--boot 5: wants a time like' --policy target --boot 5
check a_percentage_wants_its_sign says 1 '--fail 5: wants a percentage like' --policy target --fail 5
check bounds_that_contradict says 1 '--min 9 is above --max 3' --policy target --min 9 --max 3
check nothing_decides says 1 'name what decides'
check no_such_journal says 1 'there is no such file' --policy target --boot-journal /nonexistent.db
check help says 0 '^usage: autoscale simulate' -h
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
