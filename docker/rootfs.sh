#!/bin/sh
# Lays out the whole root file system of an image: programs, the libraries they load, and the few files that names and
# users need. Nothing else gets in: no shell, no package manager, unless they are among the programs. FOLDER/root belongs
# to root; FOLDER/data is /data, which the user of the image owns, and a volume mounted there with it.
#
#   docker/rootfs.sh FOLDER PROGRAM...
set -eu
if [ $# -lt 2 ]; then
    echo "usage: docker/rootfs.sh FOLDER PROGRAM..." >&2
    exit 2
fi
root="$1/root"
mkdir -p "$root/usr/bin" "$root/etc" "$root/tmp" "$1/data"
shift
chmod 1777 "$root/tmp"

for program in "$@"; do
    [ -x "$program" ] || {
        echo "docker/rootfs.sh: '$program' is no program" >&2
        exit 1
    }
    cp -L "$program" "$root/usr/bin/"
    # A static program has no libraries, which ldd reports by failing.
    { ldd "$program" 2>/dev/null || true; } | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' |
        while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
done

# User 10001 runs the programs; names are looked up in the hosts file, then asked of DNS.
printf 'root:x:0:0:root:/:/none\nrollcall:x:10001:10001:rollcall:/data:/none\n' >"$root/etc/passwd"
printf 'root:x:0:\nrollcall:x:10001:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
