# l2fwd between two interfaces on one hub through AF_XDP, with zero copy and with copies in turn: frames a second of the guest's time.
. /lib/guest.sh

log=/tmp/out.json
err=/tmp/err.txt

interfaces_up
say UP

# measure MODE
measure() {
    local ports= nic before
    for nic in $nics; do
        ports=$ports,af_xdp:$nic,mode=$1
    done
    : >$log
    /payload/l2fwd --json --huge none --no-mac-update --ports "${ports#,}" >$log 2>$err &
    pid=$!
    if ! check "$1-started" l2fwd_started $log; then
        cat $log $err >/dev/ttyS0
        return 1
    fi
    ask traffic
    # The window under way and the first whole one are discarded.
    before=$(grep -c '"type":"stats"' $log)
    pause $((WINDOWS + 3))
    kill -TERM $pid
    wait $pid
    check "$1-exit-code" [ $? = 0 ]
    { tail -n 1 $log; cat $err; } >/dev/ttyS0
    grep '"type":"stats"' $log | tail -n +$((before + 3)) | head -n "$WINDOWS" |
        sed 's/.*"rate":\([0-9.]*\).*/\1/' >/tmp/rates
    sed "s/^/RATE $1 /" /tmp/rates >&3
}

turn=0
while [ $turn -lt "$TURNS" ]; do
    measure zerocopy || break
    measure copy || break
    turn=$((turn + 1))
done
check no-dma-faults no_dma_faults
say DONE
