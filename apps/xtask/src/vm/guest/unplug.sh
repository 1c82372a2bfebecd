# Our forwarder on four NICs; the third is taken away ten times ($HOW) under traffic and given back each time.
. /lib/guest.sh

# Not "out": check has one of its own, which functions called by it see.
log=/tmp/out.json
err=/tmp/err.txt
rounds=10
# shellcheck disable=SC2086
set -- $NICS
victim=$3
device=/sys/bus/pci/devices/$victim
case $HOW in
aer) event=error ;;
*) event=unplug-request ;;
esac

# word DEVICE OFFSET: a word of its configuration space, as a number.
word() {
    dd if="$1/config" bs=1 skip=$(($2)) count=2 2>/dev/null | od -An -tu2 | tr -d ' '
}

# set_bits DEVICE OFFSET BITS: sets bits of such a word.
set_bits() {
    local value=$(($(word "$1" "$2") | $3))
    # shellcheck disable=SC2059
    printf "\\$(printf %o $((value & 255)))\\$(printf %o $((value >> 8)))" |
        dd of="$1/config" bs=1 seek=$(($2)) conv=notrunc 2>/dev/null
}

# report_errors: what a server's firmware does, and this one's leaves out: SERR# enable (COMMAND bit 8) of the port, and of the
# bridge in it (BRIDGE_CONTROL bit 1). QEMU passes no error on without them.
report_errors() {
    local port=$device/..
    set_bits "$port" 0x04 0x100
    set_bits "$port" 0x3e 0x02
}

# errors_told: the kernel has told of the injected errors and of no others on the bus.
errors_told() {
    local port others
    port=$(basename "$(readlink -f "$device/..")")
    others=$(dmesg | grep -E 'AER|PCIe Bus Error' | grep -v 'AER: enabled' | grep -v "pcieport $port: AER: " |
        grep -v -E "_OSC|pcieport $port: PCIe Bus Error: severity=Uncorrect(ed|able) \(Non-Fatal\)")
    [ -z "$others" ] || { echo "$others"; return 1; }
    dmesg | grep -E 'AER: device recovery' | tail -n 1
    [ "$(dmesg | grep -c "pcieport $port: PCIe Bus Error")" = $rounds ]
}

# take: the device goes away; prints the milliseconds that the host had to wait for it, where it waits.
take() {
    case $HOW in
    unbind) unbind_vfio "$victim" ;;
    device_del)
        ask take
        wait_for 60 absent
        ;;
    aer)
        report_errors
        ask take
        ;;
    esac
}

# give: it comes back.
give() {
    case $HOW in
    unbind) bind "$victim" ;;
    device_del)
        ask give
        wait_for 60 [ -e "$device/driver" ] && bind "$victim"
        ;;
    esac
}

# explain: what the kernel has seen of errors on the bus, to the console.
explain() {
    {
        dmesg | grep -i -E 'aer|_osc'
        cat "$device"/aer_* /sys/bus/pci/devices/*/aer_rootport_total_err_* | grep -v ' 0$'
        for file in /sys/bus/pci/devices/0000:00:0[1-9].0/config "$device/config"; do
            echo "$file"
            hexdump -C "$file"
        done
    } >/dev/ttyS0 2>&1
}

bind_all
: >$log
/payload/l2fwd --ports "${ports#,}" --json --replug >$log 2>$err &
pid=$!
started_or_exit $log $err
say READY started

round=1
while [ $round -le $rounds ]; do
    ask traffic
    usleep 300000
    take
    check "round-$round-told" wait_for 60 arrived $event $round || { explain; break; }
    check "round-$round-given" give || break
    check "round-$round-back" wait_for 60 arrived back $round || break
    check "round-$round-lives" kill -0 $pid || break
    round=$((round + 1))
done
ask enough

grep "\"event\":\"$event\"" $log | sed 's/.*"milliseconds":\([0-9.]*\).*/\1/' >/tmp/closed
# Ten seconds: after that a kernel asks again. A loaded host is measured here; counted.sh holds the limits.
within closed-in-time /tmp/closed 10000
[ $HOW != aer ] || check only-these-errors errors_told || dmesg | grep -E 'AER|PCIe Bus' >/dev/ttyS0
[ ! -e /tmp/waited ] || within host-waited /tmp/waited 10000
if grep '"type":"event"' $log | grep -qv '"error":null'; then
    test_fail no-errors "$(grep '"type":"event"' $log | grep -v '"error":null' | tail -n 1)"
else
    test_ok no-errors
fi
# "enough" is answered at once; the host says when the last frames have passed.
hear >/dev/null
kill -TERM $pid
wait $pid
result=$?
{ echo "--- l2fwd ended with $result; its output:"; tail -n 3 $log; grep event $log; echo "--- its messages:"; tail -n 50 $err; } >/dev/ttyS0
check exit-code [ $result = 0 ]
check huge-pages-free wait_for 30 huge_pages_all_free
check no-dma-faults no_dma_faults
rebind_all
say DONE
