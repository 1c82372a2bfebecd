# Functions of every guest script; sourced, with the settings of this run.

. /scenario.env

# say LINE: one line to the host.
say() {
    echo "$*" >&3
}

# test_ok NAME [TEXT] and test_fail NAME TEXT: one result.
test_ok() {
    local name=$1
    shift
    say "TEST $name ok $*"
}
test_fail() {
    local name=$1
    shift
    say "TEST $name FAIL $*"
}

# check NAME COMMAND...: the result is the command's; its output is the text.
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then
        test_ok "$name" "$(echo "$out" | tail -n 1)"
    else
        test_fail "$name" "$* said: $(echo "$out" | tail -n 3 | tr '\n' ' ')"
        return 1
    fi
}

# hear: waits for one line of the host and prints it.
hear() {
    local line
    read -r line <&3
    echo "$line"
}

# pause SECONDS: sleeps without starting a program, where that would be measured.
pause() {
    [ -e /tmp/pause ] || mkfifo /tmp/pause
    read -r -t "$1" _ <>/tmp/pause
    return 0
}

# report FILE: its lines to the host, and how many there are before them.
report() {
    say "LINES $(wc -l <"$1")"
    sed 's/^/LINE /' "$1" >&3
}

# wait_for SECONDS COMMAND...: tries until the command succeeds. The guest is emulated: be generous. Seconds are those
# of the clock: a round takes far longer than its sleep where the host is busy.
wait_for() {
    local end=$(($(date +%s) + $1))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $end ] || return 1
        usleep 100000
    done
}

# stacks_of PROGRAM: where each thread of it waits in the kernel.
stacks_of() {
    local task
    for task in $(pidof "$1" | sed 's|[0-9][0-9]*|/proc/&/task/*|g'); do
        echo "--- $task $(cat "$task/comm") $(sed -n 's/^State:[[:space:]]*//p' "$task/status") call $(cat "$task/syscall")"
        cat "$task/stack"
    done
}

# l2fwd_started OUTPUT [CODE]: waits until the forwarder has said on OUTPUT that it forwards. It fails after two minutes,
# or as soon as the file CODE is there, which says that it has ended; the reason is printed.
l2fwd_started() {
    local out=$1 code=${2:-/nonexistent}
    settled() {
        grep -q '"type":"started"' "$out" || [ -e "$code" ]
    }
    if ! wait_for 120 settled; then
        stacks_of l2fwd >/dev/ttyS0
        echo 'l2fwd said no "type":"started" in 120 s; where its threads wait is on the console'
        return 1
    fi
    [ ! -e "$code" ] || { echo "l2fwd ended with $(cat "$code")"; return 1; }
}

# started_or_exit OUTPUT ERRORS: the forwarder says that it forwards; without it there is nothing to test.
started_or_exit() {
    check started l2fwd_started "$1" && return
    cat "$1" "$2" >/dev/ttyS0
    say READY failed
    say DONE
    exit 1
}

# ask WHAT: the host does it.
ask() {
    say "ASK $1"
    hear >/dev/null
}

# numbers FILE: least, median and greatest of the numbers in it.
numbers() {
    sort -n "$1" | awk '{ all[NR] = $1 } END { print all[1], all[int((NR + 1) / 2)], all[NR] }'
}

# within NAME FILE LIMIT: the greatest number in the file, milliseconds, is at most the limit.
within() {
    local name=$1 limit=$3
    [ -s "$2" ] || { test_fail "$name" "it never happened"; return; }
    # shellcheck disable=SC2046
    set -- $(numbers "$2")
    if [ "${3%.*}" -lt "$limit" ]; then
        test_ok "$name" "least $1 ms, median $2 ms, most $3 ms"
    else
        test_fail "$name" "least $1 ms, median $2 ms, most $3 ms: the limit is $limit ms"
    fi
}

# arrived EVENT COUNT: the forwarder has told of it so often in its output, $log.
arrived() {
    [ "$(grep -c "\"event\":\"$1\"" $log)" -ge "$2" ]
}

# hundredths: of a second since the start of the machine.
hundredths() {
    awk '{ printf "%d", $1 * 100 }' /proc/uptime
}

# absent: $device is not there.
absent() {
    [ ! -e "$device" ]
}

# guest_exit CODE: ends QEMU at once. isa-debug-exit turns a byte r at port 0x501 into 2r+1.
# The line says that the code is the guest's: QEMU itself ends with 1 when it cannot start.
guest_exit() {
    say "EXIT $1"
    printf "\\$(printf %o "$1")" | dd of=/dev/port bs=1 seek=1281 count=1 conv=notrunc 2>/dev/null
    # Only reached when the port does not exist: a reboot ends QEMU too (-no-reboot), with code 0,
    # which the host takes for a failure.
    reboot -f
}

# nic_netdev BDF: the name of the network interface on a PCI device.
nic_netdev() {
    # That of a virtio device hangs on a bus of its own.
    ls -d "/sys/bus/pci/devices/$1"/net/* "/sys/bus/pci/devices/$1"/virtio*/net/* 2>/dev/null |
        sed 's|.*/||' | head -n 1 | grep .
}

