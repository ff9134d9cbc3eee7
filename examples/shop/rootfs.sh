#!/usr/bin/env bash
# Puts the shop and the shared libraries that it needs into a directory, which becomes the root of a container or of a
# virtual machine.
#     rootfs.sh SHOP DIRECTORY
set -euo pipefail
shop=$1 rootfs=$2
for library in $(ldd "$shop" | grep -oE '/[^ ]+'); do # where the loader looks for them, links resolved
    mkdir -p "$rootfs$(dirname "$library")"
    cp -L "$library" "$rootfs$library"
done
mkdir -p "$rootfs/run" "$rootfs/tmp" "$rootfs/etc"
install -m 0755 "$shop" "$rootfs/shop"
# libpq asks for the name of the user it runs as
echo 'root:x:0:0:root:/:/shop' >"$rootfs/etc/passwd"
