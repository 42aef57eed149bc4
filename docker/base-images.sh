#!/usr/bin/env bash
# Makes rollcall-redis, the Redis of compose.yaml: from redis:7 where the engine has it or reaches a registry that does, else
# from the Redis installed on this host (Debian: apt-get install redis-server redis-tools).
set -euo pipefail
cd "$(dirname "$0")/.."

tag="${ROLLCALL_TAG:-latest}"
context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
build() { # arguments of docker build; what it says matters only if it fails
    docker build --quiet "$@" >"$context/log" 2>&1 || {
        cat "$context/log" >&2
        exit 1
    }
}

base=redis:7
from="$base"
if ! docker image inspect "$base" >/dev/null 2>&1 && ! timeout 60 docker pull --quiet "$base" >/dev/null 2>&1; then
    for program in redis-server redis-cli; do
        type -P "$program" >/dev/null || {
            echo "docker/base-images.sh: no registry is reached, and '$program' is not on this host; expected apt-get install redis-server redis-tools" >&2
            exit 1
        }
    done
    image="$context/image"
    # Sentinel is the same program by another name; the others are for the scripts.
    sh docker/rootfs.sh "$image" "$(type -P redis-server)" "$(type -P redis-cli)" "$(type -P sh)" "$(type -P cat)" "$(type -P timeout)"
    ln -s redis-server "$image/root/usr/bin/redis-sentinel"
    mkdir -p "$image/root/bin"
    ln -s ../usr/bin/sh "$image/root/bin/sh"
    sed -i 's/^rollcall:/redis:/' "$image/root/etc/passwd" "$image/root/etc/group"
    cat >"$context/Dockerfile" <<'END'
FROM scratch
COPY root /
COPY --chown=10001:10001 data /data
WORKDIR /data
VOLUME /data
EXPOSE 6379
CMD ["redis-server"]
END
    base=rollcall-redis-base:local
    build --tag "$base" --file "$context/Dockerfile" "$image"
    from="$(redis-server --version | sed 's/.* v=\([^ ]*\).*/Redis \1/') of this host"
fi
build --tag "rollcall-redis:$tag" --build-arg "BASE_REDIS=$base" --file docker/Dockerfile.redis docker
echo "rollcall-redis:$tag: $(docker image inspect --format '{{.Size}}' "rollcall-redis:$tag" | awk '{ printf "%.0f MB", $1 / 1e6 }'), from $from"
