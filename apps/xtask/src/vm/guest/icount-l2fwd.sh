# Our forwarder for $WINDOWS seconds of the guest's time, with as little else running as possible.
. /lib/guest.sh

out=/tmp/out.json
err=/tmp/err.txt

ports=
for bdf in $NICS; do
    check "$bdf-bind" take "$bdf"
    ports=$ports,$bdf
done

: >$out
/payload/l2fwd --ports "${ports#,}" --bus "${BUS:-vfio}" --no-mac-update --json >$out 2>$err &
pid=$!
if ! check started l2fwd_started $out; then
    cat $out $err >/dev/ttyS0
    say READY failed
    exit 1
fi
say READY started
hear >/dev/null
# The program reports by itself. The window under way and the first whole one are discarded.
before=$(grep -c '"type":"stats"' $out)
pause $((WINDOWS + 3))
kill -TERM $pid
wait $pid
check exit-code [ $? = 0 ]
{ tail -n 3 $out; cat $err; } >/dev/ttyS0

grep '"type":"stats"' $out | tail -n +$((before + 2)) | head -n $((WINDOWS + 1)) >/tmp/windows
grep '"type":"summary"' $out >>/tmp/windows
report /tmp/windows
check no-dma-faults no_dma_faults
