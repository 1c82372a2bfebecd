# DPDK's testpmd for $WINDOWS seconds of the guest's time, with as little else running as possible.
. /lib/guest.sh

out=/tmp/out.txt
err=/tmp/err.txt

# The main thread only waits for commands: both share the processor, as l2fwd's two threads do.
set -- --lcores '0@0,1@0' --in-memory --no-telemetry --iova-mode=va
for bdf in $NICS; do
    check "$bdf-bind-vfio" bind "$bdf"
    set -- "$@" -a "$bdf"
done
for plugin in $PLUGINS; do
    set -- "$@" -d "/payload/$plugin"
done
set -- "$@" -- -i --no-lsc-interrupt --burst=32 --rxd=$RING --txd=$RING --forward-mode=io --total-num-mbufs=4096

# It loads nothing from below a directory that anybody may write to.
chmod 755 /
mkdir -p /var/run
mkfifo /tmp/in
exec 4<>/tmp/in
tell() {
    echo "$*" >&4
}
/payload/dpdk-testpmd "$@" </tmp/in >$out 2>$err &
pid=$!
tell start
tell show port stats all
# The prompt is not buffered, the rest of its output is: three prompts are the end of two commands.
prompts() {
    [ "$(grep -o 'testpmd>' "$2" | wc -l)" -ge "$1" ]
}
if ! check started wait_for 60 prompts 3 $out; then
    cat $out $err >/dev/ttyS0
    say READY failed
    exit 1
fi
say READY started
hear >/dev/null
# The first two outputs, of the time before and of the first second, are discarded.
for _ in $(seq 0 "$((WINDOWS + 1))"); do
    tell show port stats all
    pause 1
done
tell stop
tell quit
wait $pid
check exit-code [ $? = 0 ]
{ tail -n 40 $out; tail -n 20 $err; } >/dev/ttyS0

grep -E 'Tx-pps|TX-packets|TX-dropped' $out >/tmp/windows
report /tmp/windows
check no-dma-faults no_dma_faults
