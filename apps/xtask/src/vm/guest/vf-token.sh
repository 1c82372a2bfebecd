# A PF on vfio-pci with a VF: who opens the VF must know the token that the PF's owner has set.
. /lib/guest.sh

right=2ab74924-c335-45f4-9b16-8569e5b08258
wrong=2ab74924-c335-45f4-9b16-8569e5b08259
pf=$NICS
plain=0000:02:00.0

probe() {
    /payload/vfio_probe "$@"
}

# refused NAME WORDS ARGUMENTS...: the probe ends with 1 and one message, which holds WORDS.
refused() {
    local name=$1 words=$2 out result
    shift 2
    out=$(probe "$@" 2>&1)
    result=$?
    case "$result $(echo "$out" | grep -c '^error: ') $out" in
    "1 1 "*"$words"*) test_ok "$name" "$(echo "$out" | tail -n 1)" ;;
    *) test_fail "$name" "exit $result: $(echo "$out" | tail -n 3 | tr '\n' ' ')" ;;
    esac
}

# holder NAME ARGUMENTS...: a probe in the background that keeps what it opened.
holder() {
    local name=$1
    shift
    rm -f /tmp/holder
    /payload/vfio_probe hold "$@" >/tmp/holder 2>&1 & # no function: its process id would be a shell's
    holder=$!
    if wait_for 60 grep -q '^holding' /tmp/holder; then
        test_ok "$name"
    else
        test_fail "$name" "$(tail -n 1 /tmp/holder)"
    fi
}

release() {
    kill "$holder"
    wait "$holder"
    true
}

check sriov-parameter eval 'echo Y >/sys/module/vfio_pci/parameters/enable_sriov'
check bind-pf bind "$pf"
check bind-plain bind "$plain"
holder hold-pf "set-token=$right" "$pf"
check set-token grep 'the VF token is set' /tmp/holder
check make-vf eval "echo 1 >/sys/bus/pci/devices/$pf/sriov_numvfs"
vf=$(basename "$(readlink "/sys/bus/pci/devices/$pf/virtfn0")")
check "vf-$vf-on-vfio" [ "$(nic_driver "$vf")" = vfio-pci ]

refused no-token "$vf is a VF whose PF is bound to vfio-pci, and the VF token was not given; use the token" "$vf"
refused wrong-token "$vf is a VF whose PF is bound to vfio-pci, and the VF token does not match; use the token" "token=$wrong" "$vf"
out=$(probe token=nonsense "$vf" 2>&1)
check no-uuid [ "$? $(echo "$out" | grep -c 'is not a VF token; write it as a UUID')" = "2 1" ]
refused token-unused "was given for $plain, which uses none" "token=$right" "$plain"
refused no-vfs "$plain cannot have VFs" hold "set-token=$right" "$plain"
# The right one: configuration space, BARs, MSI-X, DMA mappings, reset, and handing it over as descriptors.
if probe "token=$right" "$vf" >/tmp/out 2>&1; then
    for words in 'id 8086:10ca' 'BAR0 .*+8: 0x' 'BAR3 ' 'fired vector 2 three times' 'passed on as descriptors'; do
        check "right-token-$(echo "$words" | cut -c -4 | tr -d ' ')" grep "$words" /tmp/out
    done
else
    test_fail right-token "$(tail -n 3 /tmp/out | tr '\n' ' ')"
fi
cat /tmp/out >/dev/ttyS0
# No BAR of the devices here has holes: all are one mapping.
probe "$plain" >/tmp/plain 2>&1
cat /tmp/out /tmp/plain | grep '^BAR. Bar(' >/tmp/bars
check bars-mapped [ "$(grep -c mapped /tmp/bars) $(grep -c trapped /tmp/bars)" = "5 0" ]

# The other way round: while the VF is in use, the PF opens with the token alone. The kernel has kept it.
release
holder hold-vf "token=$right" "$vf"
refused pf-no-token "$pf is a PF whose VFs are in use, and the VF token was not given; use the token that is set" "$pf"
refused pf-wrong-token "$pf is a PF whose VFs are in use, and the VF token does not match" "token=$wrong" "$pf"
release
bind "$vf" none >/dev/null
check remove-vf eval "echo 0 >/sys/bus/pci/devices/$pf/sriov_numvfs"

check no-dma-faults no_dma_faults
rebind_all
say DONE
