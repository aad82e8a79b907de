//! A protection domain: a table of what is exposed and of ports, and the partner's tables as far as they were imported.
//!
//! Imports `table`, `remote`, `pending`. Off the hot path: takes locks and enters the kernel.

use super::Shm;
use super::peer::{Denied, Peer};
use super::pending::ShmPendingPort;
use super::remote::ShmRemote;
use super::table::{ForeignTable, Geometry, Row, Table, file_number};
use crate::fabric::{AccessFlags, Address, Domain, Exposed, FabricError, PortOptions, RemoteDescriptor};
use crate::memory::{Backing, Buffer, LocalKey, MemoryError, Region, Registration, Ring, RingSource};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A protection domain. Clones are the same domain.
#[derive(Debug, Clone)]
pub struct ShmDomain {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells local buffers of this domain from those of others in this process.
    number: u64,
    table: Table,
    partner: Address,
    /// The partner's process: nobody else's memory is mapped, whatever a descriptor says. Zero: nobody's.
    process: u32,
    imported: Mutex<Vec<(Named, Arc<ForeignTable>)>>,
}

/// Where a table is found: process and descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    /// The process.
    pub(crate) process: u32,
    /// Its descriptor.
    pub(crate) file: i32,
}

impl Named {
    fn from_context(context: u64) -> Self {
        Self { process: (context >> 32) as u32, file: context as u32 as i32 }
    }
    fn context(self) -> u64 {
        u64::from(self.process) << 32 | u64::from(self.file as u32)
    }
}

impl ShmDomain {
    /// A domain towards the partner at `partner`, which is `process`.
    pub(crate) fn new(geometry: Geometry, partner: &Address, process: u32) -> Result<Self, FabricError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (table, imported) = (Table::new(geometry)?, Mutex::new(Vec::new()));
        let partner = partner.clone();
        Ok(Self { inner: Arc::new(Inner { number, table, partner, process, imported }) })
    }

    /// Its number in this process.
    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }

    /// Its table.
    pub(crate) fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Whom it is for.
    pub(crate) fn partner(&self) -> &Address {
        &self.inner.partner
    }

    /// Whose memory it maps.
    pub(crate) fn process(&self) -> u32 {
        self.inner.process
    }

    /// Where others find its table.
    pub(crate) fn named(&self) -> Named {
        Named { process: std::process::id(), file: self.inner.table.file() }
    }

    /// The table that the partner's process named; opened again where the one known by that name is not `fit` any more.
    pub(crate) fn foreign(
        &self,
        named: Named,
        fit: impl Fn(&ForeignTable) -> bool,
    ) -> Result<Option<Arc<ForeignTable>>, Denied> {
        if named.process != self.inner.process {
            return Ok(None);
        }
        let mut imported = self.inner.imported.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = imported.iter().find(|(known, table)| *known == named && fit(table)) {
            return Ok(Some(Arc::clone(table)));
        }
        let table = ForeignTable::open(&Peer::open(named.process)?, named.file)?;
        if !fit(&table) {
            return Ok(None);
        }
        let table = Arc::new(table);
        imported.retain(|(known, _)| *known != named);
        imported.push((named, Arc::clone(&table)));
        Ok(Some(table))
    }

    /// Exposes the first `length` bytes of a region that others may hold too.
    pub(crate) fn expose_part(
        &self,
        region: Arc<Region>,
        length: usize,
        access: AccessFlags,
    ) -> Result<Exposed, FabricError> {
        let length = length.min(region.len()) as u64;
        let key = self.inner.table.add_row(Row { length, access, file: file_number(&region) })?;
        let registration = ShmRegistration { domain: self.clone(), key };
        let descriptor = RemoteDescriptor { address: 0, length, key, access, context: self.named().context() };
        Ok(Exposed::new(region, descriptor, Box::new(registration)))
    }

    /// A link-lost error about this domain's partner.
    pub(crate) fn lost(&self, detail: impl Into<String>) -> FabricError {
        FabricError::LinkLost { address: self.inner.partner.to_string(), detail: detail.into() }
    }

    fn refused(&self, tried: &str, denied: Denied) -> FabricError {
        let tried = format!("{tried} of the process at {}", self.inner.partner);
        denied.system(tried, self.inner.process).unwrap_or_else(|| self.lost(denied.to_string()))
    }
}

