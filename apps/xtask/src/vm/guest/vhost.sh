# Two NICs whose device is l2fwd on the host, joined there: the second one is put into a network of its own, and the
# kernel's driver talks to itself through both. The machine is rebooted once, when the host says so.
. /lib/guest.sh

# Built into some kernels.
modprobe virtio_pci 2>/dev/null
wait_for 60 netdev 52:54:00:00:00:01
wait_for 60 netdev 52:54:00:00:00:02
near=$(netdev 52:54:00:00:00:01)
away=$(netdev 52:54:00:00:00:02)
talk "$near" "$away"
say "FRAMES $(cat "/sys/class/net/$near/statistics/tx_packets") $(cat "/sys/class/net/$near/statistics/rx_packets")"
again_or_stop
