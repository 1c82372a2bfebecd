//! Cases of the suite that a port over a socket cannot pass, one table for both ends.

/// Which end is tested.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each suite is of one end")]
pub enum End {
    Driver,
    BackEnd,
}

const NO_FILTER: &str = "there is no filter: it receives what the other end sends it";
const KEPT: &str = "the other end keeps what finds no room";

/// The case, why the driver's end does not pass it, and why the back end does not; none where it has to.
const EXCUSES: &[(&str, Option<&str>, Option<&str>)] = &[
    (
        "promiscuous_and_multicast_are_settings_of_their_own",
        Some(NO_FILTER),
        Some(NO_FILTER),
    ),
    ("a_stopped_port_changes_nothing", Some(NO_FILTER), Some(NO_FILTER)),
    (
        "the_address_can_be_changed_and_stays_changed",
        Some(NO_FILTER),
        None,
    ),
    ("every_frame_is_in_one_counter", Some(KEPT), Some(KEPT)),
    (
        "the_device_counts_what_we_count",
        Some("the back end does not tell what it counts"),
        Some("the port is the device"),
    ),
    (
        "packets_of_an_unmapped_pool_are_dropped_and_counted",
        None,
        Some("frames are copied, of whichever pool"),
    ),
    (
        "an_empty_pool_shortens_the_ring_which_recovers",
        None,
        Some("a buffer is taken when a frame comes; without one the frame waits with the peer"),
    ),
];

/// Why a case is left out at this end, if it is.
pub fn excuse(end: End, case: &str) -> Option<String> {
    let (_, driver, back) = EXCUSES.iter().find(|(name, ..)| *name == case)?;
    let why = match end {
        End::Driver => driver,
        End::BackEnd => back,
    };
    why.map(str::to_owned)
}
