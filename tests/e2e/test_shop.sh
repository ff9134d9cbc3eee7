#!/usr/bin/env bash
# The example shop, its order client and its load generator, on a real PostgreSQL and against servers that misbehave.
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/postgres.sh"

need_command socat curl jq
SHOP=$BUILD/examples/shop/shop ORDER=$BUILD/examples/shop/order LOADGEN=$BUILD/examples/shop/loadgen
for program in "$SHOP" "$ORDER" "$LOADGEN"; do
    [ -x "$program" ] || bail "$program is not built"
done

# --- helpers ----------------------------------------------------------------------------------------
run() { # command…: its output in OUT, its errors in ERR, its exit status in STATUS
    OUT=$("$@" 2>"$WORK/err")
    STATUS=$?
    ERR=$(<"$WORK/err")
}

start_shop() { # NAME [VARIABLE=value…]: SHOP_URL, SHOP_PID
    local log=$WORK/shop-$1.log
    shift
    spawn "$log" env LISTEN=127.0.0.1 PORT=0 DATABASE="host=$PG_DIR port=$PG_PORT user=shop dbname=shop" \
        DATABASE_PASSWORD_FILE="$WORK/shop.pass" SHOP_SERVICE_MS=5 "$@" "$SHOP" || return 1
    SHOP_PID=$SPAWN_PID SHOP_LOG=$log
    wait_for 60 "the shop to listen" grep -q listening "$log" || return 1
    SHOP_URL=http://127.0.0.1:$(sed -n 's/.*listening on .* port \([0-9]*\) .*/\1/p' "$log")
}

is_status() { # STATUS URL
    [ "$(http_status "$2")" = "$1" ]
}

start_fake() { # NAME SECONDS TEXT: a server that says TEXT to everyone, after SECONDS; FAKE_URL
    local port
    port=$(pick_port) || return 1
    printf '%b' "$3" >"$WORK/fake-$1"
    spawn "$WORK/fake-$1.log" socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr,backlog=512" \
        "SYSTEM:head -c 20 >/dev/null; sleep $2; cat $WORK/fake-$1 2>/dev/null; timeout 0.2 cat >/dev/null" || return 1
    FAKE_URL=http://127.0.0.1:$port
    wait_for 60 "the fake server" is_listening 127.0.0.1 "$port"
}

order() { run "$ORDER" -u "$SHOP_URL" --user 7 --product 42 --quantity 3 "$@"; }

post() { # BODY [curl options…]: status and body of the answer
    curl -s -m 30 -w ' %{http_code}' -H 'Content-Type: application/json' --data-binary "$1" "${@:2}" "$SHOP_URL/api/order"
}

# --- PostgreSQL and the shop --------------------------------------------------------------------------
start_postgres "$WORK/pg" "$(pick_port)" || bail "PostgreSQL does not start"
(umask 077 && echo 'a test, no secret' >"$WORK/shop.pass")
pg_role shop "$(<"$WORK/shop.pass")" && pg_sql 'create database shop' &&
    pg_sql "$(<"$ROOT/examples/shop/schema.sql")" shop || bail "the schema does not load"
start_shop main || bail "the shop does not start"
check shop_is_ready_when_the_database_answers wait_for 60 readiness is_status 200 "$SHOP_URL/readyz"

order
check_equal order_prints_the_id "0 1" "$STATUS $OUT"
check_equal order_is_stored "1|7|42|3" "$(pg_sql 'select id, user_id, product_id, quantity from orders' shop)"
check_match shop_answers_201_with_the_order '^\{"order_id":2,.*\} 201$' "$(post '{"user_id":1,"product_id":2,"quantity":3}')"

