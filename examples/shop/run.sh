#!/usr/bin/env bash
# The demo: a flash sale of about a minute against the shop, with real PostgreSQL, HAProxy and Docker, scaled by
# `autoscale run`. Everything is private (/run/autoscale-shop and a temporary directory) and gone at the end, after
# Ctrl-C and after a failure too. See README.md; `make demo` builds everything and starts this.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RUN=/run/autoscale-shop
SITE=http://127.0.77.1:8080
CONF=$HERE/autoscale.conf
CURVE=${CURVE:-0s:20,8s:20,14s:440,34s:440,38s:20,62s:20}
MIN=2

. "$HERE/demo.sh"
need_root_for containers demo "$0"
source_library
. "$E2E/lib/dockerd.sh"

install_missing() {
    [ -z "$(missing_commands dockerd)" ] || make -C "$ROOT" --no-print-directory deps demo-deps
    local missing
    missing=$(missing_commands dockerd)
    [ -z "$missing" ] || give_up "these are missing and could not be installed:" $missing
}

# --- Docker --------------------------------------------------------------------------------------------------
docker_api() { # METHOD PATH [curl options…]
    curl -s -m 20 --noproxy '*' --unix-socket "$RUN/docker.sock" -X "$1" "${@:3}" "http://docker/v1.40$2"
}

our_containers() {
    docker_api GET /containers/json -G --data all=1 \
        --data-urlencode 'filters={"label":["autoscale.controller=shop-demo"]}' | jq -r '.[]?.Id'
}

remove_containers() {
    local id pids=()
    for id in $(our_containers); do
        { docker_api POST "/containers/$id/stop?t=5"; docker_api DELETE "/containers/$id?force=1&v=1"; } >/dev/null &
        pids+=($!)
    done
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}"
    docker_api DELETE /networks/shop-demo -o /dev/null
    return 0
}

use_docker() {
    if curl -sf -m 2 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null; then
        ln -s /var/run/docker.sock "$RUN/docker.sock"
        DOCKER="the Docker of this machine"
    else
        cleanup_add 'stop_dockerd "$WORK/docker" 2>/dev/null'
        start_dockerd "$WORK/docker" || give_up "no Docker runs here and a private dockerd does not start"
        ln -s "$WORK/docker/docker.sock" "$RUN/docker.sock"
        DOCKER="a private dockerd"
    fi
    remove_containers # of a demo that was killed
    cleanup_add remove_containers
    "$HERE/image.sh" -H "$RUN/docker.sock" "$BUILD/examples/shop/shop" >"$WORK/image.log" 2>&1 ||
        give_up "the image cannot be made"
}

install_missing
check_programs demo
take_run_directory
use_docker
use_postgres "" "" || give_up "PostgreSQL does not start"
start_haproxy "$HERE/haproxy.cfg" "$RUN" || give_up "HAProxy does not start"
cleanup_add 'stop_haproxy "$RUN"'
start_autoscale 30
say "shop at $SITE on $DOCKER; a flash sale begins: $CURVE"
play_sale "$CURVE" 30000
scale_in_rest 60
end_pid "$AUTOSCALE_PID" 10
remove_containers
summarize "$(our_containers | wc -l)"
STATUS=$?
[[ $BOUND != *db-headroom* ]] || echo "limited at times by db-headroom: PostgreSQL has connections for 6 instances"
exit $STATUS
