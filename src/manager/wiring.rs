//! One client's part of an exchange: memory and ports made here, and wired to the partner's.

use crate::error::Error;
use crate::fabric::{AccessFlags, Domain, Exposed, Fabric, PendingPort, RemoteDescriptor};
use crate::manager::client::{ClientSpec, Unavailable};
use crate::manager::exchange::ExchangeError;
use crate::manager::matching::Match;
use crate::manager::tables::{Made, WiringEntry};
use crate::memory::Region;
use std::sync::Arc;

/// What may be done with memory granted to a client: everything, its counterpart being its only user.
const GRANTED: AccessFlags = AccessFlags::ALL;

/// One client's part while it is being made.
pub(crate) struct Wiring<F: Fabric> {
    pub(crate) common: Match,
    pub(crate) memory: Option<Arc<Exposed>>,
    pending: Vec<F::PendingPort>,
    pub(crate) ports: Vec<F::Port>,
    pub(crate) grant: Option<F::Remote>,
    pub(crate) failed: Option<Unavailable>,
}

/// What one client has on this side before it is wired: memory for its counterpart, and ports.
type Unwired<F> = (Option<Arc<Exposed>>, Vec<<F as Fabric>::PendingPort>);

/// What one client has once it is wired: ports, and memory at the partner.
type Wired<F> = (Vec<<F as Fabric>::Port>, Option<<F as Fabric>::Remote>);

/// Makes what one client needs on this side.
pub(crate) fn make<F: Fabric>(domain: &F::Domain, spec: &ClientSpec, common: Match) -> Wiring<F>
where
    F::Domain: Domain<Fabric = F>,
{
    let made = || -> Result<Unwired<F>, Error> {
        let memory = match usize::try_from(common.memory_here) {
            Ok(0) => None,
            Ok(bytes) => {
                let region = Region::builder(bytes).backing(domain.backing(GRANTED)).build()?;
                Some(Arc::new(domain.expose(region, GRANTED)?))
            }
            Err(_) => {
                let (bytes, max) = (common.memory_here, usize::MAX as u64);
                return Err(crate::memory::MemoryError::Length { bytes, max }.into());
            }
        };
        let ports = (0..common.ports).map(|_| domain.port(&spec.options)).collect::<Result<_, _>>()?;
        Ok((memory, ports))
    };
    match made() {
        Ok((memory, pending)) => Wiring { common, memory, pending, ports: Vec::new(), grant: None, failed: None },
        Err(error) => Wiring::failed(common, Unavailable::FailedHere(error)),
    }
}

impl<F: Fabric> Wiring<F> {
    pub(crate) fn failed(common: Match, reason: Unavailable) -> Self {
        Self { common, memory: None, pending: Vec::new(), ports: Vec::new(), grant: None, failed: Some(reason) }
    }

    pub(crate) fn entry(&self) -> WiringEntry {
        let made = || Made {
            memory: self.memory.as_ref().map(|memory| RemoteDescriptor {
                // The partner asked for so many bytes and gets no more, whatever the page size made of it.
                length: self.common.memory_here,
                ..*memory.descriptor()
            }),
            ports: self.pending.iter().map(PendingPort::address).collect(),
        };
        WiringEntry { name: self.common.name, made: self.failed.is_none().then(made) }
    }

    pub(crate) fn connect(&mut self, domain: &F::Domain, theirs: Option<Made>)
    where
        F::Domain: Domain<Fabric = F>,
    {
        if self.failed.is_some() {
            return;
        }
        let Some(theirs) = theirs else {
            self.failed = Some(Unavailable::FailedThere);
            return;
        };
        let granted = theirs.memory.map_or(0, |memory| memory.length);
        if theirs.ports.len() != self.pending.len() || granted < self.common.memory_there {
            self.failed = Some(Unavailable::FailedHere(ExchangeError::Mismatch.into()));
            return;
        }
        let mut connected = || -> Result<Wired<F>, Error> {
            let pending = self.pending.drain(..);
            let ports =
                pending.zip(&theirs.ports).map(|(port, partner)| port.connect(partner)).collect::<Result<_, _>>()?;
            let grant = theirs.memory.as_ref().map(|memory| domain.import(memory)).transpose()?;
            Ok((ports, grant))
        };
        match connected() {
            Ok((ports, grant)) => (self.ports, self.grant) = (ports, grant),
            Err(error) => self.failed = Some(Unavailable::FailedHere(error)),
        }
    }
}
