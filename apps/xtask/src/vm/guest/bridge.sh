# The kernel's own drivers and bridge forward between the NICs: it proves the machine and the wire.
. /lib/guest.sh

carrier() {
    grep -q 1 "/sys/class/net/$1/carrier"
}

tracing=/sys/kernel/tracing

# lost: what the kernel threw away and where, and its counters that are not zero, for a person to read when frames are missing.
lost() {
    grep kfree_skb: $tracing/trace | sed 's/.*protocol/protocol/' | sort | uniq -c
    # Some kernels print the place as a number.
    for place in $(sed -n 's/.*kfree_skb:.*location=0*\(ffff[0-9a-f]*\) .*/\1/p' $tracing/trace | sort -u); do
        sort /proc/kallsyms | awk -v place="$place" '$1 > place { exit } { name = $3 } END { print place, "is in", name }'
    done
    grep -v '^0$' /sys/class/net/*/statistics/* | sed 's|/sys/class/net/||'
    cat /proc/net/softnet_stat
    tc qdisc show
}

mount -t tracefs tracefs $tracing
echo 0 >$tracing/options/hash-ptr
echo 1 >$tracing/events/skb/kfree_skb/enable
# Debian's default queue, fq_codel, throws away what has waited for 100 ms above its target of 5 ms, as frames do in an emulated
# machine on a busy host; on its way out of a NIC whose byte limit (BQL) is still small, at the beginning. This one keeps 1,000.
echo pfifo_fast >/proc/sys/net/core/default_qdisc
check bridge modprobe bridge
check bridge-made brctl addbr br0
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
lost >/dev/ttyS0
check no-dma-faults no_dma_faults
say DONE
