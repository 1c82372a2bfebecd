#!/bin/sh
# Rates over a veth pair: l2fwd's af_xdp port beside testpmd's net_af_xdp, interleaved, the same receiver (the kernel at the
# other end of the pair, which counts and drops). Root; l2fwd built with --release; Debian's dpdk.
#   benches/veth.sh [ROUNDS [SECONDS]]        (L2FWD: another build of it)
set -eu
rounds=${1:-5} seconds=${2:-3} space=barline-veth-$$
cd "$(dirname "$0")/.."
log=$(mktemp -d)
trap 'ip netns del $space 2>/dev/null || true; rm -rf "$log"' EXIT
ip netns add "$space"
run() { ip netns exec "$space" "$@"; }
run sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1

# A fresh pair for each run: nothing is left of the one before.
pair() {
    run ip link del near 2>/dev/null || true
    run ip link add near numrxqueues 1 numtxqueues 1 type veth peer name far numrxqueues 1 numtxqueues 1
    run ip link set near up
    run ip link set far up
}
count() { run cat "/sys/class/net/$1/statistics/$2"; }

# Nanoseconds that all threads of a process have run, what the kernel did for them included.
ran() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# measure NAME INTERFACE COUNTER COMMAND...: Mpps while the command runs, and millions a second of processor time, after a
# warm-up. On a machine with other work only the second says something.
measure() {
    name=$1 interface=$2 counter=$3
    shift 3
    run timeout -s INT $((seconds + 8)) "$@" >"$log/out" 2>&1 &
    sleep 3
    pid=$(pgrep -P "$(pgrep -P $!)") # of the shell: timeout, of that: the program
    a=$(count "$interface" "$counter") s=$(date +%s%N) c=$(ran "$pid")
    sleep "$seconds"
    b=$(count "$interface" "$counter") e=$(date +%s%N) d=$(ran "$pid")
    kill -INT "$pid"
    wait $! || true
    echo "$name $(echo "scale=3; ($b - $a) * 1000 / ($e - $s); ($b - $a) * 1000 / ($d - $c)" | bc | tr '\n' ' ')" >>"$log/rates"
    [ "$a" != "$b" ] || tail -5 "$log/out"
}

# On the core that testpmd takes; the sender on the other one.
ours() { echo "${L2FWD:-target/release/l2fwd}" --busy --burst 32 --cores "${2:-1}" --ports "$1" --json; }
# testpmd: two cores, the first only waits.
theirs() {
    mode=$1
    shift
    echo dpdk-testpmd --no-pci --no-huge -m 512 -l 0,1 --no-telemetry "$@" -- --forward-mode="$mode" --burst=32 --auto-start --total-num-mbufs=16384 --no-mlockall --stats-period 100
}

# A second pair, and frames that come to the first one as fast as they can.
loaded() {
    pair
    run ip link del near2 2>/dev/null || true
    run ip link add near2 numrxqueues 1 numtxqueues 1 type veth peer name far2 numrxqueues 1 numtxqueues 1
    run ip link set near2 up
    run ip link set far2 up
    run timeout -s INT $((seconds + 6)) $(ours null:size=64,af_xdp:far 0) >/dev/null 2>&1 &
    sender=$!
}

for round in $(seq "$rounds"); do
    pair
    measure "ours tx" far rx_packets $(ours null:size=64,af_xdp:near)
    pair
    measure "theirs tx" far rx_packets $(theirs txonly --vdev net_af_xdp0,iface=near)
    loaded
    measure "ours forward" far2 rx_packets $(ours af_xdp:near,af_xdp:near2)
    wait $sender || true
    loaded
    measure "theirs forward" far2 rx_packets $(theirs io --vdev net_af_xdp0,iface=near --vdev net_af_xdp1,iface=near2)
    wait $sender || true
done
for column in 3 4; do
    sort -k1,2 -k"$column","$column"n "$log/rates" | awk -v column=$column '{
        key = $1 " " $2
        if (key != last) { if (n) show(); last = key; n = 0 }
        v[n++] = $column
    } END { if (n) show() }
    function show() {
        what = column == 3 ? "Mpps" : "million packets a second of processor time"
        printf "%s: median %.3f, %.3f to %.3f %s, %d runs\n", last, v[int(n / 2)], v[0], v[n - 1], what, n
    }'
done
