//! The list of tests, in the order in which they run.

mod access;
mod compat;
mod config;
mod dma;
mod faults;
mod injection;
mod irq;
mod lifetime;
mod nodes;
mod power;
mod remap;
mod unplug;

use crate::{host, sys};
use anyhow::{Result, ensure};

/// A test.
pub struct Case {
    /// Name; the point of the review or the bug comes first.
    pub name: &'static str,
    /// The machine it needs.
    pub bed: &'static str,
    /// What it does; the text is what was seen.
    pub run: fn() -> Result<String>,
}

macro_rules! cases {
    ($($bed:literal: $($module:ident::$name:ident),* $(,)?;)*) => {
        /// All tests.
        pub const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), bed: $bed, run: $module::$name },)*)*
        ];
    };
}

cases! {
    "main":
        nodes::r04_nodes_are_named_after_functions,
        nodes::r10_open_races_with_unbind,
        nodes::b15_node_of_an_unbound_device_is_gone,
        nodes::b19_b20_b22_bind_many_times_and_unload,
        nodes::r13_not_resettable_is_refused,
        nodes::b23_sibling_with_kernel_driver,
        access::r03_argument_sizes_and_flags,
        access::r03_random_ioctls,
        access::r05_map_is_not_the_devices,
        access::r15_msix_pages_can_be_mapped,
        access::r18_what_can_be_mapped,
        access::b02_mapping_honours_the_offset,
        access::b16_one_opener,
        access::b17_before_attach,
        access::b18_large_bar,
        access::b34_log_is_bounded,
        config::r06_policy_of_a_device,
        config::r11_dirty_device_is_clean_again,
        config::r21_bus_master_is_the_owners,
        config::r26_power_states,
        config::b01_bars_can_be_probed,
        config::b21_command_is_as_it_was,
        config::b37_reset_through_configuration,
        irq::r08_vectors_are_bounded,
        irq::r09_vectors_do_not_disturb_each_other,
        irq::b05_not_an_eventfd,
        irq::b06_replace_under_load,
        irq::b07_b08_close_with_interrupts_on,
        irq::b09_modes_exclude_each_other,
        irq::b14_no_interrupt_before_it_is_asked_for,
        irq::f12_intx,
        dma::r05_two_devices_in_one_address_space,
        dma::r12_killed_while_the_device_writes,
        dma::r22_aperture,
        dma::r29_accounting_follows_the_mapper,
        dma::r30_no_memory_a_page,
        dma::b24_sizes,
        dma::b25_unlimited_memlock_as_a_user,
        dma::b27_partly_mapped_memory,
        dma::b30_unmapped_memory_stays_pinned,
        dma::b32_read_only_argument,
        lifetime::r20_unbind_under_a_mapping,
        lifetime::r20_detach_takes_mappings,
        lifetime::r20_decoding_off_takes_mappings,
        lifetime::r20_close_under_a_mapping,
        lifetime::r20_revoked_mapping_of_ones,
        unplug::r23_unbind_asks_first,
        unplug::r24_process_that_does_not_listen,
        unplug::r23_removed_from_the_bus,
        faults::b10_b11_b28_every_step_fails_once,
        power::r25_suspend_is_announced,
        power::r25_reset_after_a_sleep;
    "stock":
        compat::b35_calls_of_32_bits;
    "debug":
        injection::b10_b28_allocations_and_copies_fail;
    "bare":
        unplug::r23_pulled_out_without_the_module;
    "unplug":
        unplug::r23_removed_while_its_slot_has_an_event,
        unplug::r23_surprise_removal,
        unplug::r23_hot_unplug;
    "noremap":
        remap::r17_r19_refused_without_remapping,
        remap::r17_table_is_left_out,
        remap::b03_table_is_not_even_read;
    "sleep":
        power::r25_machine_sleeps;
}

/// What no test may leave: pinned pages, a binding that holds the module.
pub fn left_behind() -> Result<()> {
    host::wait_until("pinned pages are released", || {
        host::pinned_pages().is_ok_and(|pages| pages == 0)
    })?;
    let locked = host::locked_kib(std::process::id() as i32)?;
    ensure!(locked == 0, "{locked} KiB are still charged");
    if host::is_loaded() {
        let references = host::module_references()?;
        ensure!(references == 0, "the module has {references} references");
    }
    ensure!(
        sys::Ioas::new().is_ok() || !host::is_loaded(),
        "no new address space"
    );
    Ok(())
}
