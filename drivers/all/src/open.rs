use crate::sim::{self, Feed, SimEnd};
use crate::{OpenError, PortSpec, SimSpec, driver_for};
use barline::bus::PciFunction;
use barline::bus::kmod::{Ioas, KmodError};
use barline::bus::scan::{self, Found, Roots};
use barline::bus::vfio::{Container, OpenOptions, VfioError, VfioFunction};
use barline::mem::{DmaDomain, LocalDomain, Plan};
use barline::pci::PciAddress;
use barline::port::Port;
use barline_null::{Loopback, Null};
use barline_vhost::Vhost;
use barline_virtio_user::VirtioUser;
use std::sync::Arc;

/// Opens the ports of one application: all that it opens share one address space of VFIO, so that a pool is mapped
/// once for all, one of barline.ko, and one of the simulator.
#[derive(Debug)]
pub struct Opener {
    roots: Roots,
    feed: Feed,
    vfio: Option<Arc<Container>>,
    kmod: Option<Arc<Ioas>>,
    local: Arc<LocalDomain>,
    domains: Vec<Arc<dyn DmaDomain>>,
    pci: Vec<PciAddress>,
    adopted: Vec<VfioFunction>,
    sims: Vec<SimEnd>,
}

/// A port, with what is known of it besides.
#[derive(Debug)]
pub struct Opened {
    /// The port.
    pub port: Box<dyn Port>,
    /// How it was named.
    pub spec: PortSpec,
    /// The far end of its cable, for a simulated one.
    pub sim: Option<SimEnd>,
}

impl Opened {
    /// A port without a device.
    fn soft(spec: &PortSpec, port: Box<dyn Port>) -> Self {
        Self {
            port,
            spec: spec.clone(),
            sim: None,
        }
    }
}

impl Opener {
    /// Opens nothing yet, not even VFIO. `feed` is what simulated ports receive.
    pub fn new(feed: Feed) -> Self {
        Self::with_roots(feed, Roots::default())
    }

    /// Like [`Opener::new`], with the kernel's file systems mounted elsewhere.
    pub fn with_roots(feed: Feed, roots: Roots) -> Self {
        Self {
            roots,
            feed,
            vfio: None,
            kmod: None,
            local: Arc::new(LocalDomain::new()),
            domains: Vec::new(),
            pci: Vec::new(),
            adopted: Vec::new(),
            sims: Vec::new(),
        }
    }

    /// Takes devices that are open already, for the ports of their addresses: such as a launcher has passed to this
    /// process ([`Container::receive`]). Devices that are opened besides join the first one's container.
    pub fn adopt(&mut self, functions: Vec<VfioFunction>) {
        if let Some(first) = functions.first() {
            self.vfio.get_or_insert_with(|| first.container().clone());
        }
        self.adopted.extend(functions);
    }

    /// Opens one port.
    ///
    /// # Errors
    /// [`OpenError`]; the ports opened before stay open.
    pub fn open(&mut self, spec: &PortSpec) -> Result<Opened, OpenError> {
        let (function, sim) = match spec {
            PortSpec::Pci(address, _) => (self.open_pci(*address)?, None),
            PortSpec::Kmod(address, _) => (self.open_kmod(*address)?, None),
            PortSpec::Sim(sim) => {
                let (function, end) = self.open_sim(sim)?;
                (function, Some(end))
            }
            PortSpec::Null(size) => {
                let named = |source| OpenError::Port {
                    port: spec.to_string(),
                    source,
                };
                return Ok(Opened::soft(spec, Box::new(Null::new(*size).map_err(named)?)));
            }
            PortSpec::VhostUser(options) => {
                return Ok(Opened::soft(spec, Box::new(Vhost::open(options)?)));
            }
            PortSpec::VirtioUser(path, settings) => {
                let port = VirtioUser::open(path, *settings).map_err(|source| OpenError::Port {
                    port: spec.to_string(),
                    source,
                })?;
                self.remember(&(port.domain().clone() as Arc<dyn DmaDomain>));
                return Ok(Opened::soft(spec, Box::new(port)));
            }
            PortSpec::Ring => return Ok(Opened::soft(spec, Box::new(Loopback::new()))),
        };
        let (address, id) = (function.address(), function.id());
        let driver = driver_for(id).ok_or(OpenError::NoDriver { address, id })?;
        self.remember(function.dma());
        let port = (driver.open)(function, spec.options()).map_err(|source| OpenError::Port {
            port: spec.to_string(),
            source,
        })?;
        Ok(Opened {
            port,
            spec: spec.clone(),
            sim,
        })
    }

