//! The suite, on the model: on the caller's stack, and on a thread of its own.

mod common;

mod sync {
    barline_conformance::conformance!(crate::common::OnModel(barline_sim::Mode::Sync));
}

mod thread {
    barline_conformance::conformance!(crate::common::OnModel(barline_sim::Mode::Thread));
}
