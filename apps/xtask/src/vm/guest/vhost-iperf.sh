# A NIC whose device is l2fwd on the host; iperf3's server is beyond it, at 10.7.0.2. The machine is rebooted once, when the host
# says so.
. /lib/guest.sh

near_up
# iperf OPTIONS: one run from here to the host, as JSON on one line.
iperf() {
    /payload/iperf3 -c 10.7.0.2 -n "$BYTES" -i 0 -J "$@" 2>&1 | tr -d '\n\t'
}
say "THERE $(iperf)"
say "HERE $(iperf -R)"
again_or_stop
