#!/bin/busybox sh
# Process 1 of the guest: mounts what tests need, runs /scenario.sh and hands its exit code to QEMU.

/bin/busybox mkdir -p /bin /sbin /dev /proc /sys /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/ TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /dev/pts /dev/hugepages
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t hugetlbfs hugetlbfs /dev/hugepages
ip link set lo up
# Programs are the host's, which look for their libraries where it has them.
mkdir -p /lib64
ln -s /payload/ld-linux-x86-64.so.2 /lib64/
ln -s /payload /lib/x86_64-linux-gnu

. /lib/guest.sh

# The second serial port is the channel to the host: the kernel prints on the first one only, so no
# message can land in the middle of a line. It stays open on 3, or its settings would be lost.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo

modprobe -a $MODULES || test_fail modules "modprobe $MODULES failed"

# A scenario runs in a shell of its own: a mistake in it ends that shell, not process 1.
sh -u /scenario.sh
guest_exit $?
