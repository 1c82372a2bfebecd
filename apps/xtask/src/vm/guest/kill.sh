# Our forwarder is killed at moments from its first instruction to its sleep; each time the machine must be as before.
. /lib/guest.sh

out=/tmp/out.json
bind_all

# held: processes that have a group's node open.
held() {
    ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/vfio/
}
not_held() {
    ! held
}

# Microseconds. Emulation is slow: the start alone takes most of a second.
for moment in 1000 10000 30000 60000 100000 150000 200000 300000 400000 500000 700000 1000000 1500000 3000000; do
    : >$out
    /payload/l2fwd --ports "${ports#,}" --json >$out 2>/tmp/err.txt &
    pid=$!
    usleep $moment
    kill -KILL $pid
    wait $pid
    check "killed-after-$moment-us" wait_for 30 not_held || break
    check "huge-pages-after-$moment-us" wait_for 30 huge_pages_all_free || break
done
check "started-in-the-end" grep -q '"type":"started"' $out
check no-shared-memory [ -z "$(ls -A /dev/shm)$(ls -A /dev/hugepages)" ]
check no-dma-faults no_dma_faults
rebind_all
say DONE
