//! The suite that every driver passes, on every back end that it can run on.
//!
//! A driver's test implements [`Subject`]: it makes fresh ports, each with a handle to the other side of its cable
//! ([`FarEnd`]), and hands itself to [`conformance!`], which makes one `#[test]` of every case in [`CASES`].
//! What a back end cannot do or tell (hold the device, count register reads) it answers with `None` or `false`;
//! the cases that need it then print `SKIP` and the reason.
//!
//! Every case ends with the same checks ([`Lane::end`], [`clean`]): every packet is home, nothing is mapped any
//! more, and the far end has nothing to complain about: no DMA outside a mapping, before start or after stop, and
//! nothing the data sheet forbids.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod cases;
mod far;
mod frames;
mod lane;
pub mod local;
mod patience;
pub mod stream;
pub mod witness;

pub use far::{Costs, FarEnd, Mappings, Mishap, Nature, Spoil, Station, Subject, clean};
pub use frames::{frame, number, tagged, udp};
pub use lane::{Lane, pool};
pub use patience::Patience;

/// One case: it panics where the subject does not conform.
pub type Case = fn(&dyn Subject);

macro_rules! cases {
    ($dollar:tt $($module:ident { $($name:ident,)* })*) => {
        /// Every case by name.
        pub const CASES: &[(&str, Case)] = &[$($((stringify!($name), cases::$module::$name),)*)*];

        /// Makes a `#[test]` of every case in [`CASES`] for a [`Subject`] (an expression).
        #[macro_export]
        macro_rules! conformance {
            ($dollar subject:expr) => {
                $($(
                    #[test]
                    fn $name() {
                        $dollar crate::run(&$dollar subject, stringify!($name));
                    }
                )*)*
            };
        }
    };
}

cases! { $
    life {
        starts_stops_and_starts_again,
        a_second_start_is_refused_and_changes_nothing,
        stop_takes_back_what_is_in_flight,
        queues_may_go_before_the_port,
        the_port_may_go_before_its_queues,
        nothing_is_lost_without_a_stop,
        packets_outlive_port_and_pool,
        a_start_waits_until_the_queues_of_the_last_one_are_gone,
        a_dropped_port_can_be_opened_again,
        bad_configurations_are_refused,
        a_pool_is_mapped_once_and_never_on_the_packet_path,
        removal_ends_in_bounded_time,
        a_removed_device_does_not_start,
    }
    data {
        every_length_both_ways,
        data_at_every_offset_is_sent,
        bursts_of_any_size_wrap_rings_of_any_length,
        a_full_transmit_ring_leaves_the_rest,
        every_packet_taken_is_on_the_wire_or_in_a_counter,
        no_register_is_read_and_one_doorbell_serves_a_burst,
        nothing_stays_held_when_idle,
    }
    queues {
        flows_spread_over_queues_and_stay_in_one,
        a_queue_works_on_another_thread,
        queues_work_on_two_threads_at_once,
        every_transmit_queue_sends,
    }
    pools {
        an_empty_pool_shortens_the_ring_which_recovers,
        packets_of_a_second_pool_are_sent_and_come_home,
        packets_of_an_unmapped_pool_are_dropped_and_counted,
        empty_and_long_packets_are_dropped_and_counted,
        two_ports_share_a_pool,
    }
    offloads {
        an_open_checksum_is_completed,
        an_open_checksum_of_a_second_pool_is_completed,
        a_long_packet_is_cut_into_frames,
        a_long_packet_is_cut_by_a_device_that_can,
        what_was_left_open_or_uncut_is_sent_on,
        what_cannot_be_done_is_dropped_and_counted,
    }
    settings {
        promiscuous_and_multicast_are_settings_of_their_own,
        the_address_can_be_changed_and_stays_changed,
        the_mtu_limits_what_is_received,
        the_mtu_limits_what_is_sent,
        an_mtu_that_is_accepted_fits_the_buffers,
        jumbo_frames_pass_both_ways,
        only_chosen_vlans_are_received,
        a_port_without_a_filter_receives_every_vlan,
        the_link_goes_and_comes,
        a_stopped_port_changes_nothing,
    }
    counters {
        every_frame_is_in_one_counter,
        damaged_frames_and_wrong_lengths_are_counted,
        the_device_counts_what_we_count,
        the_device_shows_names_of_the_table_only,
    }
    hostile {
        any_length_written_back_is_survived,
        anything_written_back_is_survived,
    }
    mishaps {
        a_lost_completion_is_missed_and_nothing_else,
        a_completion_of_another_descriptor_is_survived,
        a_lost_report_does_not_stop_its_queue,
        a_report_of_another_descriptor_is_survived,
        a_frame_that_does_not_end_is_one_counted_frame,
        a_wrong_number_of_buffers_is_survived,
        interrupts_without_a_cause_change_nothing,
        a_device_that_does_not_stop_is_cut_off,
        pointers_beyond_the_ring_are_not_followed,
    }
}

/// Runs one case.
///
/// # Panics
/// Where the subject does not conform, or `name` is no case.
pub fn run(subject: &dyn Subject, name: &str) {
    let case = CASES.iter().find(|(known, _)| *known == name);
    let (_, case) = case.unwrap_or_else(|| panic!("no case is called {name}"));
    match subject.excuse(name) {
        Some(why) => skip(&why),
        None => case(subject),
    }
}

/// Says why a case was not run, where the test's output is shown.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIP: {why}");
}
