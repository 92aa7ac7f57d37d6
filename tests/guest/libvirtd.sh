#!/bin/sh
# libvirtd with nothing of the host's: libvirtd.sh DIRECTORY, as the first process of mount, network and process namespaces of
# its own. What it keeps is in DIRECTORY, where the file `ready` appears once it answers. When this process ends, all others in the
# namespaces do, and so do the bridges, addresses and packet filters that libvirt made there.
set -eu
own=$1
mkdir "$own/etc" "$own/run" "$own/lib" "$own/log" "$own/cache"
printf '%s\n' 'auth_unix_ro = "none"' 'auth_unix_rw = "none"' 'unix_sock_group = "root"' >"$own/etc/libvirtd.conf"
# No init, no AppArmor, no cgroups, no daemon for logs: what a system that was booted would have.
cat >"$own/etc/qemu.conf" <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
END
# libvirtd looks for this account when it starts, configured or not; the package that makes it would bring an init along.
for file in passwd group; do
	sed '/^libvirt-qemu:/d' /etc/$file >"$own/$file"
done
echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>"$own/passwd"
echo 'libvirt-qemu:x:64055:' >>"$own/group"
for file in passwd group; do
	mount --bind "$own/$file" /etc/$file
done
mount --bind "$own/etc" /etc/libvirt
mount --bind "$own/lib" /var/lib
mount --bind "$own/log" /var/log
mount --bind "$own/cache" /var/cache
mount --bind "$own/run" /run
mount -t sysfs sysfs /sys
ip link set lo up
libvirtd &
until virsh --connect qemu:///system --quiet list >/dev/null 2>&1; do
	kill -0 $! || exit 1
	sleep 0.1
done
touch "$own/ready"
wait
