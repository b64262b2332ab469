#!/bin/sh
# Makes the file system of a bare Debian instance: systemd, cloud-init, and what
# a stock image has besides. Its text is the image's key in the cache.
#
#	image.sh DIRECTORY MIRROR
set -eu
root=$1
mirror=$2
suite=bookworm
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

debootstrap --variant=minbase "$suite" "$root" "$mirror"

cat >"$root/etc/apt/sources.list" <<EOF
deb $mirror $suite main
deb $mirror $suite-updates main
deb ${mirror%/debian}/debian-security $suite-security main
EOF

# Nothing is started while it is installed.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT
chroot "$root" apt-get -q update
# A second step: debootstrap can't resolve cloud-init's virtual dependencies.
chroot "$root" apt-get -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install \
	systemd systemd-sysv dbus libnss-systemd iproute2 nftables ca-certificates curl cloud-init
chroot "$root" apt-get clean
umount "$root/proc"
trap - EXIT
rm "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/* "$root"/usr/share/man/*

# Each machine gets an identity of its own, and the network that its namespace has.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
# Its seed is its one data source; the locale is the image's, and there is no sshd that wants keys.
cat >"$root/etc/cloud/cloud.cfg.d/90-machine.cfg" <<EOF
network: {config: disabled}
datasource_list: [NoCloud, None]
locale: false
ssh_genkeytypes: []
EOF
# There is no terminal, no network to update from, and no hardware.
for unit in console-getty.service container-getty@.service apt-daily.timer apt-daily-upgrade.timer \
	e2scrub_all.timer fstrim.timer dpkg-db-backup.timer; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
