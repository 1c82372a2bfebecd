//! The suite, on the model: each shape of rings, each way to take frames and to be told, on the caller's stack and on a thread
//! of its own.

mod on_model;

macro_rules! suites {
    ($($name:ident: $make:expr;)*) => {$(
        mod $name {
            use crate::on_model::OnModel;

            mod sync {
                use super::*;
                barline_conformance::conformance!(($make)(barline_sim::Mode::Sync));
            }

            mod thread {
                use super::*;
                barline_conformance::conformance!(($make)(barline_sim::Mode::Thread));
            }
        }
    )*};
}

suites! {
    split: OnModel::split;
    split_in_order: |mode| OnModel::split(mode).in_order();
    split_merging: |mode| OnModel::split(mode).merging().event_idx(false);
    split_merging_in_order: |mode| OnModel::split(mode).merging().in_order();
    packed: OnModel::packed;
    packed_in_order: |mode| OnModel::packed(mode).in_order().event_idx(true);
    packed_merging: |mode| OnModel::packed(mode).merging();
    packed_merging_in_order: |mode| OnModel::packed(mode).merging().in_order().event_idx(true);
}
