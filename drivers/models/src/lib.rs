//! NIC models: the device side, written from data sheets and never from driver code.
//!
//! A model shares nothing with the driver for the same NIC, constants included, so that a misreading in one is
//! caught by the other.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod e82576;
pub mod virtio;
