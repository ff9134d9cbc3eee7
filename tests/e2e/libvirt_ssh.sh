#!/usr/bin/env bash
# A hypervisor that is reached by ssh: machines of group `far` come and go through a real sshd of this test's own, while
# group `near` has the same libvirtd by its socket and must not notice a wrong key, an unknown host, an sshd that is killed
# or one that hangs. What libvirt starts for it asks nobody and does not outlive autoscale. The test's root has a home
# directory of its own, so ssh looks for its files there.
. "$(dirname "$0")/lib/hypervisors.sh"
enter_world "$0"
. "$(dirname "$0")/lib/common.sh"
. "$E2E/lib/platform.sh"
. "$E2E/lib/hypervisors.sh"

need_hypervisors
need_command ssh sshd ssh-keygen
AT=root@10.91.1.2:2222 KEY=$WORK/ssh/key KNOWN=$WORK/home/.ssh/known_hosts

# --- the world ------------------------------------------------------------------------------------------
own_root() { # in this mount namespace: root's home is ours, and its account is not locked
    mkdir -p "$WORK/ssh" "$WORK/home/.ssh" /run/sshd && chmod 700 "$WORK/home/.ssh" &&
        awk -F: -v OFS=: -v home="$WORK/home" '$1 == "root" { $6 = home } 1' /etc/passwd >"$WORK/ssh/passwd" &&
        (umask 077 && sed 's/^root:[^:]*:/root:*:/' /etc/shadow >"$WORK/ssh/shadow") &&
        mount --bind "$WORK/ssh/passwd" /etc/passwd && mount --bind "$WORK/ssh/shadow" /etc/shadow
}

make_keys() {
    local name
    for name in host key wrong; do ssh-keygen -q -t ed25519 -N '' -C '' -f "$WORK/ssh/$name" || return; done
    cat >"$WORK/ssh/config" <<CONF
Port 2222
ListenAddress 10.91.1.2
HostKey $WORK/ssh/host
PidFile $WORK/ssh/pid
AuthorizedKeysFile $KEY.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
CONF
    echo "[10.91.1.2]:2222 $(cat "$WORK/ssh/host.pub")" >"$KNOWN"
}

start_sshd() {
    inside 1 "$(command -v sshd)" -f "$WORK/ssh/config" -E "$WORK/ssh/sshd.log" &&
        wait_for 30 "sshd" is_listening 10.91.1.2 2222
}

# The process namespace is the test's, so these are its own; a shell that is about to end may go first.
all_of() { # NAME
    pgrep -x "$1"
}

