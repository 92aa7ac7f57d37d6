#!/bin/sh
# Turns a running guest into what a Vagrant box is: box.sh KERNEL_ARGUMENT... The files of boxfs/ are in place.
set -eu
useradd --create-home --shell /bin/bash vagrant
# An account without a password is locked for sshd too, one whose password nothing can match is not.
usermod --password '*' vagrant
install -d -o vagrant -g vagrant -m 0700 /home/vagrant/.ssh
# Everyone has the private half: Vagrant puts a key of the machine's own in its place when it first logs in.
install -o vagrant -g vagrant -m 0600 /usr/local/lib/kmodlab/vagrant.pub /home/vagrant/.ssh/authorized_keys
chmod 0440 /etc/sudoers.d/vagrant
systemctl -q enable kmodlab-emulated.service kmodlab-host-key.service kmodlab-dns.path
# The networks that Vagrant configures have files between 20 and 90: they come first.
mv /etc/systemd/network/20-lab.network /etc/systemd/network/90-lab.network
/usr/local/lib/kmodlab/install-boot-loader "$@"

# What belongs to the host that built it, or to one machine alone.
: >/etc/machine-id
rm -f /etc/ssh/ssh_host_* /etc/apt/apt.conf.d/90-host /var/lib/dbus/machine-id /var/lib/systemd/random-seed
journalctl -q --rotate --vacuum-time=1s
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /tmp/* /var/tmp/*
fstrim /
