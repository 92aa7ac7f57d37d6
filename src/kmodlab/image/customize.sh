#!/bin/sh
# mmdebstrap's customize hook: finishes the root file system $1 and turns it into the files of an image in $2.
# $3 is the root disk's size. Runs as (possibly mapped) root, so that ownership in the file system is right.
set -eu
root=$1 out=$2 size=$3

chroot "$root" systemctl -q enable systemd-networkd ssh
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer logrotate.timer \
	systemd-networkd-wait-online.service
chroot "$root" useradd --create-home --shell /bin/bash student
echo lab >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tlab\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf" "$root"/etc/ssh/ssh_host_*
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
ssh-keygen -q -t ed25519 -N '' -C lab -f "$root/etc/ssh/ssh_host_ed25519_key"
: >"$root/etc/machine-id"

cp "$root/etc/ssh/ssh_host_ed25519_key.pub" "$out/host_key.pub"
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
for kernel in "$root"/boot/vmlinuz-*; do echo "${kernel##*/vmlinuz-}"; done >"$out/kernel"
chroot "$root" dpkg-query -W >"$out/packages"
chmod 0644 "$out"/*
# A plain bind mount leaves out what is mounted inside the root just now: /proc, /sys, /dev.
mkdir "$out/tree"
trap 'umount "$out/tree" && rmdir "$out/tree"' EXIT
mount --bind "$root" "$out/tree"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1,lazy_journal_init=1 -d "$out/tree" "$out/disk.raw" "$size"
chmod 0644 "$out/disk.raw"
