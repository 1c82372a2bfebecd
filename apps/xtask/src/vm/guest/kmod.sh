# The kernel module's tests; the program says the results itself.
. /lib/guest.sh

mount -t debugfs debugfs /sys/kernel/debug
[ "$BEDS" = bare ] || check load insmod /payload/barline.ko
KMOD_ROUNDS=$ROUNDS /payload/kmod-tests run "$ONLY" $BEDS >&3 2>/dev/ttyS0

# The engine as a user to whom the administrator passes an address space and a device; the nodes stay root's alone.
passed() {
    [ "$(stat -c %U%a "/dev/barline/$1")" = root600 ] || { echo "the node is not root's alone" >&2; return 1; }
    su user -s /bin/sh -c 'exec /payload/kmod_passed' <>/dev/barline/iommu 1<>"/dev/barline/$1"
}
case "$BEDS $ONLY" in
main*" "*passed* | "main stock " | "main debug ")
    add_user
    check passed-bind bind "${NICS%% *}" barline
    check passed-to-a-user passed "${NICS%% *}"
    ;;
esac
[ "$BEDS" = bare ] || check unload rmmod barline

# On the debug kernel: nothing was lost, and lockdep did not give up on the way; where slots are used it does, over their driver,
# and the host reads what it said.
leaks() {
    echo scan >$1
    # What was freed just now may still be in a register: kmemleak wants to see it twice.
    sleep 6
    echo scan >$1
    ! grep . $1
}
lockdep_is_on() {
    grep -E 'debug_locks: *1' /proc/lockdep_stats
}
if [ -e /sys/kernel/debug/kmemleak ]; then
    check kmemleak leaks /sys/kernel/debug/kmemleak
fi
if [ -e /proc/lockdep_stats ] && [ "$BEDS" != bare ] && [ "$BEDS" != unplug ]; then
    check lockdep lockdep_is_on
fi
say DONE