signal_sshd() { # SIGNAL
    local pids
    mapfile -t pids < <(all_of sshd)
    [ ${#pids[@]} -gt 0 ] && { kill -s "$1" "${pids[@]}" 2>/dev/null || :; }
}

no_ssh() { ! all_of ssh; }

a_group() { # NAME COUNT HOST FIRST LAST
    cat <<CONF
  $1 = {
    min = $2; max = 4;
    compute = {
      driver = "libvirt"; hosts = [ "$3" ];
      base = "pool/base.qcow2"; pool = "pool"; memory = "$GUEST_MEMORY"; port = 8080; type = "qemu"; machine = "q35";
      network = "guests"; subnet = [ "10.90.1.0/24" ]; forward = "open"; range = [ "10.90.1.$4-10.90.1.$5" ];
      kernel = "$WORK/kernel"; initrd = "$WORK/initrd"; cmdline = "console=ttyS0 quiet"; serial_log = "$WORK/serial";
      cpu_overcommit = 100; stop_timeout = "0s"; timeout = "120s";
    };
    health = { http = "/healthz"; interval = "250ms"; rise = 1; timeout = "10s"; fall = 60; boot_timeout = "180s"; };
    scale_in = { window = "1s"; period = "1s"; };
  };
CONF
}

write_groups() { # FAR NEAR [FAR-URI]
    cat >"$CONF.new" <<CONF
controller = { name = "$CONTROLLER"; interval = "500ms"; state = "$WORK/state.db"; socket = "$WORK/autoscale.sock"; };
groups = {
$(a_group far "$1" "${3:-qemu+ssh://$AT/system?keyfile=$KEY}" 10 49)
$(a_group near "$2" "$(uri 1)" 50 99)
};
CONF
    mv "$CONF.new" "$CONF"
}

serves() { # GROUP COUNT: and nothing else is there
    [ "$(status_json | jq -r --arg g "$1" '.groups[] | select(.name == $g) | "\(.wanted) \(.serving) \(.footprint)"')" = "$2 $2 $2" ] &&
        [ "$(hv 1 list --name | grep -c "^$1-")" = "$2" ]
}

resized() { # FAR NEAR GROUP COUNT
    write_groups "$1" "$2"
    reload_autoscale && wait_for 180 "$4 of $3" serves "$3" "$4"
}

# --- what is to be seen ---------------------------------------------------------------------------------
machines_come_and_go_by_ssh() {
    local first
    write_groups 1 1
    start_autoscale || return
    check SSH_a_machine_starts_through_it wait_for 180 "one of far" serves far 1
    first=$(hv 1 list --name | grep ^far-)
    wait_for 180 "one of near" serves near 1 || return
    check_says SSH_it_is_told_never_to_ask 'BatchMode=yes' pgrep -a -x ssh
    check SSH_and_a_second_one resized 2 1 far 2
    kill9_autoscale
    check SSH_does_not_outlive_a_killed_autoscale wait_for 60 "the end of ssh" no_ssh
    start_autoscale || return
    check SSH_machines_are_adopted_through_it wait_for 120 "two of far" serves far 2
    check SSH_and_retire_through_it resized 1 1 far 1
    signal_sshd KILL
    check_says SSH_a_killed_sshd_is_said "ssh: connect to host 10.91.1.2 port 2222: Connection refused" cat "$LOG"
    check SSH_a_killed_sshd_costs_nobody_else resized 1 2 near 2
    start_sshd || return
    check SSH_and_is_found_again resized 2 2 far 2
    signal_sshd STOP
    check SSH_a_hung_sshd_costs_nobody_else resized 2 1 near 1
    check_says SSH_a_hung_sshd_is_said "does not answer: look whether its sshd or libvirtd hangs" cat "$LOG"
    stop_autoscale
    [ -e /proc/thread-self/children ] &&
        check SSH_does_not_outlive_autoscale_even_if_sshd_hangs wait_for 60 "the end of ssh" no_ssh
    signal_sshd CONT
    check_equal SSH_nothing_was_made_twice "2 1" "$(hv 1 list --name | grep -c ^far-) $(hv 1 list --name | grep -c ^near-)"
    write_groups 1 1
    start_autoscale || return
    check SSH_goes_on_where_it_was wait_for 120 "one of far" serves far 1
    check_becomes SSH_nothing_is_left "$(hv 1 list --name | sed '/^$/d' | sort)" disks
    stop_autoscale
    check SSH_ends_with_autoscale wait_for 60 "the end of ssh" no_ssh
}

is_said() { # NAME REGEX URI: and `near` serves meanwhile
    write_groups 1 1 "$3"
    : >"$LOG"
    start_autoscale || return
    check_says "SSH_$1_is_said" "$2" cat "$LOG"
    check "SSH_$1_costs_nobody_else" wait_for 120 "near" serves near 1
    stop_autoscale
}

disks() { # whose they are
    ls "$WORK/hv1/pool" | sed -n "s/^autoscale\.$CONTROLLER\.\(.*\)\.qcow2$/\1/p"
}

what_is_wrong_is_said() {
    is_said a_wrong_key "refuses our key \(ssh: root@10.91.1.2: Permission denied" \
        "qemu+ssh://$AT/system?keyfile=$WORK/ssh/wrong" || return
    mv "$KNOWN" "$KNOWN.away"
    is_said an_unknown_host_key "does not know the host key of .*known_hosts of the user" \
        "qemu+ssh://$AT/system?keyfile=$KEY" || return
    echo "[10.91.1.2]:2222 $(cat "$WORK/ssh/wrong.pub")" >"$KNOWN"
    is_said another_host_key "is not the one in ssh's known_hosts" "qemu+ssh://$AT/system?keyfile=$KEY" || return
    mv "$KNOWN.away" "$KNOWN"
    write_groups 1 1 "qemu+ssh://$AT/system?known_hosts=$KNOWN"
    check_says SSH_what_libvirt_would_ignore_is_refused "which libvirt would ignore" "$AUTOSCALE" check -c "$CONF"
    check SSH_none_is_left_of_what_failed wait_for 60 "the end of ssh" no_ssh
}

declare -A HV_HOLDER=()
ip link set lo up
mkdir -p "$WORK/serial" "$WORK/hv1"
own_root && make_keys || bail "no world can be made"
bash "$E2E/lib/libvirtd.sh" guest "$WORK" || bail "no guest can be made"
make_host 1 && start_hypervisor 1 && bash "$E2E/lib/libvirtd.sh" base "$WORK/hv1" && start_sshd || bail "the hypervisor does not start"
note "world is up after ${SECONDS}s"
for part in what_is_wrong_is_said machines_come_and_go_by_ssh; do
    "$part" || fail "$part" "gave up before its end: what it waited for did not come"
    stop_autoscale
done
note "all of it took ${SECONDS}s"
finish
