# Our forwarder through one bus and the other in turn ($ORDER), $WINDOWS seconds each, in one machine.
. /lib/guest.sh

ports=
for bdf in $NICS; do
    ports=$ports,$bdf
done

# forward NUMBER BUS: frames go round once the host has sent some; its accounts of each second go to the host.
forward() {
    local out=/tmp/out.json err=/tmp/err.txt before
    BUS=$2
    for bdf in $NICS; do
        check "$1-$2-$bdf-bind" take "$bdf"
    done
    : >$out
    /payload/l2fwd --ports "${ports#,}" --bus "$2" --no-mac-update --json >$out 2>$err &
    pid=$!
    if ! check "$1-$2-started" l2fwd_started $out; then
        cat $out $err >/dev/ttyS0
        say READY failed
        exit 1
    fi
    say READY "$2"
    hear >/dev/null
    # The window under way and the first whole one are discarded.
    before=$(grep -c '"type":"stats"' $out)
    pause $((WINDOWS + 3))
    kill -TERM $pid
    wait $pid
    check "$1-$2-exit-code" [ $? = 0 ]
    grep '"type":"stats"' $out | tail -n +$((before + 2)) | head -n $((WINDOWS + 1)) >/tmp/windows
    grep '"type":"summary"' $out >>/tmp/windows
    report /tmp/windows
}

number=0
for bus in $ORDER; do
    number=$((number + 1))
    forward $number "$bus"
done
check no-dma-faults no_dma_faults
