//! A port whose queues are wrapped.

use barline::mmio::BarGuard;
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, RxQueue, TxQueue,
};
use barline::telemetry::CounterSink;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

/// What is done with the packets of a port.
pub trait Wrapper: Send + Debug {
    /// The port is about to start: a last look at the configuration.
    ///
    /// # Errors
    /// What this wrapper cannot do with it; the port is not started then.
    fn starting(&mut self, _config: &PortConfig) -> Result<(), PortError> {
        Ok(())
    }
    /// Puts itself in front of receive queue `index`.
    fn rx(&mut self, index: u16, queue: Box<dyn RxQueue>) -> Box<dyn RxQueue>;
    /// Puts itself in front of transmit queue `index`.
    fn tx(&mut self, index: u16, queue: Box<dyn TxQueue>) -> Box<dyn TxQueue>;
    /// The queues are gone.
    ///
    /// # Errors
    /// What went wrong since the start, such as a file that could not be written.
    fn stopped(&mut self) -> Result<(), PortError> {
        Ok(())
    }
    /// What it counted, besides the port's own.
    fn counters(&mut self, _out: &mut dyn CounterSink) {}
}

/// A port behind a wrapper. All but its queues is the port's own.
#[derive(Debug)]
pub struct Wrapped {
    inner: Box<dyn Port>,
    wrapper: Box<dyn Wrapper>,
}

impl Wrapped {
    /// Wraps a stopped port.
    pub fn new(inner: Box<dyn Port>, wrapper: Box<dyn Wrapper>) -> Self {
        Self { inner, wrapper }
    }
}

impl Port for Wrapped {
    fn caps(&self) -> &PortCaps {
        self.inner.caps()
    }

    fn mac(&self) -> MacAddress {
        self.inner.mac()
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        self.wrapper.starting(config)?;
        let Queues { rx, tx } = self.inner.start(config)?;
        let wrapper = &mut self.wrapper;
        Ok(Queues {
            rx: (0..)
                .zip(rx)
                .map(|(index, queue)| wrapper.rx(index, queue))
                .collect(),
            tx: (0..)
                .zip(tx)
                .map(|(index, queue)| wrapper.tx(index, queue))
                .collect(),
        })
    }

    /// The port's queues go before it does, inside their wrappers: a port allows that.
    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues);
        let stopped = self.inner.stop(Queues::default());
        let own = self.wrapper.stopped();
        stopped.and(own)
    }

    fn link(&self) -> Link {
        self.inner.link()
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        self.inner.counters(out);
        self.wrapper.counters(out);
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.inner.event()
    }

    fn reason(&self) -> Option<String> {
        self.inner.reason()
    }

    fn mode(&self) -> Option<String> {
        self.inner.mode()
    }

    fn acknowledge(&mut self, event: PortEvent) -> Result<(), PortError> {
        self.inner.acknowledge(event)
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.event_fds()
    }

    fn guards(&self) -> Vec<BarGuard> {
        self.inner.guards()
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        self.inner.set(change)
    }
}
