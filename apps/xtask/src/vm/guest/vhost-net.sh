# l2fwd between two taps that the kernel's vhost-net serves; the kernel talks to itself through them.
. /lib/guest.sh

out=/tmp/out.json
err=/tmp/err.txt
port() {
    echo "virtio-user:/dev/vhost-net,tap=$1$OPTIONS"
}
# The driver is missing first: it is said what to load.
/payload/l2fwd --ports "$(port near0),$(port away0)" --huge none >$out 2>$err
result=$?
if [ -e /dev/vhost-net ]; then
    test_ok lacks-driver "the kernel has it built in"
elif [ $result = 3 ] && grep -q 'modprobe vhost_net' $err; then
    test_ok lacks-driver "$(tail -n 1 $err)"
else
    test_fail lacks-driver "$result: $(tail -n 3 $err | tr '\n' ' ')"
fi
check module-vhost modprobe vhost_net
check module-tun modprobe tun
check nodes wait_for 30 [ -e /dev/vhost-net -a -e /dev/net/tun ]
: >$out
# shellcheck disable=SC2086
/payload/l2fwd $ARGUMENTS --no-mac-update --json --huge none --ports "$(port near0),$(port away0)" >$out 2>$err &
pid=$!
if ! check started l2fwd_started $out; then
    cat $out $err >/dev/ttyS0
    say "SUMMARY -"
    say DONE
    exit 1
fi
talk near0 away0
# One is removed: the port makes it again.
check removed ip link del near0
check made-again wait_for 30 ip addr add 10.7.0.1/24 dev near0
ip link set near0 up
check reachable-again wait_for 60 ping -q -c 1 -W 1 10.7.0.2
check ping-again pings 500 1472
kill -TERM $pid
wait $pid
check exit-code [ $? = 0 ]
check taps-gone [ ! -e /sys/class/net/near0 ]
{ echo "--- l2fwd's output:"; tail -n 20 $out; echo "--- its messages:"; tail -n 50 $err; } >/dev/ttyS0
say "SUMMARY $(grep '"type":"summary"' $out | tail -n 1)"
say DONE
