#!/bin/sh
# Rates over a veth pair: l2fwd's af_xdp and af_packet ports beside testpmd's net_af_xdp and net_af_packet and a plain sendmmsg
# sender, in turns, the same receiver (the kernel at the other end of the pair, which counts and drops). Root; l2fwd built with
# --release; Debian's dpdk; cc.
#   benches/veth.sh [ROUNDS [SECONDS [CASE...]]]        (L2FWD: another build of it; OPTIONS: of the af_* port, `,busy-poll=64`)
# Cases: xdp-tx xdp-forward packet-tx packet-rx packet-forward packet-twice; all of them where none is named. A rate has
# marks: near and far (the processors), all (the sender was the limit), starved (other work had the processor).
set -eu
rounds=${1:-5} seconds=${2:-2} space=barline-veth-$$
[ $# -lt 2 ] || shift; [ $# -lt 1 ] || shift
cases=${*:-xdp-tx xdp-forward packet-tx packet-rx packet-forward packet-twice}
cd "$(dirname "$0")/.."
log=$(mktemp -d)
trap 'kill -INT ${job:-} ${sender:-} 2>/dev/null || true; ip netns del $space 2>/dev/null || true; rm -rf "$log"' EXIT
trap 'exit 1' INT TERM # or the line above is not run
ip netns add "$space"
cc -O2 -o "$log/sendmmsg" benches/peer/sendmmsg.c
cc -O2 -pthread -o "$log/hops" benches/peer/hops.c
run() { ip netns exec "$space" "$@"; }
run sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1

# Fresh pairs for each run: nothing is left of the one before.
pairs() {
    for end in "" 2 3; do
        run ip link del "near$end" 2>/dev/null || true
        run ip link add "near$end" numrxqueues 1 numtxqueues 1 type veth peer name "far$end" numrxqueues 1 numtxqueues 1
        run ip link set "near$end" up
        run ip link set "far$end" up
    done
}
count() { run cat "/sys/class/net/$1/statistics/$2"; }

# Nanoseconds that all threads of a process have run, what the kernel did for them included.
ran() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# begin COMMAND...: in the background, ended after a minute and a half whatever happens. $! is then the process of timeout, which
# hands signals on: a program that is left behind has the processor of the ones after it.
begin() { exec ip netns exec "$space" timeout -s INT $((seconds + 90)) "$@"; }

# start COMMAND...: the program that is measured: its number is in $pid.
start() {
    begin "$@" >"$log/out" 2>&1 &
    job=$! pid=
    while [ -z "$pid" ] && kill -0 $job 2>/dev/null; do
        pid=$(pgrep -P $job || true)
    done
}

# ready NAME TEST...: waits until it holds, by the clock: on a machine with other work a program may take long to begin. Where it
# never does there is no rate, and that is said.
ready() {
    name=$1 end=$(($(date +%s) + 60))
    shift
    until "$@"; do
        if [ "$(date +%s)" -ge "$end" ] || ! kill -0 $job 2>/dev/null; then
            echo "$name: NOT READY, no rate: $(tail -n 3 "$log/out")" >&2
            return 1
        fi
        sleep 0.1
    done
    sleep 0.3
}
has_passed() { [ "$(count "$1" "$2")" -ge 20000 ]; }
says() { grep -q "$1" "$log/out"; }

# finish: ends the program.
finish() {
    kill -INT $job 2>/dev/null || true
    wait $job || true
}

# note NAME PACKETS NANOSECONDS OWN: what was measured. A program of one thread that polls is always ready to run: one that had its
# processor for less than nine tenths of the time was kept from it by other work, which is marked.
note() {
    name=$1 starved=
    [ $(($4 * 10)) -ge $(($3 * 9)) ] || starved=,starved
    echo "$name$starved $(echo "scale=3; $2 * 1000 / $3; $2 * 1000 / $4" | bc | tr '\n' ' ')" >>"$log/rates"
}

# measure NAME INTERFACE COUNTER COMMAND...: Mpps while the command runs, and millions a second of processor time, after a
# warm-up. On a machine with other work only the second says something.
measure() {
    what=$1 interface=$2 counter=$3
    shift 3
    start "$@"
    noted=
    if ready "$what" has_passed "$interface" "$counter"; then
        o=$(count far tx_packets) a=$(count "$interface" "$counter") s=$(date +%s%N) c=$(ran "$pid")
        sleep "$seconds"
        b=$(count "$interface" "$counter") e=$(date +%s%N) d=$(ran "$pid") p=$(count far tx_packets)
        noted=yes
        # Whoever forwards all that is sent could do more: the sender is what was measured.
        [ $((p - o)) -eq 0 ] || [ $(((b - a) * 100)) -lt $(((p - o) * 97)) ] || what=$what,all
        note "$what" $((b - a)) $((e - s)) $((d - c))
    fi
    finish
}

# received NAME COMMAND...: the same of frames received, as the program itself says every second: the mean of the last ones.
received() {
    what=$1
    shift
    start "$@"
    noted=
    if ready "$what" says '"type":"stats"\|Rx-pps'; then
        s=$(date +%s%N) c=$(ran "$pid")
        sleep $((seconds + 1))
        e=$(date +%s%N) d=$(ran "$pid")
        # Ours says how many so far and after how many seconds, testpmd how many a second.
        pps=$({ sed -n 's/.*"type":"stats","seconds":\([0-9.]*\),"received":\([0-9]*\).*/\2 \1/p' "$log/out" |
            awk 'NR > 1 { print ($1 - n) / ($2 - t) } { n = $1; t = $2 }'
            sed -n 's/.*Rx-pps: *\([0-9]*\).*/\1/p' "$log/out"; } | tail -n "$seconds" | awk '{ n += $1 } END { printf "%.0f", n / NR }')
        noted=yes
        note "$what" $((pps * ((e - s) / 1000000) / 1000)) $((e - s)) $((d - c))
    fi
    finish
}

# On the core that testpmd takes; the sender on the other one.
ours() { echo "${L2FWD:-target/release/l2fwd}" --busy --burst 32 --cores "${2:-1}" --ports "$1" --json; }
# testpmd: two cores, the first only waits.
theirs() {
    mode=$1
    shift
    echo dpdk-testpmd --no-pci --no-huge -m 512 -l 0,1 --no-telemetry "$@" -- --forward-mode="$mode" --burst=32 --auto-start --total-num-mbufs=16384 --no-mlockall --stats-period 100
}

# Frames that come to the first pair as fast as they can. Where two processors work together it counts how far apart they are,
# which changes on shared machines every few seconds: the rate gets a mark, and is compared with its like. 60 ns a hop of
# a cache line are some 150 cycles.
loaded() {
    pairs
    before=$("$log/hops")
    begin taskset -c 0 "$@" >/dev/null 2>&1 &
    sender=$!
}
unload() {
    kill $sender 2>/dev/null || true
    wait $sender 2>/dev/null || true
    [ -n "$noted" ] || return 0
    after=$("$log/hops") mark=mixed
    if [ "$before" -lt 60 ] && [ "$after" -lt 60 ]; then mark=near; fi
    if [ "$before" -ge 60 ] && [ "$after" -ge 60 ]; then mark=far; fi
    sed -i "\$s/^\([^ ]* [^ ]*\)/\1,$mark/" "$log/rates"
}

xdp() { echo "--vdev net_af_xdp$2,iface=$1"; }
packet() { echo "--vdev net_af_packet$2,iface=$1"; }

# tx KIND, forward KIND, twice KIND, rx KIND: one turn of each side. All send the same frames: two addresses, zeros behind them.
tx() {
    pairs
    measure "$1-tx ours" far rx_packets $(ours "null:size=60,af_$1:near")
    pairs
    measure "$1-tx dpdk" far rx_packets $(theirs mac --vdev net_null0,size=60 $($1 near 0))
    pairs
    measure "$1-tx sendmmsg" far rx_packets taskset -c 1 "$log/sendmmsg" near
    pairs
    measure "$1-tx sendmmsg,bypass" far rx_packets taskset -c 1 "$log/sendmmsg" near bypass
}
forward() {
    loaded "$log/sendmmsg" far bypass
    measure "$1-forward ours" far2 rx_packets $(ours "af_$1:near${OPTIONS:-},af_$1:near2${OPTIONS:-}") --no-mac-update
    unload
    loaded "$log/sendmmsg" far bypass
    measure "$1-forward dpdk" far2 rx_packets $(theirs io $($1 near 0) $($1 near2 1))
    unload
}
# Every frame passes the forwarder twice, by two pairs of ports on its one processor: more work than the sender has with it.
twice() {
    loaded "$log/sendmmsg" far bypass
    measure "$1-twice ours" far3 rx_packets $(ours "af_$1:near,af_$1:near2,af_$1:far2,af_$1:near3") --no-mac-update
    unload
    loaded "$log/sendmmsg" far bypass
    measure "$1-twice dpdk" far3 rx_packets $(theirs io $($1 near 0) $($1 near2 1) $($1 far2 2) $($1 near3 3))
    unload
}
rx() {
    loaded "$log/sendmmsg" far bypass
    received "$1-rx ours" $(ours "af_$1:near,null:sink")
    unload
    loaded "$log/sendmmsg" far bypass
    received "$1-rx dpdk" $(theirs rxonly $($1 near 0) | sed 's/stats-period 100/stats-period 1/')
    unload
}

for round in $(seq "$rounds"); do
    for case in $cases; do
        "${case#*-}" "${case%-*}"
    done
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
