#!/bin/sh
# The first process of the private machine: makes its own places for all that a systemd writes to, and becomes one.
# Runs as root in new mount, process, name, IPC and cgroup namespaces; what it mounts is gone with them.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run

# Copies of what commands of an installation write to; the rest of the disk can only be read.
mkdir /run/etc /run/opt
cp -a /etc/. /run/etc
rm -rf /run/etc/resolv.conf /run/etc/systemd/system
cp -L /etc/resolv.conf /run/etc/resolv.conf 2>/dev/null || true # often a link into the /run that was
mkdir /run/etc/systemd/system
for entry in /opt/*; do
  [ -d "$entry" ] && mkdir "/run$entry" && mount --bind "$entry" "/run$entry" && mount -o remount,bind,ro "/run$entry"
done
mount --bind /run/etc /etc
mount --rbind /run/opt /opt
if [ -n "${OWN_USR:-}" ]; then # for a package: dpkg writes to /usr, and to its database
  mkdir -p /run/usr/new /run/usr/work
  mount -t overlay -o lowerdir=/usr,upperdir=/run/usr/new,workdir=/run/usr/work overlay /usr
  cp -a /var/lib/dpkg /run/dpkg
  echo /opt >>/run/dpkg/info/base-files.list # dpkg tries to remove folders of no other package
fi
for folder in /tmp /var/tmp /var/lib /var/log; do
  mount -t tmpfs -o mode=1777 tmpfs "$folder"
done
[ -z "${OWN_USR:-}" ] || mv /run/dpkg /var/lib/dpkg
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
chmod 755 /var/lib /var/log
for folder in / /sys /proc/sys; do
  mountpoint -q "$folder" || mount --bind "$folder" "$folder"
  mount -o remount,bind,ro "$folder"
done
mount -t cgroup2 none /sys/fs/cgroup

# Devices of no hardware, and what a Debian has mounted there.
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev
mkdir /run/dev/pts /run/dev/shm /run/dev/mqueue
mount -t devpts -o newinstance,ptmxmode=666 devpts /run/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /run/dev/shm
mount -t mqueue mqueue /run/dev/mqueue
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
mount --rbind /run/dev /dev

# Credentials are mounted in a namespace of their own, and come to the service by propagation.
mount --make-rshared /

# The machine's own units and those of packages, and no other: the host's would set its clock,
# devices and kernel.
units=/run/machine/units
mkdir -p "$units" /etc/systemd/journald.conf.d
for target in sysinit basic multi-user network-online shutdown umount; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$units/$target.target"
done
printf 'Requires=systemd-journald.socket systemd-journald.service\n' >>"$units/sysinit.target"
printf 'Requires=sysinit.target\nAfter=sysinit.target\n' >>"$units/basic.target"
printf 'Requires=basic.target\nAfter=basic.target\n' >>"$units/multi-user.target"
cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket "$units"
mount -t tmpfs -o mode=755 tmpfs /usr/lib/systemd/system
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n' >/etc/systemd/journald.conf.d/machine.conf

# As in a container: a systemd that is told so leaves the kernel's settings and the host's devices alone.
exec env -i container=test PATH="$PATH" SYSTEMD_UNIT_PATH="/etc/systemd/system:/run/systemd/system:$units:/usr/lib/systemd/system" \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=0
