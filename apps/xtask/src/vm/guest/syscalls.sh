# System calls of our forwarder's worker under load, as the kernel's own tracing counts them.
. /lib/guest.sh

out=/tmp/out.json
trace=/sys/kernel/tracing
bind_all
: >$out
/payload/l2fwd --ports "${ports#,}" --no-mac-update --json >$out 2>/tmp/err.txt &
pid=$!
started_or_exit $out /tmp/err.txt
worker=$(grep -l l2fwd-0 /proc/$pid/task/*/comm | cut -d/ -f5)
check tracing mount -t tracefs tracefs $trace

# calls TASK: system calls that it makes in two seconds.
calls() {
    echo "common_pid == $1" >$trace/events/raw_syscalls/sys_enter/filter
    : >$trace/trace
    echo 1 >$trace/events/raw_syscalls/sys_enter/enable
    pause 2
    echo 0 >$trace/events/raw_syscalls/sys_enter/enable
    grep -c sys_enter: $trace/trace
}

say READY started
hear >/dev/null
pause 1
# The thread that configures makes some: the count counts.
control=$(calls $pid)
sent() {
    grep '"type":"stats"' $out | tail -n 1 | sed 's/.*"sent":\([0-9]*\).*/\1/'
}
before=$(sent)
busy=$(calls "$worker")
after=$(sent)
if [ "$control" -gt 0 ]; then test_ok control "$control calls of the main thread"; else test_fail control "none"; fi
if [ "$busy" = 0 ] && [ "$after" -gt "$before" ]; then
    test_ok no-system-calls "none while $((after - before)) frames were sent"
else
    test_fail no-system-calls "$busy while $((after - before)) frames were sent: $(tail -n 2 $trace/trace | tr '\n' ' ')"
fi
kill -TERM $pid
wait $pid
check exit-code [ $? = 0 ]
check no-dma-faults no_dma_faults
say DONE
