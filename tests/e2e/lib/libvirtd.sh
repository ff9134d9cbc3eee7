#!/bin/bash
# Private libvirtd with QEMU's emulation, for tests: own state, own sockets, each in one directory. It never touches a
# libvirt that the machine already runs: the caller has made itself a mount, network and PID namespace, with whose first
# process all of it ends:
#     unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private COMMAND…
# Call it inside:
#     libvirtd.sh start DIR       until it answers on DIR/run/libvirt-sock; also starts a killed one again
#     libvirtd.sh guest DIR       DIR/kernel and DIR/initrd: a guest that serves HTTP on port 8080 within seconds
#     libvirtd.sh base DIR        DIR/pool with base.qcow2, known to the libvirtd there as pool "pool"
#     libvirtd.sh tls DIR [ADDRESS NAME…]   before start: it listens on ADDRESS (127.0.0.1) too, for who has the certificates
#                                 in DIR/pki; the server's is also of these names
#     libvirtd.sh missing         says what is not installed, and nothing when all is there
# DIR/pid is the daemon's. Words on the guest's command line: "deaf" to the power button, "mute": serves nothing, "busy":
# computes, "scribbling": writes to its disk once a second, "agent": has a guest agent.
set -u
export PATH=$PATH:/usr/sbin:/sbin

kernel_of() { # the newest kernel that has its modules here; one made for virtual machines before others
    local v
    for v in $(cd /lib/modules 2>/dev/null && printf '%s\n' * | sort -rV | awk '/cloud/ { print; next } { o = o "\n" $0 } END { print o }'); do
        [ -f "/boot/vmlinuz-$v" ] && [ -d "/lib/modules/$v/kernel" ] && echo "$v" && return
    done
    return 1
}

missing() {
    local program
    for program in libvirtd virsh qemu-system-x86_64 qemu-img dnsmasq openssl busybox cpio modprobe ip iptables unshare; do
        command -v "$program" >/dev/null || echo "$program is not installed"
    done
    kernel_of >/dev/null || echo "no kernel with its modules is installed (linux-image-cloud-amd64)"
}

ask() { # DIR virsh's words…
    timeout 10 virsh -q -c "qemu+unix:///system?socket=$1/run/libvirt-sock" "${@:2}"
}

certificate() { # DIR NAME SUBJECTS: signed by the authority there
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1/$2key.pem" -out "$1/$2.csr" 2>/dev/null &&
        openssl x509 -req -in "$1/$2.csr" -CA "$1/cacert.pem" -CAkey "$1/cakey.pem" -CAcreateserial -days 2 \
            -extfile <(echo "subjectAltName=$3") -out "$1/$2cert.pem" 2>/dev/null
}

tls() { # DIR [ADDRESS NAME…]
    local pki=$1/pki subjects=IP:${2:-127.0.0.1} name
    for name in "${@:3}"; do subjects+=,DNS:$name; done
    mkdir -p "$pki" && echo "${2:-127.0.0.1}" >"$pki/address" &&
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout "$pki/cakey.pem" \
            -out "$pki/cacert.pem" 2>/dev/null && certificate "$pki" server "$subjects" && certificate "$pki" client "$subjects"
}

bind_mounts() { # DIR: once in the caller's mount namespace
    local pair
    [ "$1/run" -ef /run/libvirt ] && return
    mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt
    for pair in run:/run/libvirt var:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt etc:/etc/libvirt; do
        mkdir -p "$1/${pair%%:*}"
        mount --bind "$1/${pair%%:*}" "${pair#*:}" || return 1
    done
}

start() { # DIR
    local dir=$1 pid until=$((SECONDS + 60))
    bind_mounts "$dir" || return 1
    mkdir -p "$dir/serial"
    cat >"$dir/etc/qemu.conf" <<'CONF'
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
CONF
    cat >"$dir/etc/libvirtd.conf" <<CONF
unix_sock_dir = "$dir/run"
auth_unix_rw = "none"
CONF
    [ ! -d "$dir/pki" ] || cat >>"$dir/etc/libvirtd.conf" <<CONF
listen_addr = "$(cat "$dir/pki/address")"
ca_file = "$dir/pki/cacert.pem"
cert_file = "$dir/pki/servercert.pem"
key_file = "$dir/pki/serverkey.pem"
CONF
    rm -f "$dir/run/libvirt-sock"
    setsid libvirtd $([ ! -d "$dir/pki" ] || echo --listen) -f "$dir/etc/libvirtd.conf" -p "$dir/pid" </dev/null >>"$dir/libvirtd.log" 2>&1 &
    pid=$!
    until ask "$dir" list >/dev/null 2>&1; do
        if [ $SECONDS -ge $until ] || ! [ -d "/proc/$pid" ]; then
            echo "libvirtd in $dir did not start:" >&2
            tail -n 5 "$dir/libvirtd.log" >&2
            return 1
        fi
        sleep 0.05
    done
}

