# Our forwarder on four NICs in a guest whose time is counted in instructions: what it takes without traffic, and how soon it
# lets go of a NIC that is unbound or unplugged while frames pass through both pairs. No load of the host's is in these numbers.
. /lib/guest.sh

log=/tmp/out.json
err=/tmp/err.txt
rounds=10
# shellcheck disable=SC2086
set -- $NICS
victim=$3
device=/sys/bus/pci/devices/$victim

# ran: nanoseconds of processor time of all threads of the forwarder so far.
ran() {
    cat /proc/$pid/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# neighbours: frames that the first port has sent.
neighbours() {
    grep '"type":"stats"' $log | tail -n 1 | grep -o '"tx_packets":[0-9]*' | head -n 1 | cut -d: -f2
}

# forwarding NUMBER: the first port has sent more than that.
forwarding() {
    [ "$(neighbours)" -gt "$1" ]
}

# take HOW: the device goes away: unbound (1), then the host had to wait for it for so many milliseconds, or unplugged (0).
take() {
    if [ "$1" = 1 ]; then
        unbind_vfio "$victim"
    else
        ask take
        wait_for 60 absent
    fi
}

# give HOW: it comes back.
give() {
    if [ "$1" = 0 ]; then
        ask give
        wait_for 60 [ -e "$device/driver" ] || return 1
    fi
    bind "$victim"
}

bind_all
: >$log
/payload/l2fwd --ports "${ports#,}" --no-mac-update --json --replug >$log 2>$err &
pid=$!
started_or_exit $log $err
say READY started

pause 2
before=$(ran)
pause 10
share=$((($(ran) - before) / 1000000))
# Hundredths of a percent of ten seconds.
if [ $share -lt 200 ]; then
    test_ok idle-share "$share hundredths of a percent of a core"
else
    test_fail idle-share "$share hundredths of a percent of a core: the limit is 200"
fi

ask neighbours
round=1
while [ $round -le $rounds ]; do
    ask traffic
    usleep 300000
    take $((round % 2))
    check "round-$round-neighbours" wait_for 60 forwarding "$(neighbours)" || break
    check "round-$round-told" wait_for 60 arrived unplug-request $round || break
    check "round-$round-given" give $((round % 2)) || break
    check "round-$round-back" wait_for 60 arrived back $round || break
    round=$((round + 1))
done
ask enough

grep '"event":"unplug-request"' $log | sed 's/.*"milliseconds":\([0-9.]*\).*/\1/' >/tmp/closed
within closed-in-time /tmp/closed 100
within host-waited /tmp/waited 100
kill -TERM $pid
wait $pid
result=$?
{ echo "--- l2fwd ended with $result; its output:"; tail -n 3 $log; grep event $log; echo "--- its messages:"; tail -n 50 $err; } >/dev/ttyS0
check exit-code [ $result = 0 ]
check huge-pages-free wait_for 30 huge_pages_all_free
check no-dma-faults no_dma_faults
say DONE
