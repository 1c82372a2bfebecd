# Says nothing until the host has pressed the last of the emergency keys (evidence.rs), however long that takes it.
. /lib/guest.sh

say ASLEEP
sleep 1000 &
pressed() {
    dmesg | grep 'Loglevel set to 5'
}
check pressed wait_for 200 pressed
say DONE
