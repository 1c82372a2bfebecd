# l2fwd on interfaces of the guest's own drivers, through AF_XDP, as often and in the ways that the host says.
. /lib/guest.sh

# Not "out": check has one of its own, which functions called by it see.
log=/tmp/out.json
err=/tmp/err.txt
code=/tmp/code
pid=

# attached NIC: the number of the XDP program on it, if there is one.
attached() {
    /payload/barline ports --json 2>/dev/null | grep "\"af_xdp:$1\"" | sed -n 's/.*XDP program (number \([0-9]*\).*/\1/p'
}

# nothing_left: no program on any interface, and nobody's huge pages.
nothing_left() {
    local nic id
    for nic in $nics; do
        [ -e "/sys/class/net/$nic" ] || continue
        id=$(attached "$nic")
        [ -z "$id" ] || { echo "program $id is on $nic"; return 1; }
    done
    huge_pages_all_free
}

carrier() {
    grep -q 1 "/sys/class/net/$1/carrier"
}

# start ARGUMENTS: l2fwd with these, where @1 stands for the first interface and @2 for the second.
start() {
    local words=$1 number=1 nic
    for nic in $nics; do
        words=$(echo "$words" | sed "s/@$number/$nic/g")
        number=$((number + 1))
    done
    : >$log
    rm -f $code
    # shellcheck disable=SC2086
    (
        /payload/l2fwd --json $words >$log 2>$err &
        echo $! >/tmp/pid
        wait $!
        echo $? >$code
    ) &
    if ! l2fwd_started $log $code >/tmp/why; then
        tail -n 50 $err >/dev/ttyS0
        say "READY failed $(cat $code) $(tail -n 1 $err)"
        return
    fi
    pid=$(cat /tmp/pid)
    for nic in $nics; do
        check "attached-to-$nic" wait_for 60 eval "attached $nic | grep ."
        wait_for 60 carrier "$nic"
    done
    say "READY started $(grep '"type":"started"' $log | head -n 1)"
}

# stop SIGNAL: ends it; the exit code, and what it said last.
stop() {
    kill -"$1" "$pid"
    if ! wait_for 120 [ -e $code ]; then
        test_fail stop "still there 120 s after SIG$1"
        kill -KILL "$pid"
        wait_for 60 [ -e $code ]
    fi
    { echo "--- l2fwd ended with $(cat $code); its output:"; tail -n 5 $log; echo "--- its messages:"; tail -n 50 $err; } >/dev/ttyS0
    check "nothing-left-after-$1" wait_for 60 nothing_left || nothing_left >/dev/ttyS0
    say "STOPPED $(cat $code) $(grep '"type":"summary"' $log | tail -n 1)"
}

# bounce: the first interface is set down and up again.
bounce() {
    local nic=${nics%% *}
    check down ip link set "$nic" down
    usleep 500000
    check up ip link set "$nic" up
    check carrier-again wait_for 60 carrier "$nic"
    say BOUNCED
}

# lost: the second interface goes away with its device.
lost() {
    local nic=${nics##* }
    vanished() {
        [ ! -e "/sys/class/net/$nic" ]
    }
    ask take
    check vanished wait_for 60 vanished
    check told wait_for 60 arrived gone 1
    check lives kill -0 "$pid"
    say LOST
}

interfaces_up
zero_copy() {
    [ "$(/payload/barline ports --json | grep '"af_xdp:eth' | grep -c '"zero_copy":true')" = 2 ]
}
check listed-with-zero-copy zero_copy
say "UP $nics"
while true; do
    words=$(hear)
    case $words in
    start*) start "${words#start }" ;;
    stop*) stop "${words#stop }" ;;
    bounce) bounce ;;
    mtu*)
        for nic in $nics; do
            check "$nic-$words" ip link set "$nic" mtu "${words#mtu }"
        done
        ;;
    lost) lost ;;
    *) break ;;
    esac
done
check no-dma-faults no_dma_faults
say DONE