copy_modules() { # VERSION DIR: in the order in which they are to be loaded
    local module file n=0
    for module in virtio_pci failover virtio_net virtio_blk virtio_rng virtio_balloon virtio_console evdev button isofs; do
        for file in $(modprobe -S "$1" -D "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
            [ -e "$2/.$(basename "$file")" ] && continue
            n=$((n + 1))
            : >"$2/.$(basename "$file")"
            cp "$file" "$2/$(printf %02d $n)-$(basename "$file")"
            [ "${file##*.}" != xz ] || unxz "$2"/*.xz
        done
    done
    rm -f "$2"/.*.ko*
}

# An init that does what a small appliance does.
write_init() {
    cat <<'INIT'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs d /dev
busybox mount -t proc p /proc
busybox mount -t sysfs s /sys
for m in /mod/*.ko; do busybox insmod "$m"; done
has() { busybox grep -qw "$1" /proc/cmdline; }
has deaf || busybox acpid -d -c /etc/acpi >/dev/null 2>&1 &
for d in /dev/vdb /dev/sr0; do
    [ -b $d ] && busybox mount -t iso9660 -o ro $d /seed && break
done
busybox ip link set lo up
busybox ip link set eth0 up
busybox udhcpc -i eth0 -s /bin/lease -q -n -t 60 -T 1
while read -r line; do # of the first processor; the shell itself does it, as a program takes its time to start here
    case $line in "model name"*) echo "cpu ${line#*: }" && break ;; esac
done </proc/cpuinfo >/www/machine
{ [ -d /sys/firmware/efi ] && echo "firmware efi" || echo "firmware bios"; } >>/www/machine
has busy && while :; do :; done &
has scribbling && while :; do
    busybox dd if=/dev/zero of=/dev/vda bs=64k count=4 conv=fsync
    busybox sleep 1
done >/dev/null 2>&1 &
has agent && while :; do # a port nobody on the host has opened yet reads as ended
    for p in /sys/class/virtio-ports/*; do
        [ -c "/dev/${p##*/}" ] && /bin/agent <>"/dev/${p##*/}" >&0
    done
    busybox sleep 1
done &
has mute || busybox httpd -p 8080 -h /www
echo "guest serves"
while :; do busybox sleep 3600; done
INIT
}

# As much of a guest agent as tells addresses. It starts no program for an answer: emulated, that may take longer than
# anybody waits for it.
write_agent() {
    cat <<'AGENT'
#!/bin/busybox sh
mac=$(busybox cat /sys/class/net/eth0/address)
ip=$(busybox ip -4 addr show eth0 | busybox sed -n 's|.*inet \([0-9.]*\)/.*|\1|p')
while read -r line; do
    case $line in
    *guest-sync*)
        id=${line##*\"id\":}
        echo "{\"return\": ${id%%\}*}}"
        ;;
    *guest-network-get-interfaces*)
        echo '{"return": [{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}]},' \
            '{"name": "eth0", "hardware-address": "'$mac'", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "'$ip'", "prefix": 24}]}]}'
        ;;
    *) echo '{"error": {"class": "CommandNotFound", "desc": "not here"}}' ;;
    esac
done
AGENT
}

guest() { # DIR
    local dir=$1 root=$1/guest version
    version=$(kernel_of) || return 1
    mkdir -p "$root"/{bin,dev,proc,sys,www,seed,mod,etc/acpi/PWRF}
    cp "$(command -v busybox)" "$root/bin/busybox"
    copy_modules "$version" "$root/mod"
    echo up | tee "$root/www/index.html" >"$root/www/healthz"
    ln -s /seed "$root/www/seed"
    printf '#!/bin/busybox sh\n/bin/busybox poweroff -f\n' >"$root/etc/acpi/PWRF/00000080"
    printf '#!/bin/busybox sh\nbusybox ip addr add "$ip/$mask" dev "$interface"\n%s\n' \
        '[ -z "$router" ] || busybox ip route add default via "$router"' >"$root/bin/lease"
    write_init >"$root/init"
    write_agent >"$root/bin/agent"
    chmod 0755 "$root/init" "$root/bin/agent" "$root/bin/lease" "$root/etc/acpi/PWRF/00000080"
    cp "/boot/vmlinuz-$version" "$dir/kernel"
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initrd"
}

base() { # DIR
    mkdir -p "$1/pool"
    qemu-img create -q -f qcow2 "$1/pool/base.qcow2" 16M
    ask "$1" pool-define-as pool dir --target "$1/pool" && ask "$1" pool-autostart pool && ask "$1" pool-start pool
}

case ${1:-} in
start | guest | base | tls) [ -n "${2:-}" ] && "$@" ;;
missing) missing ;;
*) echo "usage: libvirtd.sh start|guest|base|tls DIR | missing" >&2; exit 64 ;;
esac
