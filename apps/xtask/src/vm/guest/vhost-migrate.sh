# A NIC whose device is l2fwd on the host; a file is at 10.7.0.2, beyond it. It is fetched over and over, while the machine is
# moved, until the host says so.
. /lib/guest.sh

near_up
good=0
bad=0
# Memory that moves while nobody writes to it, and the first copy, which the other l2fwd wrote.
dd if=/dev/urandom of=/tmp/still bs=1M count=32 2>/dev/null
still=$(sha256sum </tmp/still)
copies() {
    to=/tmp/first
    while [ ! -e /tmp/stop ]; do
        wget -q -O $to http://10.7.0.2:7000/file
        got=$(sha256sum <$to)
        if [ "${got%% *}" = "$SUM" ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
        say "COPY $good $bad"
        to=/tmp/latest
    done
    say "COPIES $good $bad"
}
copies &
hear >/dev/null
touch /tmp/stop
wait
# Memory that was left behind would show here: what l2fwd wrote into it is not what was sent.
check checksums [ "$(awk '/^Tcp:/ { wrong = $NF } END { print wrong }' /proc/net/snmp)" = 0 ]
first=$(sha256sum </tmp/first)
check first-copy [ "${first%% *}" = "$SUM" ]
check still [ "$(sha256sum </tmp/still)" = "$still" ]
check pings ping -q -c 20 -s 1400 -W 5 10.7.0.2
say DONE
