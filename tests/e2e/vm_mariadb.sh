#!/usr/bin/env bash
# examples/vm-mariadb as it stands, but for paths, faster clocks and machines as small as emulated ones are: two real libvirtd,
# reached by TLS, HAProxy with the example's own file, MariaDB with TLS and a replica, guests that keep twenty sessions with it.
# Sessions at HAProxy ask for more, the database stops them until it has connections, and while its replica stands still
# nothing is taken away.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/example.sh"
. "$E2E/lib/haproxy.sh"
. "$E2E/lib/hypervisors.sh"
. "$E2E/lib/mariadb.sh"

PATH=$PATH:/usr/sbin
need_hypervisors
need_command mariadbd mariadb-install-db mariadb
EXAMPLE=$ROOT/examples/vm-mariadb CONTROLLER=vm-shop-$$
GUEST_POOL=shop GUEST_NETWORK=shop
PRIMARY=10.92.0.1 REPLICA=10.92.0.2

# --- the machines ---------------------------------------------------------------------------------------------
# The tests' guest, and in a second archive: twenty sessions with the database, which end before the machine does, and a page
# that somebody looks at for as long as he likes. To MariaDB it is a user `shop` without a password.
make_guest() {
    local own=$WORK/own button=etc/acpi/PWRF/00000080
    bash "$E2E/lib/libvirtd.sh" guest "$WORK" && mkdir -p "$own/bin" "$own/www/cgi-bin" "$own/${button%/*}" || return 1
    cat >"$own/bin/session" <<'SH'
#!/bin/busybox sh
echo $$ >>/sessions
busybox printf '\046\0\0\001\001\202\0\0\0\0\0\001\041\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0shop\0\0'
exec busybox sleep 100000
SH
    cat >"$own/www/cgi-bin/stay" <<'SH'
#!/bin/busybox sh
printf 'Content-Type: text/plain\r\n\r\n'
while echo here; do busybox sleep 15; done
SH
    printf '#!/bin/busybox sh\n/bin/busybox kill $(/bin/busybox cat /sessions)\n/bin/busybox sleep 1\n/bin/busybox poweroff -f\n' >"$own/$button"
    awk -v at="$PRIMARY" '/has mute/ { print "for n in $(busybox seq 20); do busybox nc " at " 3306 -e /bin/session & done" } { print }' \
        "$WORK/guest/init" >"$own/init"
    chmod 0755 "$own/init" "$own/bin/session" "$own/www/cgi-bin/stay" "$own/$button"
    truncate -s %4 "$WORK/initrd" && # where the kernel looks for the next archive
        (cd "$own" && find . | cpio -o -H newc --quiet) >>"$WORK/initrd"
}

start_host() { # K: pools and network as the example wants them
    mkdir -p "$WORK/hv$1/images" "$WORK/hv$1/shop" && make_host "$1" && ip route add "10.60.$1.0/24" via "10.91.$1.2" &&
        bash "$E2E/lib/libvirtd.sh" tls "$WORK/hv$1" "10.91.$1.2" "hv$1.example.net" && start_hypervisor "$1" &&
        qemu-img create -q -f qcow2 "$WORK/hv$1/images/shop-1.4.qcow2" 16M || return 1
    for pool in images shop; do
        hv "$1" pool-define-as "$pool" dir --target "$WORK/hv$1/$pool" && hv "$1" pool-start "$pool" || return 1
    done
    hv "$1" net-define /dev/stdin <<XML && hv "$1" net-start shop
<network><name>shop</name><forward mode='open'/><bridge name='shop' stp='off' delay='0'/>
  <ip address='10.60.$1.1' prefix='24'><dhcp><range start='10.60.$1.100' end='10.60.$1.200'/></dhcp></ip></network>
XML
}

# --- the database ---------------------------------------------------------------------------------------------
start_server() { # NAME ADDRESS ID
    local pki=$WORK/db/pki
    start_mariadb "$WORK/$1" 3306 --bind-address="$2" --server-id="$3" --log-bin=bin --sync-binlog=0 --ssl-ca="$pki/cacert.pem" \
        --ssl-cert="$pki/servercert.pem" --ssl-key="$pki/serverkey.pem"
}

