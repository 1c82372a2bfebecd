//! The suite, over a veth pair.

mod common;

barline_conformance::conformance!(crate::common::OnVeth(barline_af_packet::Fanout::Hash));