# --- what is not an order -------------------------------------------------------------------------------
refused() { # NAME BODY FIELD: 400 that names the field
    check_match "$1" "^\\{\"field\":\"$3\",\"error\":\"[^\"]+\"\\} 400\$" "$(post "$2")"
}
refused missing_field_is_named '{"user_id":1,"quantity":3}' product_id
refused zero_quantity_is_named '{"user_id":1,"product_id":2,"quantity":0}' quantity
refused huge_quantity_is_named '{"user_id":1,"product_id":2,"quantity":1001}' quantity
refused fraction_is_not_rounded '{"user_id":1,"product_id":2,"quantity":1.5}' quantity
refused text_is_not_a_number '{"user_id":"1","product_id":2,"quantity":1}' user_id
refused id_beyond_a_double_is_refused '{"user_id":9007199254740993,"product_id":2,"quantity":1}' user_id
refused unknown_field_is_named '{"user_id":1,"product_id":2,"quantity":1,"price":1}' price
refused twice_given_field_is_named '{"user_id":1,"user_id":2,"product_id":2,"quantity":1}' user_id
refused case_matters '{"User_id":1,"product_id":2,"quantity":1}' User_id
for body in '{"user_id":1,"product_id":2,"quantity":1} x' '[]' 'null' '{' '' '{"user_id":1e999'; do
    check_match "no_order_in_'$body'" '^\{"error":"[^"]+"\} 400$' "$(post "$body")"
done
check_match large_body_is_413 ' 413$' "$(post "$(head -c 5000 /dev/zero | tr '\0' ' ')")"
check_match large_chunked_body_is_413 ' 413$' "$(post "$(head -c 5000 /dev/zero | tr '\0' ' ')" -H 'Transfer-Encoding: chunked')"
check_equal other_content_type_is_415 415 "$(http_status "$SHOP_URL/api/order" -H 'Content-Type: text/plain' -d '{}')"
check_equal wrong_method_is_405 405 "$(http_status "$SHOP_URL/api/order")"
check_equal unknown_path_is_404 404 "$(http_status "$SHOP_URL/nothing")"
check_equal nothing_wrong_was_stored 2 "$(pg_sql 'select count(*) from orders' shop)"

# --- the order client's exit statuses --------------------------------------------------------------------
order --quantity 0
check_equal order_rejected_by_the_shop_is_1 "1 " "$STATUS $OUT"
check_match order_shows_the_shop_s_reason 'quantity must be a whole number' "$ERR"
run "$ORDER" -u http://127.0.0.1:1 --user 1 --product 1 --quantity 1
check_equal order_refused_connection_is_3 "3 " "$STATUS $OUT"
check_match order_says_it_cannot_reach_the_shop 'cannot reach the shop at http://127.0.0.1:1: ' "$ERR"
run "$ORDER" --user 1 --product 1
check_equal order_without_quantity_is_64 64 "$STATUS"
run "$ORDER" --user x --product 1 --quantity 1
check_equal order_with_a_word_for_a_number_is_64 64 "$STATUS"
run "$ORDER" -u ftp://127.0.0.1 --user 1 --product 1 --quantity 1
check_equal order_to_a_url_not_http_is_64 64 "$STATUS"
run "$ORDER" -h
check_equal order_help_is_0 0 "$STATUS"

SHOP_URL_REAL=$SHOP_URL
nonsense() { # NAME STATUS REGEX TEXT
    start_fake "$1" 0 "$4" || return
    SHOP_URL=$FAKE_URL order
    check_equal "order_$1_is_$2" "$2 " "$STATUS $OUT"
    check_match "order_$1_is_said" "$3" "$ERR"
}
nonsense bad_status 2 'the shop failed \(500\)' 'HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n'
nonsense garbage 2 'no usable answer' '\x00\xff\x01 garbage\r\n\r\n'
nonsense bad_json 2 'without an order id' 'HTTP/1.1 201 Created\r\nContent-Length: 15\r\n\r\n{"order_id":1}x'
nonsense no_id 2 'without an order id' 'HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{"order_id":"1"}'
nonsense cut_short 2 'no usable answer' 'HTTP/1.1 201 Created\r\nContent-Length: 400\r\n\r\n{"order_id":1'
nonsense huge 2 'too large' "HTTP/1.1 201 Created\r\n\r\n$(head -c 9000 /dev/zero | tr '\0' x)"
nonsense nothing 2 'no usable answer' ''
nonsense escape_codes 1 '\(400\): [?]\[31mred' 'HTTP/1.1 400 Bad\r\nContent-Length: 25\r\n\r\n{"error":"\\u001b[31mred"}  '
start_fake slow 5 'HTTP/1.1 201 Created\r\n\r\n'
SHOP_URL=$FAKE_URL order -t 1
check_equal order_timeout_is_3 "3 " "$STATUS $OUT"
check_match order_timeout_says_that_it_may_be_placed 'did not answer within 1 s; the order may have been placed' "$ERR"
SHOP_URL=$SHOP_URL_REAL