start_database() { # what the primary is told the replica is told by it
    ip addr add "$PRIMARY/32" dev lo && ip addr add "$REPLICA/32" dev lo &&
        bash "$E2E/lib/libvirtd.sh" tls "$WORK/db" "$PRIMARY" db1.example.net db2.example.net &&
        chown mysql: "$WORK/db/pki/serverkey.pem" && start_server db1 "$PRIMARY" 1 && start_server db2 "$REPLICA" 2 || return 1
    (umask 077 && echo watcher-secret >"$WORK/mariadb.pass")
    maria_sql "$WORK/db1" "create user autoscale identified by 'watcher-secret'; create user shop; create user copy;
        grant process, slave monitor on *.* to autoscale; grant replication slave on *.* to copy" &&
        maria_sql "$WORK/db2" "change master to master_host = '$PRIMARY', master_user = 'copy', master_connect_retry = 1; start slave"
}

# --- the rest of it -------------------------------------------------------------------------------------------
start_shop_balancer() {
    mkdir -p "$WORK/lb"
    sed "s|/run/haproxy/admin.sock|$WORK/lb/admin.sock|; s/maxconn 20000/maxconn 2000/" "$EXAMPLE/haproxy.cfg" >"$WORK/lb/haproxy.cfg"
    cleanup_add 'stop_haproxy "$WORK/lb"'
    start_haproxy "$WORK/lb/haproxy.cfg" "$WORK/lb"
}