    /// Drops a port that this opener has opened; its name can be opened again. The port's queues must be gone, or they
    /// keep its device open.
    pub fn close(&mut self, opened: Opened) {
        let Opened { port, spec, .. } = opened;
        drop(port);
        if let PortSpec::Pci(address, _) | PortSpec::Kmod(address, _) = spec {
            self.pci.retain(|known| *known != address);
        }
    }

    /// Compares what is going to be allocated and mapped with the machine and with the address spaces of all ports
    /// opened so far. Call it when they are open: only then are VFIO's limits known.
    ///
    /// # Errors
    /// [`OpenError::Plan`]: the first thing that is missing.
    pub fn check(&self, plan: &Plan) -> Result<(), OpenError> {
        Ok(self
            .domains
            .iter()
            .try_for_each(|domain| plan.check(domain.as_ref()))?)
    }

    /// Whether all ports are simulated ones whose feed has come to its end.
    pub fn is_dry(&self) -> bool {
        self.pci.is_empty() && !self.sims.is_empty() && self.sims.iter().all(SimEnd::is_dry)
    }

    fn open_pci(&mut self, address: PciAddress) -> Result<Arc<dyn PciFunction>, OpenError> {
        if self.pci.contains(&address) {
            return Err(OpenError::Twice(address));
        }
        if let Some(at) = self
            .adopted
            .iter()
            .position(|function| function.address() == address)
        {
            self.pci.push(address);
            return Ok(Arc::new(self.adopted.swap_remove(at)));
        }
        // Before VFIO is asked: a slip in the address is the likelier mistake than a machine without VFIO.
        let found = self.find(address)?.ok_or(VfioError::NoDevice { address })?;
        // Nor can a machine without an IOMMU be mended by loading VFIO.
        if found.iommu_group.is_none() {
            return Err(VfioError::NoIommu { address }.into());
        }
        let container = match &self.vfio {
            Some(container) => container.clone(),
            None => Container::with_roots(self.roots.clone())?,
        };
        let function = container.open(address, &OpenOptions::default())?;
        self.vfio = Some(container);
        self.pci.push(address);
        Ok(Arc::new(function))
    }

    /// In the order of [`Opener::open_pci`], for the same reasons.
    fn open_kmod(&mut self, address: PciAddress) -> Result<Arc<dyn PciFunction>, OpenError> {
        let found = self.find(address)?.ok_or(KmodError::NoDevice { address })?;
        if found.iommu_group.is_none() {
            return Err(KmodError::NoIommu { address }.into());
        }
        let ioas = match &self.kmod {
            Some(ioas) => ioas.clone(),
            None => Ioas::with_roots(self.roots.clone())?,
        };
        let function = ioas.open(address)?;
        self.kmod = Some(ioas);
        self.pci.push(address);
        Ok(Arc::new(function))
    }

    /// What sysfs knows of a device that a driver of this build is for, and that is not open yet.
    fn find(&self, address: PciAddress) -> Result<Option<Found>, OpenError> {
        if self.pci.contains(&address) {
            return Err(OpenError::Twice(address));
        }
        let found = scan::read(&self.roots, address);
        if let Some(id) = found.as_ref().map(|found| found.id) {
            driver_for(id).ok_or(OpenError::NoDriver { address, id })?;
        }
        Ok(found)
    }

    fn open_sim(&mut self, spec: &SimSpec) -> Result<(Arc<dyn PciFunction>, SimEnd), OpenError> {
        let index = self.sims.len();
        if index >= sim::MOST {
            return Err(OpenError::TooManySims(sim::MOST));
        }
        let built = sim::build(spec, index as u8, &self.feed, &self.local);
        let (function, end) = built.map_err(OpenError::Events)?;
        self.sims.push(end.clone());
        Ok((function, end))
    }

    fn remember(&mut self, domain: &Arc<dyn DmaDomain>) {
        if !self.domains.iter().any(|known| Arc::ptr_eq(known, domain)) {
            self.domains.push(domain.clone());
        }
    }
}
