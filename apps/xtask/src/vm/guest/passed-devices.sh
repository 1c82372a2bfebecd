# A launcher with the right to open the NICs passes them to the forwarder, which has no right at all.
. /lib/guest.sh

# shellcheck disable=SC2086
set -- $NICS
first=$1 second=$2
err=/tmp/err.txt
json=/tmp/out.json
limit=16384 # KiB: the plan takes 10240

# launch MEMLOCK PROGRAM...: as an ordinary user.
launch() {
    local memlock=$1
    shift
    /payload/launch --uid 1000 --memlock "$memlock" "$first,$second" -- "$@"
}

# refused NAME CODE WORDS COMMAND...: the command ends with CODE and one message, which holds WORDS; nothing is left.
refused() {
    local name=$1 code=$2 words=$3 result text
    shift 3
    "$@" >/dev/null 2>$err
    result=$?
    text=$(grep -v 'running on 4 KiB pages' $err | tr '\n' ' ')
    case "$result $(grep -c . $err) $text" in
    "$code 1 "*"$words"*) ;;
    *) test_fail "$name" "exit $result: $text"; return ;;
    esac
    huge_pages_all_free >/dev/null || { test_fail "$name" "huge pages are kept"; return; }
    test_ok "$name" "$text"
}

settled() {
    grep -q '"type":"started"' $json || ! kill -0 "$launcher" 2>/dev/null
}

# status NAME: a field of the forwarder's /proc/PID/status.
status() {
    sed -n "s/^$1:[[:space:]]*\([^[:space:]]*\).*/\1/p" "/proc/$pid/status"
}

refused not-bound 1 'not bound to vfio-pci' launch $limit /payload/l2fwd --passed
check bind-first bind "$first"
check bind-second bind "$second"
mkdir -p /etc
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\nuser:x:1000:\n' >/etc/group
refused no-right-of-its-own 3 "/dev/vfio/$(nic_group "$first")" \
    su user -s /bin/sh -c "exec /payload/l2fwd --ports pci:$first --seconds 1"
refused memlock 3 'ulimit -l' launch 64 /payload/l2fwd --passed --seconds 1
refused other-port 2 'is named twice' launch $limit /payload/l2fwd --passed --ports "$first,$first" --seconds 1
refused no-program 1 'No such file' launch $limit /payload/none

# No function: its process id would be a shell's.
/payload/launch --uid 1000 --memlock $limit "$first,$second" -- /payload/l2fwd --passed --json >$json 2>$err &
launcher=$!
wait_for 240 settled
pid=$(pidof l2fwd)
if [ -n "$pid" ]; then
    test_ok started
    check uid [ "$(status Uid)" = 1000 ]
    check no-capabilities [ "$(status CapEff)$(status CapPrm)" = 00000000000000000000000000000000 ]
    check locked-memory grep -E "^Max locked memory +$((limit * 1024)) +$((limit * 1024))" "/proc/$pid/limits"
    check launcher-let-go [ "$(ls -l "/proc/$launcher/fd" | grep -c vfio)" = 0 ]
    say READY started
else
    test_fail started "$(tr '\n' ' ' <$err)"
    say READY failed
fi
hear >/dev/null
kill -TERM "$pid"
wait $launcher
check exit-code [ $? = 0 ]
{ echo "--- l2fwd said:"; tail -n 5 $json; cat $err; } >/dev/ttyS0
say "SUMMARY $(grep '"type":"summary"' $json | tail -n 1)"

check huge-pages-free huge_pages_all_free
check no-dma-faults no_dma_faults
rebind_all
say DONE
