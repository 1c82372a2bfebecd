#!/bin/sh
# bind BDF [DRIVER]: moves a PCI device to a driver (vfio-pci unless told); DRIVER "none" only unbinds it.
bdf=${1:?usage: bind BDF [DRIVER]}
driver=${2:-vfio-pci}
dev=/sys/bus/pci/devices/$bdf

[ -d "$dev" ] || { echo "no PCI device $bdf; there are: $(ls /sys/bus/pci/devices | tr '\n' ' ')"; exit 1; }
[ ! -e "$dev/driver" ] || echo "$bdf" >"$dev/driver/unbind" || exit 1
[ "$driver" != none ] || exit 0
echo "$driver" >"$dev/driver_override" || exit 1
echo "$bdf" >/sys/bus/pci/drivers_probe || exit 1
actual=$(basename "$(readlink "$dev/driver")")
[ "$actual" = "$driver" ] || { echo "$bdf is bound to '$actual' instead of $driver"; exit 1; }
echo "$bdf bound to $driver"
