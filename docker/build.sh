#!/usr/bin/env bash
# Builds the images that compose.yaml names, without a registry: rollcall from a program built on this host, Redis from this
# host's packages. ROLLCALL_BIN names a program that is built already; ROLLCALL_TAG the tag (latest).
set -euo pipefail
cd "$(dirname "$0")/.."

tag="${ROLLCALL_TAG:-latest}"
binary="${ROLLCALL_BIN:-}"
if [ -z "$binary" ]; then
    cargo build --release --locked --bin rollcall
    binary="${CARGO_TARGET_DIR:-target}/release/rollcall"
fi
context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT

strip --strip-debug -o "$context/rollcall" "$binary"
image="$context/image"
sh docker/rootfs.sh "$image" "$context/rollcall"
mkdir -p "$image/root/etc/rollcall"
cp docker/config/*.toml "$image/root/etc/rollcall/"
docker build --quiet --tag "rollcall:$tag" --file docker/Dockerfile.local "$image" >"$context/log" 2>&1 || {
    cat "$context/log" >&2
    exit 1
}
echo "rollcall:$tag: $(docker image inspect --format '{{.Size}}' "rollcall:$tag" | awk '{ printf "%.0f MB", $1 / 1e6 }')"

docker/base-images.sh
