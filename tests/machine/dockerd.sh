#!/bin/sh
# Runs one Docker Engine inside a Debian tree: dockerd.sh TREE STATE
#
# Started by engines.py as the first process of its own mount and PID namespaces. When it ends, the
# kernel ends everything in them: dockerd, containerd, containers and mounts. It ends when its
# standard input closes, which the kernel sees to even where the process that started it was killed.
set -e
TREE=$1
STATE=$2

mount --bind "$TREE" "$TREE"  # pivot_root wants a mount point
mount -t proc proc "$TREE/proc"
mount --rbind /sys "$TREE/sys"
mount --rbind /dev "$TREE/dev"
mount -t tmpfs tmpfs "$TREE/run"
mount -t tmpfs tmpfs "$TREE/tmp"
mount --bind "$STATE" "$TREE/engine"
mount --bind /etc/resolv.conf "$TREE/etc/resolv.conf"
# A machine behind a proxy that re-signs TLS has its own list of certificate authorities.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    mount --bind /etc/ssl/certs/ca-certificates.crt "$TREE/etc/ssl/certs/ca-certificates.crt"
fi

# A plain chroot is not enough: the engine makes a read-only "/" for its own unpacking.
cd "$TREE"
pivot_root . old
cd /
umount -l /old

exec 3<&0  # a command in the background would lose the standard input
dockerd --host unix:///engine/docker.sock --data-root /engine/data --exec-root /run/docker \
    --pidfile /run/docker.pid --config-file /engine/daemon.json >/engine/dockerd.log 2>&1 </dev/null &
DOCKERD=$!
{ cat >/dev/null; kill -TERM "$DOCKERD"; } <&3 &
wait "$DOCKERD"
