# Two NICs whose device is l2fwd on the host, joined there: the second one is put into a network of its own, and the
# kernel's driver talks to itself through both. The machine is rebooted once, when the host says so.
. /lib/guest.sh

# netdev MAC: the interface with this address.
netdev() {
    local file
    file=$(grep -l "$1" /sys/class/net/*/address) || return 1
    basename "$(dirname "$file")"
}

# Built into some kernels.
modprobe virtio_pci 2>/dev/null
wait_for 60 netdev 52:54:00:00:00:01
wait_for 60 netdev 52:54:00:00:00:02
near=$(netdev 52:54:00:00:00:01)
away=$(netdev 52:54:00:00:00:02)
unshare -n sleep 100000 &
far=$!
wait_for 60 eval '[ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
there() {
    nsenter -t "$far" -n "$@"
}

check moved ip link set "$away" netns "$far"
ip addr add 10.7.0.1/24 dev "$near"
ip link set "$near" up
there ip addr add 10.7.0.2/24 dev "$away"
there ip link set "$away" up
check reachable wait_for 60 ping -q -c 1 -W 1 10.7.0.2

# Every one answered: 2,500 each way; small, of one frame, and of two fragments.
pings() {
    ping -q -A -c "$1" -s "$2" -W 60 10.7.0.2 >/tmp/pings
    grep -q "^$1 packets transmitted, $1 packets received" /tmp/pings || { cat /tmp/pings; return 1; }
    grep "packets received" /tmp/pings
}
check ping-small pings 1500 18
check ping-full pings 500 1472
check ping-fragments pings 250 2900

# A stream each way, whole: 10,000 frames of the MTU.
dd if=/dev/urandom of=/tmp/sent bs=1448 count=10000 2>/dev/null
there httpd -p 7000 -h /tmp
httpd -p 7001 -h /tmp
stream_here() {
    wget -q -O /tmp/received http://10.7.0.2:7000/sent && cmp /tmp/sent /tmp/received
}
stream_there() {
    there wget -q -O /tmp/received http://10.7.0.1:7001/sent && cmp /tmp/sent /tmp/received
}
check stream-here stream_here
check stream-there stream_there
say "FRAMES $(cat "/sys/class/net/$near/statistics/tx_packets") $(cat "/sys/class/net/$near/statistics/rx_packets")"
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
