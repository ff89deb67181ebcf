#!/usr/bin/env bash
# Builds proot into a folder: binder/proot.sh FOLDER [SOURCE]
#
# Ubuntu's own proot stops every system call of a build twice. Since 5.2 proot lets the kernel pass
# those it has nothing to do with, but Debian and Ubuntu build it without that. SOURCE is the
# archive of its sources, where it is there already. Needs a C compiler, make and libtalloc-dev.
set -euo pipefail
folder=${1:?the folder that proot is put into}
version=5.4.0
address=https://github.com/proot-me/proot/archive/refs/tags/v$version.tar.gz
digest=29248aac2a7ce10c3bd5ee5602742ec33b2532310ff9cf73b79f3c133e5a5f68

building=$(mktemp -d)
trap 'rm -rf "$building"' EXIT
source=${2:-}
if [[ -z $source ]]; then
    source=$building/proot.tar.gz
    curl --fail --silent --show-error --location --retry 3 --output "$source" "$address"
fi
echo "$digest  $source" | sha256sum --check --quiet
tar -xzf "$source" -C "$building"
make --silent -C "$building/proot-$version/src" V=0 proot >"$building/log" 2>&1 ||
    { tail -n 20 "$building/log" >&2; exit 1; }
mkdir -p "$folder"
install -m 755 "$building/proot-$version/src/proot" "$folder/proot"