# A machine of the example carries 120 sessions on two processors, one of these carries 6 on a share of one.
write_conf() {
    local faster overcommit
    overcommit=$(awk -v n="$(nproc)" 'BEGIN { o = 8 / n; printf "%.4f", o < 0.1 ? 0.1 : o }')
    faster='s/interval = "2s"/interval = "500ms"/; s/interval = "5s"/interval = "1s"/; s/settle = "1m"/settle = "8s"/
        s/window = "20s"/window = "2s"/; s/window = "[0-9]*m"/window = "4s"/; s/period = "5m"/period = "2s"/'
    mkdir -p "$WORK/policies.d" "$WORK/serial"
    for file in "$EXAMPLE"/policies.d/*.conf; do
        sed -e "$faster" -e 's/per_instance = 120.0/per_instance = 6.0/' "$file" >"$WORK/policies.d/$(basename "$file")"
    done
    sed -e "s|\(qemu+tls://\(hv.\).example.net/system\)|\1?pkipath=$WORK/\2/pki|g" -e "s/name = \"vm-shop\"/name = \"$CONTROLLER\"/" \
        -e "s|/var/lib/autoscale/vm-shop.db|$WORK/state.db|; s|/run/autoscale/vm-shop.sock|$WORK/autoscale.sock|" \
        -e "s|/run/haproxy/admin.sock|$WORK/lb/admin.sock|; s|/etc/autoscale/mariadb.pass|$WORK/mariadb.pass|" \
        -e "s|/etc/ssl/certs/ca-certificates.crt|$WORK/db/pki/cacert.pem|; s|/var/log/shop-serial|$WORK/serial|" \
        -e "s/memory = \"2GiB\"; vcpus = 2; cpu_mode = \"host-passthrough\";/memory = \"96MiB\"; vcpus = 1; type = \"qemu\";/" \
        -e "s|port = 8080;|port = 8080; machine = \"q35\"; kernel = \"$WORK/kernel\"; initrd = \"$WORK/initrd\"; timeout = \"120s\";|" \
        -e "s/port = 8080;/port = 8080; cmdline = \"console=ttyS0 quiet mitigations=off\";/; s/cpu_overcommit = 2.0/cpu_overcommit = $overcommit/" \
        -e 's/rise = 2;/rise = 2; timeout = "5s"; fall = 6;/; s/maxconn = 200;/maxconn = 200; fall = 20;/' -e "$faster" \
        "$EXAMPLE/autoscale.conf" >"$CONF"
}

# --- what happens ---------------------------------------------------------------------------------------------
sessions_of() { # USER
    maria_sql "$WORK/db1" "select count(*) from information_schema.processlist where user = '$1'"
}

has_sessions() { # USER N
    [ "$(sessions_of "$1")" = "$2" ]
}

come() { # N visitors who stay
    local i
    VISITORS=()
    for ((i = 0; i < $1; i++)); do
        spawn "$WORK/visitors.log" curl -sS -N -o /dev/null --noproxy '*' http://127.0.0.1/cgi-bin/stay || return 1
        VISITORS+=("$SPAWN_PID")
    done
}

leave() {
    local pid
    for pid in "${VISITORS[@]}"; do end_pid "$pid"; done
} 2>/dev/null

not_told() { # METRIC
    [ -n "$(value "$1")" ] && ! fresh "$1"
}

wants_few() {
    [ "$(proposal web web-load .count)" -le 2 ]
}

only_free() { # N connections beside those that there are; whoever asks has one himself
    local used
    used=$(maria_sql "$WORK/db1" "show global status like 'Threads_connected'" | awk '{ print $2 - 1 }')
    maria_sql "$WORK/db1" "set global max_connections = $((used + $1))" && wait_for 60 "no more than that" free_is_under $(($1 + 5))
}

free_is_under() {
    [ "$(value db.connections_free)" -lt "$1" ]
}

declare -A HV_HOLDER=()
ip link set lo up
maria_init "$WORK/db1" & INIT_1=$! # takes its time; meanwhile something else
maria_init "$WORK/db2" & INIT_2=$!
make_guest || bail "no guest can be made"
start_host 1 && start_host 2 || bail "a hypervisor does not start"
wait $INIT_1 && wait $INIT_2 || bail "MariaDB cannot be set up"
start_database && start_shop_balancer && take_names "10.91.1.2 hv1.example.net" "10.91.2.2 hv2.example.net" \
    "$PRIMARY db1.example.net" "$REPLICA db2.example.net" || bail "the platform does not start"
write_conf
note "the platform is there after ${SECONDS}s"

text=$(autoscale plan 2>&1)
check_equal plan_says_that_there_is_something_to_do 2 $?
check_equal plan_names_both_machines 2 "$(grep -c ' create ' <<<"$text")"
check_equal plan_starts_nothing "" "$(machines)"

run_example
wait_for 240 "two machines" serves web 2 || bail "the group does not come up"
note "both machines serve after ${SECONDS}s"
check each_machine_has_its_sessions wait_for 60 "forty sessions" has_sessions shop 40
for metric in vm.web.cpu_percent db.connections_free replica.replication_lag_s; do
    check "${metric//./_}_is_measured" wait_for 60 "a value" fresh "$metric"
done

only_free 50 || bail "MariaDB takes no other limit"
come 16 || bail "nobody comes"
check sessions_ask_for_more wait_for 60 "the want" asks_for web web-load 3
check the_database_stops_it wait_for 60 "the ceiling" bound_by web web-db
wait_ticks 6
check_equal it_has_not_grown 2 "$(group web .footprint)"
check explain_says_so wait_for 60 "its words" explains web 'bound by ceiling web-db'
maria_sql "$WORK/db1" 'set global max_connections = 300'
check it_grows_when_there_are_connections wait_for 240 "three machines" serves web 3
check_equal on_both_hypervisors 3 "$(($(machines 1 | wc -l) + $(machines 2 | wc -l)))"
note "three serve after ${SECONDS}s"

maria_sql "$WORK/db2" 'stop slave'
check a_replica_that_stands_still_tells_no_lag wait_for 60 "no lag" not_told replica.replication_lag_s
leave
check nobody_needs_three wait_for 60 "low demand" wants_few
wait_ticks 24 # three times the longest window
check_equal nothing_is_taken_away_while_it_stands 3 "$(group web .wanted)"
maria_sql "$WORK/db2" 'start slave'
check and_is_when_it_follows_again wait_for 120 "two machines" serves web 2

check_equal two_machines_are_left 2 "$(machines | wc -l)"
check and_no_disk_or_address_of_the_third wait_for 60 "the last of it" eval '[ -z "$(left_over)" ]'
check nor_its_sessions wait_for 60 "forty sessions" has_sessions shop 40
note "done after ${SECONDS}s"
finish
