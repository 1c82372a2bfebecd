# What the forwarder says on a machine that lacks something: one cause, one remedy, an exit code, nothing left behind.
. /lib/guest.sh

err=/tmp/err.txt
# shellcheck disable=SC2086
set -- $NICS
first=$1 second=$2

# l2fwd ARGUMENTS...: the forwarder, with its messages in $err; what it prints otherwise is not of interest.
l2fwd() {
    /payload/l2fwd "$@" >/tmp/out.txt 2>$err
}

# may_dma BDF: whether the device may reach memory (bit 2 of the command register).
may_dma() {
    [ $(($(od -An -tu1 -j4 -N1 "/sys/bus/pci/devices/$1/config") & 4)) != 0 ]
}

# refused NAME CODE WORDS COMMAND...: the command ends with CODE, in one line of text that holds all WORDS (divided
# by |), and neither a huge page is kept nor a device of vfio-pci's left able to reach memory.
refused() {
    local name=$1 code=$2 words=$3 result
    shift 3
    "$@"
    result=$?
    text=$(grep -v 'running on 4 KiB pages' $err | tr '\n' ' ')
    [ $result = "$code" ] || { test_fail "$name" "exit $result instead of $code: $text"; return; }
    IFS='|'
    for word in $words; do
        case $text in
        *"$word"*) ;;
        *) unset IFS; test_fail "$name" "'$word' is not in: $text"; return ;;
        esac
    done
    unset IFS
    [ "$(grep -c . $err)" -le 2 ] || { test_fail "$name" "more than one line: $text"; return; }
    huge_pages_all_free >/dev/null || [ "$(cat /proc/sys/vm/nr_hugepages)" = 0 ] || { test_fail "$name" "huge pages are kept"; return; }
    for bdf in $first $second; do
        if [ "$(nic_driver "$bdf")" = vfio-pci ] && may_dma "$bdf"; then
            test_fail "$name" "$bdf can still reach memory"
            return
        fi
    done
    test_ok "$name" "$text"
}

if [ "$IOMMU" = off ]; then
    bind "$first" >/dev/null 2>&1
    refused no-iommu 3 'IOMMU|intel_iommu=on' l2fwd --ports "pci:$first" --seconds 1
    say DONE
    exit
fi

refused wrong-bdf 2 'no PCI device 0000:77:00.0|lspci -D' l2fwd --ports pci:0000:77:00.0 --seconds 1
refused kernel-driver 3 "held by the driver $NIC_DRIVER|/driver_override|/driver/unbind|drivers_probe" l2fwd --ports "pci:$first" --seconds 1

check bind-first bind "$first"
check bind-second bind "$second"
refused no-huge-pages-1g 3 'huge pages|hugepages-1048576kB/nr_hugepages' l2fwd --ports "pci:$first" --huge 1g --seconds 1
reserved=$(cat /proc/sys/vm/nr_hugepages)
echo 2 >/proc/sys/vm/nr_hugepages
refused too-few-huge-pages 3 'huge pages|hugepages-2048kB/nr_hugepages' l2fwd --ports "pci:$first" --huge 2m --seconds 1
echo "$reserved" >/proc/sys/vm/nr_hugepages

# Two NICs that nothing keeps apart are one group; at first the second one stays with its kernel driver.
check bind-shared bind 0000:05:00.0
refused not-viable 3 '0000:06:00.0 (igb)|0000:06:00.0/driver_override' l2fwd --ports pci:0000:05:00.0 --seconds 1
check bind-neighbour bind 0000:06:00.0
l2fwd --ports pci:0000:05:00.0,pci:0000:06:00.0 --seconds 1
result=$?
if [ $result = 0 ]; then test_ok shared-group; else test_fail shared-group "exit $result: $(cat $err)"; fi
check bind-other bind 0000:07:00.0
refused wrong-device 2 '8086:10d3' l2fwd --ports pci:0000:07:00.0 --seconds 1

# What a virtio device without iommu_platform=on takes for physical are the IOMMU's addresses.
check bind-virtio bind 0000:08:00.0
check bind-transitional bind 0000:09:00.0
check is-transitional [ "$(cat /sys/bus/pci/devices/0000:09:00.0/device)" = 0x1000 ]
for bdf in 08 09; do
    refused "past-iommu-$bdf" 3 'VIRTIO_F_ACCESS_PLATFORM|iommu_platform=on' l2fwd --ports "pci:0000:$bdf:00.0" --seconds 1
done

# The node is a user's, the memory limit is not.
add_user
node=/dev/vfio/$(nic_group "$first")
chown 1000 "$node"
chmod 666 $err /tmp/out.txt /dev/vfio/vfio
# as_user KIB: the forwarder as an ordinary user that may lock so much memory.
as_user() {
    (ulimit -l "$1" && su user -s /bin/sh -c "/payload/l2fwd --ports pci:$first --seconds 1 >/tmp/out.txt") 2>$err
}
refused memlock 3 'ulimit -l' as_user 64
chown 0 "$node"
chmod 600 "$node"
refused no-permission 3 "$node|chown" as_user 1000000
chown 1000 "$node"
as_user 1000000
result=$?
if [ $result = 0 ]; then test_ok as-user "an ordinary user forwards"; else test_fail as-user "exit $result: $(cat $err)"; fi
rm -f $err /tmp/out.txt

# A second opener is told who the first one is.
/payload/l2fwd --ports "pci:$first" --json >/tmp/first.json 2>/tmp/first.err &
pid=$!
if l2fwd_started /tmp/first.json >/dev/null; then
    l2fwd --ports "pci:$first" --seconds 1
    result=$?
    text=$(tr '\n' ' ' <$err)
    case "$result $text" in
    "3 "*"is in use by process $pid (l2fwd); end it: kill $pid"*) test_ok second-opener "$text" ;;
    *) test_fail second-opener "exit $result, pid $pid: $text" ;;
    esac
else
    test_fail second-opener "the first one did not start: $(cat /tmp/first.err)"
fi
kill -TERM $pid
wait $pid
check first-ended [ $? = 0 ]

check huge-pages-free huge_pages_all_free
check no-dma-faults no_dma_faults
rebind_all
say DONE
