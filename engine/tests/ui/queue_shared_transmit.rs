//! A transmit queue cannot be shared either.
use barline::port::TxQueue;

fn needs_sync<T: Sync + ?Sized>(_: &T) {}

fn share(queue: Box<dyn TxQueue>) {
    needs_sync(&*queue);
}

fn main() {}
