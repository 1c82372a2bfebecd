# A NIC whose device is l2fwd on the host; iperf3's server is beyond it, at 10.7.0.2. The machine is rebooted once, when the host
# says so.
. /lib/guest.sh

# Built into some kernels.
modprobe virtio_pci 2>/dev/null
check interface wait_for 60 netdev 52:54:00:00:00:01
near=$(netdev 52:54:00:00:00:01)
ip addr add 10.7.0.1/24 dev "$near"
ip link set "$near" up
check reachable wait_for 60 ping -q -c 1 -W 1 10.7.0.2
# iperf OPTIONS: one run from here to the host, as JSON on one line.
iperf() {
    /payload/ld-linux-x86-64.so.2 --library-path /payload /payload/iperf3 -c 10.7.0.2 -n "$BYTES" -i 0 -J "$@" 2>&1 | tr -d '\n\t'
}
say "THERE $(iperf)"
say "HERE $(iperf -R)"
case $(hear) in
reboot)
    say REBOOTS
    reboot -f
    ;;
stop)
    test_ok told
    say DONE
    ;;
esac