# --- the load generator -------------------------------------------------------------------------------------
before=$(pg_sql 'select count(*) from orders' shop)
run "$LOADGEN" --curve 0s:50,1s:150,2s:100 --quiet --json "$SHOP_URL"
check_equal loadgen_sends_the_area_under_the_curve "0 225 225 0" \
    "$STATUS $(jq -r '"\(.due) \(.ok) \(.failed)"' <<<"$OUT")"
check_equal loadgen_orders_are_all_stored "$((before + 225))" "$(pg_sql 'select count(*) from orders' shop)"
run "$LOADGEN" -c 0:40,2:40 --get /healthz --no-keepalive "$SHOP_URL"
check_match loadgen_progress_is_key_value '^t=1 rate=40.0 due=[0-9]+ sent=.* p95_ms=[0-9.]+' "$OUT"
check_match loadgen_says_what_it_did '80 due, 80 ok, 0 failed' "$OUT"

start_fake failing 0 'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
run "$LOADGEN" -c 0:10,1:10 -q -j "$FAKE_URL"
check_equal loadgen_counts_bad_statuses "1 10 10" "$STATUS $(jq -r '"\(.failed) \(.failed_by.status)"' <<<"$OUT")"
run "$LOADGEN" -c 0:10,1:10 -q -j http://127.0.0.1:1
check_equal loadgen_counts_refused_connections "1 10" "$STATUS $(jq -r .failed_by.refused <<<"$OUT")"

# Slow server: answers after 1 s. The schedule must not wait for it, and the latency is seen.
start_fake stalling 1 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
run "$LOADGEN" -c 0:10,2:10 -s 300 -q -j "$FAKE_URL"
check_equal loadgen_keeps_its_schedule_against_a_slow_server "0 20 20 true" \
    "$STATUS $(jq -r '"\(.ok) \(.slow) \(.max_inflight >= 8 and .p50_ms > 990 and .seconds < 15)"' <<<"$OUT")"
run "$LOADGEN" -c 0:10,1:10 -t 300 -q -j "$FAKE_URL"
check_equal loadgen_counts_timeouts "1 10" "$STATUS $(jq -r .failed_by.timeout <<<"$OUT")"
run "$LOADGEN" -c 0:10,1:10 -m 2 -q -j "$FAKE_URL"
check_equal loadgen_counts_what_it_could_not_send "1 true" \
    "$STATUS $(jq -r '.failed_by.overflow == .failed and .failed >= 6 and .due == 10' <<<"$OUT")"

spawn "$WORK/cut.out" "$LOADGEN" -c 0:10,600:10 -j "$SHOP_URL"
wait_for 60 "an answer in a progress line" grep -qE '^t=.* ok=[1-9]' "$WORK/cut.out"
end_pid "$SPAWN_PID" 60 INT
check_equal loadgen_interrupted_still_reports true "$(tail -n 1 "$WORK/cut.out" | jq -r '.interrupted and .ok > 0')"

for target in http://192.0.2.1:80 http://example.org http://localhost:80 http://127.0.0.1.example.org \
    https://127.0.0.1 "http://[fe80::1]:80" file:///etc/passwd; do
    run "$LOADGEN" -c 0:1,1:1 "$target"
    check_equal "loadgen_refuses_$target" 64 "$STATUS"
done
for curve in 5:1,6:1 0:1 0:1,0:2 0:1,5:-1 0:1,x 0:1,5:1e9 0:nan,1:1 ""; do
    run "$LOADGEN" -c "$curve" "$SHOP_URL"
    check_equal "loadgen_refuses_the_curve_'$curve'" 64 "$STATUS"
