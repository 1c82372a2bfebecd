# A NIC whose device is l2fwd on the host; a file is at 10.7.0.2, beyond it. It is fetched over and over, while the machine is
# moved, until the host says so.
. /lib/guest.sh

# Built into some kernels.
modprobe virtio_pci 2>/dev/null
check interface wait_for 60 netdev 52:54:00:00:00:01
near=$(netdev 52:54:00:00:00:01)
ip addr add 10.7.0.1/24 dev "$near"
ip link set "$near" up
check reachable wait_for 60 ping -q -c 1 -W 1 10.7.0.2
good=0
bad=0
copies() {
    while [ ! -e /tmp/stop ]; do
        got=$(wget -q -O - http://10.7.0.2:7000/file | sha256sum)
        if [ "${got%% *}" = "$SUM" ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
        say "COPY $good $bad"
    done
    say "COPIES $good $bad"
}
copies &
hear >/dev/null
touch /tmp/stop
wait
# Memory that was left behind would show here: what l2fwd wrote into it is not what was sent.
check checksums [ "$(awk '/^Tcp:/ { wrong = $NF } END { print wrong }' /proc/net/snmp)" = 0 ]
check pings ping -q -c 20 -s 1400 -W 5 10.7.0.2
say DONE
