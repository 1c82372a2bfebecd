//! A batch owns its packets.
use barline::pool::Batch;

fn copy(batch: &Batch) -> Batch {
    batch.clone()
}

fn main() {}
