#!/usr/bin/env bash
# The demo on virtual machines: a flash sale against the shop in QEMU guests on two private libvirtd, with real HAProxy and
# PostgreSQL, scaled by `autoscale run`. All of it lives in namespaces of its own (and /run/autoscale-shop and a temporary
# directory) and is gone at the end, after Ctrl-C and after a failure too. See README.md; `make demo-vm` starts this.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RUN=${RUN:-/run/autoscale-shop}
SITE=http://127.0.77.1:8080
CURVE=${CURVE:-0s:5,8s:5,12s:60,45s:60,48s:5,62s:5}
DB=10.92.0.1 # where the machines of both hypervisors find PostgreSQL
CONTROLLER=shop-vm-demo
MIN=1 PARKED=1

. "$HERE/../shop/demo.sh"
need_root_for "virtual machines" demo-vm "$0"
[ -r "$HERE/../../tests/e2e/lib/hypervisors.sh" ] && . "$HERE/../../tests/e2e/lib/hypervisors.sh" && enter_world "$0"
source_library

# --- what must be there -----------------------------------------------------------------------------------
missing() {
    missing_commands nsenter unshare tar | sed 's/$/ is not installed/'
    bash "$E2E/lib/libvirtd.sh" missing
}

install_missing() {
    local line
    [ -n "$(missing)" ] || return 0
    warn "demo: virtual machines cannot be run here:"
    missing | while read -r line; do warn "    $line"; done
    warn "demo: on Debian (x86-64), \"make demo-vm\" installs all of it; \"make demo\" shows the same on containers"
    exit 1
}

# --- the machines -------------------------------------------------------------------------------------------
# Kernel and initial RAM disk of the tests' guest, with an init and a power button of our own in a second archive.
make_guest() {
    local own=$WORK/own
    bash "$E2E/lib/libvirtd.sh" guest "$WORK" || return 1
    mkdir -p "$own/system" "$own/etc/acpi/PWRF"
    install -m 0755 "$HERE/init" "$own/init"
    install -m 0755 "$HERE/power-button" "$own/etc/acpi/PWRF/00000080"
    truncate -s %4 "$WORK/initrd" || return 1 # where the kernel looks for the next archive
    (cd "$own" && find . | cpio -o -H newc --quiet) >>"$WORK/initrd"
}

# The shop, its libraries and where its database is. With a password in it, so for root alone.
make_base() {
    local root=$WORK/system
    "$SHOP/rootfs.sh" "$BUILD/examples/shop/shop" "$root" || return 1
    install -m 0600 "$RUN/secrets/shop.pass" "$root/etc/shop.pass"
    cat >"$root/etc/shop.env" <<ENV
LISTEN=0.0.0.0
SHOP_WORKERS=4 SHOP_SERVICE_MS=100 SHOP_DB_POOL=4
DATABASE="host=$DB user=shop dbname=shop"
DATABASE_PASSWORD_FILE=/etc/shop.pass
ENV
    (umask 077 && tar -C "$root" --owner=0 --group=0 -cf "$WORK/system.tar" .)
}

start_hypervisors() {
    local k
    declare -gA HV_HOLDER=()
    for k in 1 2; do
        mkdir -p "$WORK/hv$k" && ln -s "$WORK/hv$k" "$RUN/hv$k" && make_host "$k" && start_hypervisor "$k" &&
            bash "$E2E/lib/libvirtd.sh" base "$WORK/hv$k" >/dev/null &&
            (umask 077 && qemu-img convert -O qcow2 "$WORK/system.tar" "$WORK/hv$k/pool/shop.qcow2") &&
            hv "$k" pool-refresh pool >/dev/null || return 1
    done
}

copy_for_here() { # FILE: the demo may be told to use another directory
    sed "s|/run/autoscale-shop|$RUN|g" "$1"
}

# --- the end: nobody serves, nobody sleeps ------------------------------------------------------------------
is_empty() {
    [ "$(field footprint)" = 0 ]
}

retire_all() {
    sed -i 's/min = 1;/min = 0;/; s/standby = 1;/standby = 0;/' "$CONF"
    "$AUTOSCALE" reload -c "$CONF" >"$WORK/reload.log" 2>&1 && wait_for 90 "the last machine to go" is_empty
}

count_left() { # machines, and disks and addresses without one
    { machines; left_over; } | grep -c .
}

install_missing
check_programs demo-vm
ip link set lo up && ip addr add "$DB/32" dev lo || give_up "no network namespace can be made here"
take_run_directory
use_postgres "$DB" 10.90.0.0/16 || give_up "PostgreSQL does not start"
say "making a guest and two hypervisors"
make_guest && make_base && mkdir "$WORK/serial" &&
    ln -s "$WORK/kernel" "$WORK/initrd" "$WORK/serial" "$RUN" || give_up "no guest can be made"
start_hypervisors || give_up "the hypervisors do not start"
copy_for_here "$SHOP/haproxy.cfg" >"$RUN/haproxy.cfg"
CONF=$RUN/autoscale.conf
copy_for_here "$HERE/autoscale.conf" >"$CONF"
start_haproxy "$RUN/haproxy.cfg" "$RUN" || give_up "HAProxy does not start"
cleanup_add 'stop_haproxy "$RUN"'
BEGAN=$SECONDS
start_autoscale 180 "$PARKED"
say "shop on two hypervisors, one machine serves and one sleeps after $((SECONDS - BEGAN)) s; a flash sale begins: $CURVE"
play_sale "$CURVE" 60000
scale_in_rest 90 "$PARKED"
LEAD=$("$AUTOSCALE" status -c "$CONF" --json | jq -r '.groups[0] | "\(.lead_ms) \(.unpark_lead_ms)"')
retire_all || warn "demo: not all machines left"
end_pid "$AUTOSCALE_PID" 10
summarize "$(count_left)"
STATUS=$?
echo "ordered to serving $(awk '{ printf "%.1f s a new machine, %.1f s the parked one", $1 / 1000, $2 / 1000 }' <<<"$LEAD")"
exit $STATUS