# netdev MAC: the interface with this address.
netdev() {
    local file
    file=$(grep -l "$1" /sys/class/net/*/address) || return 1
    basename "$(dirname "$file")"
}

# near_up: the first NIC has its address and reaches 10.7.0.2, beyond l2fwd on the host; $near is its interface.
near_up() {
    # Built into some kernels.
    modprobe virtio_pci 2>/dev/null
    check interface wait_for 60 netdev 52:54:00:00:00:01
    near=$(netdev 52:54:00:00:00:01)
    ip addr add 10.7.0.1/24 dev "$near"
    ip link set "$near" up
    check reachable wait_for 60 ping -q -c 1 -W 1 10.7.0.2
}

# again_or_stop: what the host says at the end of a boot.
again_or_stop() {
    case $(hear) in
    reboot)
        say REBOOTS
        reboot -f
        ;;
    stop)
        test_ok told
        say DONE
        ;;
    esac
}

# nic_group BDF: the number of its IOMMU group.
nic_group() {
    basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"
}

# nic_driver BDF: the name of the driver it is bound to.
nic_driver() {
    basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
}

# huge_pages_all_free: no huge page is in use.
huge_pages_all_free() {
    local total free
    total=$(awk '/^HugePages_Total/ { print $2 }' /proc/meminfo)
    free=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)
    echo "$free of $total huge pages free"
    [ "$total" -gt 0 ] && [ "$free" = "$total" ]
}

# no_dma_faults: the IOMMU refused nothing.
no_dma_faults() {
    ! dmesg | grep -E 'DMAR:.*(fault|DMA (Read|Write))'
}

# take BDF: binds a NIC to what the forwarder's bus ($BUS, vfio unless set) needs; the nodes become the user's ($RUN_AS).
take() {
    if [ "${BUS:-vfio}" = vfio ]; then
        bind "$1"
        return
    fi
    [ -d /sys/module/barline ] || insmod /payload/barline.ko || return 1
    bind "$1" barline || return 1
    [ -z "${RUN_AS:-}" ] || chown "$RUN_AS" "/dev/barline/$1" /dev/barline/iommu
}

# add_user: an ordinary user of the name "user", 1000.
add_user() {
    mkdir -p /etc
    printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >/etc/passwd
    printf 'root:x:0:\nuser:x:1000:\n' >/etc/group
}

# rebind_kernel_driver BDF: gives the device back to the kernel driver and waits for its interface.
rebind_kernel_driver() {
    bind "$1" "$NIC_DRIVER" && wait_for 60 nic_netdev "$1" && nic_netdev "$1"
}

# rebind_all [PREFIX]: the same for every NIC of this run; names of results begin with PREFIX.
rebind_all() {
    local bdf
    for bdf in $NICS; do
        check "${1:-}$bdf-rebind" rebind_kernel_driver "$bdf"
    done
}

# bind_all: every NIC is vfio-pci's; $ports: what the forwarder calls them, ",pci:BDF" each.
bind_all() {
    local bdf
    ports=
    for bdf in $NICS; do
        check "$bdf-bind-vfio" bind "$bdf"
        ports=$ports,pci:$bdf
    done
}

# unbind_vfio BDF: takes the NIC from vfio-pci; /tmp/waited gets the milliseconds that the host had to wait for it.
unbind_vfio() {
    local before
    before=$(hundredths)
    echo "$1" >/sys/bus/pci/drivers/vfio-pci/unbind
    echo $((($(hundredths) - before) * 10)) >>/tmp/waited
}

# interfaces_up: the kernel's interface of every NIC is there and set up; $nics: their names.
interfaces_up() {
    local bdf nic
    nics=
    for bdf in $NICS; do
        check "$bdf-interface" wait_for 60 nic_netdev "$bdf"
        nic=$(nic_netdev "$bdf")
        check "$bdf-up" ip link set "$nic" up
        nics="$nics $nic"
    done
    nics=${nics# }
}

# talk NEAR AWAY: the second interface is put into a network of its own, and the kernel talks to itself through both: 2,500 echoes
# each way, and a stream each way.
talk() {
    local near=$1 away=$2
    unshare -n sleep 100000 &
    far=$!
    wait_for 60 eval '[ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
    there() {
        nsenter -t "$far" -n "$@"
    }

    check moved ip link set "$away" netns "$far"
    ip addr add 10.7.0.1/24 dev "$near"
    ip link set "$near" up
    there ip addr add 10.7.0.2/24 dev "$away"
    there ip link set "$away" up
    check reachable wait_for 60 ping -q -c 1 -W 1 10.7.0.2

    # Every one answered: 2,500 each way; small, of one frame, and of two fragments. Where an answer takes most of a second, one more may
    # be on its way when the last one comes.
    pings() {
        ping -q -A -c "$1" -s "$2" -W 60 10.7.0.2 >/tmp/pings
        grep -qE "^($1|$(($1 + 1))) packets transmitted, $1 packets received" /tmp/pings || { cat /tmp/pings; return 1; }
        grep "packets received" /tmp/pings
    }
    check ping-small pings 1500 18
    check ping-full pings 500 1472
    check ping-fragments pings 250 2900

    # A stream each way, whole: 10,000 frames of the MTU.
    dd if=/dev/urandom of=/tmp/sent bs=1448 count=10000 2>/dev/null
    there httpd -p 7000 -h /tmp
    httpd -p 7001 -h /tmp
    stream_here() {
        wget -q -O /tmp/received http://10.7.0.2:7000/sent && cmp /tmp/sent /tmp/received
    }
    stream_there() {
        there wget -q -O /tmp/received http://10.7.0.1:7001/sent && cmp /tmp/sent /tmp/received
    }
    check stream-here stream_here
    check stream-there stream_there
}
