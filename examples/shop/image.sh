#!/usr/bin/env bash
# Packs the shop and the shared libraries it needs into an image, without Dockerfile, base image or registry, and
# prints the image's id. Nothing is done when the image of this very build is already there.
#     image.sh [-H SOCKET] [-t NAME:TAG] [SHOP]         default /var/run/docker.sock, autoscale-shop:demo
set -euo pipefail

socket=/var/run/docker.sock name=autoscale-shop:demo
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
while getopts H:t:h option; do
    case $option in
    H) socket=${OPTARG#unix://} ;;
    t) name=$OPTARG ;;
    *) sed -n 's/^# \{0,1\}//; 2,4p' "$0"; exit 64 ;;
    esac
done
shift $((OPTIND - 1))
shop=${1:-$root/build/examples/shop/shop}
[ -x "$shop" ] || { echo "image.sh: $shop is not built; run make demo" >&2; exit 1; }

api() { # METHOD PATH [curl options…]
    curl -sS -m 60 --noproxy '*' --unix-socket "$socket" -X "$1" "${@:3}" "http://docker/v1.40$2"
}

# The program and its libraries by content: an equal label is an equal image.
mapfile -t libraries < <(ldd "$shop" | grep -oE '/[^ ]+')
print=$(cat "$shop" "${libraries[@]}" | sha256sum | cut -c1-16)
image=$(api GET "/images/$name/json" | jq -r --arg print "$print" 'select(.Config.Labels."shop.print" == $print) | .Id')
if [ -z "$image" ]; then
    rootfs=$(mktemp -d)
    trap 'rm -rf "$rootfs"' EXIT
    "$(dirname "$0")/rootfs.sh" "$shop" "$rootfs"
    changes=$(jq -rn --arg print "$print" '["ENTRYPOINT [\"/shop\"]", "ENV LISTEN=0.0.0.0", "EXPOSE 8080",
        "LABEL shop.print=" + $print] | map("&changes=" + @uri) | add')
    answer=$(tar -C "$rootfs" --owner=0 --group=0 -c . |
        api POST "/images/create?fromSrc=-&repo=${name%:*}&tag=${name##*:}$changes" \
            -H 'Content-Type: application/x-tar' -T -) || exit 1 # curl has said why
    image=$(jq -r 'select(.status != null) | .status' <<<"$answer" | grep -m1 '^sha256:') ||
        { echo "image.sh: Docker did not take the image: $answer" >&2; exit 1; }
fi
printf '%s\n' "$image"
