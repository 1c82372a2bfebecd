# A shell on the console for a person; the machine ends when the shell does.
. /lib/guest.sh

# The console is ttyS0 here; the channel to the host is not used.
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for bdf in $NICS; do
    bind "$bdf"
done
echo
echo "NICs (joined to each other): $NICS    groups: $(for b in $NICS; do nic_group "$b"; done | tr '\n' ' ')"
[ -z "$(ls /payload)" ] || echo "in /payload: $(ls /payload | tr '\n' ' ')"
# shellcheck disable=SC2086
[ ! -e /payload/l2fwd ] || echo "to forward between them: ./l2fwd --ports $(echo $NICS | tr ' ' ,)"
echo "bind BDF [DRIVER] moves a NIC ($NIC_DRIVER is its kernel driver). Ctrl-A X or 'exit' ends the machine."
cd /payload
setsid cttyhack sh -i
# Not 0, which would make QEMU end as when it cannot start.
exit 1