fn writes(access: AccessFlags) -> bool {
    access.contains(AccessFlags::REMOTE_WRITE) || access.contains(AccessFlags::REMOTE_ATOMIC)
}

// SAFETY:
// - live: memory goes with the last handle cut from it, and behind its registration.
// - alias: buffers, loans and exposed memory are made of what was given, each once.
// - device: rights are the ones asked for: checked at each operation.
unsafe impl Domain for ShmDomain {
    type Fabric = Shm;

    fn buffer(&self, region: Region) -> Result<Buffer, FabricError> {
        Ok(Buffer::new(region, self.inner.number, LocalKey(0), None)?)
    }

    fn ring(&self, ring: &Arc<Ring>) -> Result<RingSource, FabricError> {
        Ok(RingSource::new(Arc::clone(ring), self.inner.number, LocalKey(0), None))
    }

    /// Exposes a region. It must be [`Backing::Shared`], as [`Domain::backing`] says.
    fn expose(&self, region: Region, access: AccessFlags) -> Result<Exposed, FabricError> {
        let backing = region.backing().describe();
        let refused = |needed| Err(MemoryError::Backing { what: "exposing memory on shm", needed, backing }.into());
        match region.backing() {
            Backing::Shared { read_only_elsewhere: true } if writes(access) => {
                return refused("sealed shared memory that others may write, for remote writes and atomics");
            }
            Backing::Shared { .. } => {}
            _ => return refused("sealed shared memory"),
        }
        let length = region.len();
        self.expose_part(Arc::new(region), length, access)
    }

    fn backing(&self, access: AccessFlags) -> Backing {
        Backing::Shared { read_only_elsewhere: !writes(access) }
    }

    /// Maps the partner's memory. Enters the kernel a few times.
    ///
    /// # Errors
    /// [`FabricError::System`] where this process is at a limit (files, mappings) or may not look at the partner's files.
    fn import(&self, descriptor: &RemoteDescriptor) -> Result<ShmRemote, FabricError> {
        let nothing = || Ok(ShmRemote::nothing(descriptor));
        let named = Named::from_context(descriptor.context);
        let mapped = match self.foreign(named, |table| table.row(descriptor.key).is_some()) {
            Ok(Some(table)) => ShmRemote::map(&table, descriptor),
            Ok(None) => return nothing(),
            Err(denied) => Err(denied),
        };
        match mapped {
            Ok(Some(remote)) => Ok(remote),
            Ok(None) | Err(Denied::Gone | Denied::Unfit(_)) => nothing(),
            // The owner's own seal against what its table allows.
            Err(Denied::Kernel(errno)) if errno.number() == libc::EPERM => nothing(),
            Err(denied) => Err(self.refused("mapping memory", denied)),
        }
    }

    /// Never refused: it is done by stores to the domain's own table.
    fn revoke(&self) -> Result<(), FabricError> {
        self.inner.table.revoke();
        Ok(())
    }

    /// Makes a port: a memory file for its messages, `receive_work_requests_max` times `message_bytes_max` and a bit.
    fn port(&self, options: &PortOptions) -> Result<ShmPendingPort, FabricError> {
        options.check()?;
        ShmPendingPort::new(self, options)
    }
}

/// Holds a row of the domain's table.
#[derive(Debug)]
struct ShmRegistration {
    domain: ShmDomain,
    key: u64,
}

impl Registration for ShmRegistration {
    fn release(&mut self) -> bool {
        self.domain.inner.table.remove_row(self.key);
        true
    }
}