done
printf 'seconds,rate\n# a sale\n0,10\n\n1,30\n' >"$WORK/curve.csv"
run "$LOADGEN" -f "$WORK/curve.csv" -q -j "$SHOP_URL"
check_equal loadgen_reads_a_curve_file "0 20" "$STATUS $(jq -r .ok <<<"$OUT")"
printf '0,10\n1;30\n' >"$WORK/curve.csv"
run "$LOADGEN" -f "$WORK/curve.csv" "$SHOP_URL"
check_match loadgen_names_the_bad_line 'curve.csv:2: not SECONDS,RATE' "$ERR"

# --- capacity, stopping, and the database away ----------------------------------------------------------------
start_shop limited SHOP_SERVICE_MS=100 SHOP_WORKERS=2 || bail "the second shop does not start"
wait_for 60 readiness is_status 200 "$SHOP_URL/readyz"
# 40 orders at 2 / 0.1 s = 20 a second take 2 s: never faster, and not much slower when the machine lets it
for try in 1 2 3 4 5; do
    run "$LOADGEN" -c 0:40,1:40 -q -j "$SHOP_URL"
    jq -e '.seconds >= 3' <<<"$OUT" >/dev/null || break
    note "try $try took $(jq .seconds <<<"$OUT") s"
done
check_equal capacity_is_workers_by_service_time "0 true" \
    "$STATUS $(jq -r '.ok == 40 and .seconds > 1.85 and .seconds < 3' <<<"$OUT")"

start_shop stopping SHOP_SERVICE_MS=1000 SHOP_WORKERS=4 || bail "the third shop does not start"
wait_for 60 readiness is_status 200 "$SHOP_URL/readyz"
BEFORE=$(pg_sql 'select count(*) from orders' shop)
spawn "$WORK/last.out" "$LOADGEN" -c 0:200,0.1:200 -q -j "$SHOP_URL"
LOAD_PID=$SPAWN_PID
all_came_and_most_wait() { # an order is stored when a worker takes it; in this order none is counted twice
    local stored waiting
    stored=$(pg_sql 'select count(*) from orders' shop)
    waiting=$(curl -s -m 10 "$SHOP_URL/readyz" | jq .waiting)
    [ $((stored - BEFORE + waiting)) -ge 20 ] && [ "$waiting" -ge 4 ]
}
check sigterm_comes_while_orders_wait wait_for 60 "all orders, most of them waiting" all_came_and_most_wait
kill -TERM "$SHOP_PID"
wait_for 60 "the stopping shop to refuse connections" eval "! is_listening 127.0.0.1 ${SHOP_URL##*:}"
wait "$LOAD_PID"
check_equal sigterm_finishes_every_running_order "0 20" "$? $(tail -n 1 "$WORK/last.out" | jq -r .ok)"
wait "$SHOP_PID"
check_equal sigterm_ends_with_0 0 $?

start_shop outage || bail "the fourth shop does not start"
wait_for 60 readiness is_status 200 "$SHOP_URL/readyz"
stop_postgres QUIT
check outage_makes_the_shop_unready wait_for 60 unreadiness is_status 503 "$SHOP_URL/readyz"
check_equal outage_leaves_the_shop_healthy 200 "$(http_status "$SHOP_URL/healthz")"
order
check_equal outage_makes_orders_fail_clearly 2 "$STATUS"
check_match outage_says_that_nothing_was_ordered 'nothing was ordered' "$ERR"
start_postgres "$WORK/pg" "$PG_PORT" || bail "PostgreSQL does not come back"
check outage_over_the_shop_is_ready wait_for 60 readiness is_status 200 "$SHOP_URL/readyz"
order
check_equal outage_over_orders_are_stored 0 "$STATUS"

# --- wrong settings ---------------------------------------------------------------------------------------------
run env -u DATABASE "$SHOP"
check_match shop_without_a_database_says_so 'DATABASE is not set' "$STATUS $ERR"
run env DATABASE='host=/x password=hunter2' "$SHOP"
check_match shop_refuses_an_inline_password 'holds a password' "$ERR"
check shop_does_not_print_the_password eval '[[ $ERR != *hunter2* ]]'
run env DATABASE='host=/x' SHOP_WORKERS=0 "$SHOP"
check_match shop_names_the_wrong_variable 'SHOP_WORKERS must be a whole number' "$ERR"
finish
