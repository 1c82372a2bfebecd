# The kernel's own drivers and bridge forward between the NICs: it proves the machine and the wire.
. /lib/guest.sh

carrier() {
    grep -q 1 "/sys/class/net/$1/carrier"
}

check bridge modprobe bridge
check bridge-made brctl addbr br0
brctl setfd br0 0
for bdf in $NICS; do
    wait_for 60 nic_netdev "$bdf"
    dev=$(nic_netdev "$bdf")
    ip link set "$dev" up promisc on
    check "$bdf-carrier" wait_for 60 carrier "$dev"
    check "$bdf-port" brctl addif br0 "$dev"
done
ip link set br0 up
for bdf in $NICS; do
    # 3: the port forwards.
    check "$bdf-forwards" wait_for 60 grep -q 3 "/sys/class/net/$(nic_netdev "$bdf")/brport/state"
done
say READY
check told [ "$(hear)" = stop ]
check no-dma-faults no_dma_faults
say DONE
