# Runs our forwarder on all NICs until the host has its frames, ends it by a signal and looks at what is left; once for each of
# $SIGNALS. The names of results begin with the signal's, but for those of the first one.
. /lib/guest.sh

out=/tmp/out.json
err=/tmp/err.txt
code=/tmp/code

# nap: the machine sleeps and wakes by itself (the kernel's own test of it); both ports must have been told, and forward
# again. (check has a variable "out" of its own.)
told=$out
nap() {
    local before
    before=$(grep -c '"event":"resume"' $told)
    # An emulated machine takes its time to stop a port.
    echo 60000 >/sys/module/barline/parameters/pm_grace_ms
    echo devices >/sys/power/pm_test
    echo mem >/sys/power/state || return 1
    echo none >/sys/power/pm_test
    resumed() {
        [ "$(grep -c '"event":"resume"' $told)" = $((before + 2)) ]
    }
    wait_for 60 resumed || { tail -n 3 $err; return 1; }
    [ "$(grep -c '"event":"suspend"' $told)" = $((before + 2)) ] || { echo "not told before"; return 1; }
    ! grep '"type":"event"' $told | grep -v '"error":null' || return 1
    ! dmesg | grep "without the process's word"
}

# control: the part that talks to the host. The forwarder itself runs in the foreground: a shell starts
# what it runs in the background with SIGINT ignored.
control() {
    if check "${prefix}started" l2fwd_started $out $code; then
        say READY started
    else
        say READY failed
    fi
    while [ "$(hear)" = sleep ]; do
        check "${prefix}slept" nap
        say AWAKE
    done
    [ -e $code ] || kill -"$signal" "$(cat /tmp/pid)"
    if ! wait_for 120 [ -e $code ]; then
        test_fail "${prefix}stop" "still there 120 s after SIG$signal"
        kill -KILL "$(cat /tmp/pid)"
    fi
}

# forward: the whole of it once.
forward() {
    ports=
    for bdf in $NICS; do
        check "$prefix$bdf-bind" take "$bdf"
        ports=$ports,$bdf${OPTIONS:-}
    done
    # An ordinary user who may lock as much memory as the pool takes, and no more rights than the nodes'.
    program="exec /payload/l2fwd --ports ${ports#,} --json $ARGUMENTS"
    if [ -n "${RUN_AS:-}" ]; then
        add_user
        ulimit -l 131072
        # Some shells start another one for su's command: the forwarder writes its own number.
        program="exec su user -s /bin/sh -c 'echo \$\$ >/tmp/pid; $program'"
        : >/tmp/pid
        chown "$RUN_AS" /tmp/pid
    fi

    rm -f $code
    : >$out
    control &
    sh -c "echo \$\$ >/tmp/pid; $program" >$out 2>$err
    result=$?
    echo $result >$code
    wait

    # The logs go to the console, where a person finds them beside the kernel's messages.
    { echo "--- l2fwd ended with $result; its output:"; tail -n 50 $out; echo "--- its messages:"; tail -n 50 $err; } >/dev/ttyS0
    wanted=0
    [ "$signal" != KILL ] || wanted=137
    if [ $result = $wanted ]; then
        test_ok "${prefix}exit-code" $result
    else
        test_fail "${prefix}exit-code" "$result instead of $wanted: $(tail -n 3 $err | tr '\n' ' ')"
    fi
    say "SUMMARY $(grep '"type":"summary"' $out | tail -n 1)"

    check "${prefix}huge-pages-free" wait_for 30 huge_pages_all_free
    check "${prefix}no-dma-faults" no_dma_faults
    rebind_all "$prefix"
    say DONE
}

first=${SIGNALS%% *}
for signal in $SIGNALS; do
    prefix=$signal-
    [ "$signal" != "$first" ] || prefix=
    forward
done
