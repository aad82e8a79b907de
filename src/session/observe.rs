//! Reading another node's session page, one-sided, and nothing else: works before any session, and while that node does nothing.

use crate::error::Error;
use crate::fabric::{
    Address, Completion, Dial, DialPurpose, Domain, Fabric, FabricError, Link, LinkMonitor, Port, Timestamp,
    WorkRequest,
};
use crate::memory::{Buffer, Region};
use crate::page::status::{
    CORE_OFFSET, Core, HEARTBEAT_OFFSET, Identity, PROGRESS_OFFSET, Progress, ROSTER_ENTRY_BYTES, ROSTER_OFFSET,
    RosterEntry, STAGE_NAME_OFFSET, STAGE_OFFSET, STATUS_BYTES, StageName, part, roster_count,
};
use crate::page::{Attempt, ClusterName, Incarnation, NodeId, PageError, SessionId, VersionRange};
use std::time::Duration;

/// What a node publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusReport {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub node: NodeId,
    /// The protocol versions it speaks.
    pub versions: VersionRange,
    /// Whether it has a pre-shared key.
    pub has_key: bool,
    /// Its process.
    pub incarnation: Incarnation,
    /// Its try at a session.
    pub attempt: Attempt,
    /// The session it holds.
    pub session: Option<SessionId>,
    /// Whether it is about to end, in order.
    pub leaving: bool,
    /// Its boot stage; empty before the first.
    pub stage: String,
    /// Progress within the stage.
    pub progress: Progress,
    /// Its heartbeat: compare two readings to see whether it lives.
    pub heartbeat: u64,
    /// Its clients.
    pub clients: Vec<RosterEntry>,
}

/// Stage and heartbeat as one READ found them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) heartbeat: u64,
    pub(crate) stage: Option<StageName>,
    pub(crate) progress: Progress,
}

impl Pulse {
    /// From a copied-out status block (its first 704 bytes are enough).
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let word = |offset| u64::from_le_bytes(*part(bytes, offset));
        let name = StageName::decode(part(bytes, STAGE_NAME_OFFSET)).ok();
        Self {
            heartbeat: word(HEARTBEAT_OFFSET),
            stage: name.filter(|name| name.number == word(STAGE_OFFSET)),
            progress: Progress::from_word(word(PROGRESS_OFFSET)),
        }
    }
}

/// Reads the session page at `address`. Blocks the calling thread, at most for `deadline`; allocates.
///
/// # Errors
/// [`FabricError::NotListening`] where nobody listens, [`FabricError::Timeout`] where nobody answers in time, [`FabricError::Protocol`]
/// where what answers is no handfast page of this layout.
pub fn observe<F: Fabric>(fabric: &F, address: &Address, deadline: Duration) -> Result<StatusReport, Error> {
    let mut observer = Observer::begin(fabric, address, deadline)?;
    loop {
        if let Some(report) = observer.poll()? {
            return Ok(report);
        }
        std::thread::yield_now();
    }
}

/// A reading under way; the non-blocking form of [`observe()`].
pub struct Observer<F: Fabric> {
    fabric: F,
    address: Address,
    began: Timestamp,
    deadline: Duration,
    dial: Option<F::Dial>,
    link: Option<Link<F>>,
    last: Option<PageError>,
}

impl<F: Fabric> Observer<F> {
    /// Begins to read the page at `address`.
    ///
    /// # Errors
    /// As for [`observe()`].
    pub fn begin(fabric: &F, address: &Address, deadline: Duration) -> Result<Self, Error> {
        let dial = fabric.dial(address, DialPurpose::Observe)?;
        Ok(Self {
            fabric: fabric.clone(),
            address: address.clone(),
            began: fabric.now(),
            deadline,
            dial: Some(dial),
            link: None,
            last: None,
        })
    }

    /// Advances; the report once it is whole. Never blocks.
    ///
    /// # Errors
    /// As for [`observe()`].
    pub fn poll(&mut self) -> Result<Option<StatusReport>, Error> {
        if self.fabric.now().since(self.began) > self.deadline {
            return Err(self.late().into());
        }
        if let Some(dial) = &mut self.dial {
            let Some(mut link) = dial.poll()? else { return Ok(None) };
            let region = Region::builder(STATUS_BYTES).pinned(false).build().map_err(FabricError::from)?;
            let (buffer, _) = link.domain.buffer(region)?.split_at(STATUS_BYTES);
            self.post(&mut link, buffer)?;
            self.dial = None;
            self.link = Some(link);
        }
        let Some(mut link) = self.link.take() else { return Ok(None) };
        link.monitor.check()?;
        let report = self.take_reading(&mut link);
        self.link = Some(link);
        report
    }

    fn late(&self) -> FabricError {
        match self.last {
            Some(error) => FabricError::Protocol { address: self.address.clone(), detail: error.to_string() },
            None => FabricError::Timeout {
                address: self.address.to_string(),
                waited_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            },
        }
    }

    fn take_reading(&mut self, link: &mut Link<F>) -> Result<Option<StatusReport>, Error> {
        let mut completions = [Completion::default()];
        if link.port.poll(&mut completions) == 0 {
            return Ok(None);
        }
        let [completion] = completions;
        if !completion.is_success() {
            return Err(self.lost(completion.status.to_string()).into());
        }
        let Some(buffer) = completion.buffer else { return Ok(None) };
        match decode(buffer.as_slice()) {
            Ok(report) => return Ok(Some(report)),
            // Half-written or not yet written: the next READ may find it whole.
            Err(error @ (PageError::Torn { .. } | PageError::Empty)) => self.last = Some(error),
            Err(error) => {
                let detail = error.to_string();
                return Err(FabricError::Protocol { address: self.address.clone(), detail }.into());
            }
        }
        self.post(link, buffer)?;
        Ok(None)
    }

    fn lost(&self, detail: String) -> FabricError {
        FabricError::LinkLost { address: self.address.to_string(), detail }
    }

    fn post(&self, link: &mut Link<F>, buffer: Buffer) -> Result<(), FabricError> {
        link.port
            .post_read(WorkRequest::signalled(0), buffer, &link.status, 0)
            .map_err(|refused| self.lost(refused.reason.to_string()))
    }
}

fn decode(bytes: &[u8]) -> Result<StatusReport, PageError> {
    let identity = Identity::decode(part(bytes, 0))?;
    let core = Core::decode(part(bytes, CORE_OFFSET))?;
    let pulse = Pulse::decode(bytes);
    let count = roster_count(u64::from_le_bytes(*part(bytes, ROSTER_OFFSET)));
    let entry = |index| RosterEntry::decode(part::<ROSTER_ENTRY_BYTES>(bytes, RosterEntry::offset(index)));
    Ok(StatusReport {
        cluster: identity.cluster,
        node: identity.node,
        versions: identity.versions,
        has_key: identity.has_key,
        incarnation: core.word.incarnation,
        attempt: core.word.attempt,
        session: (core.session != SessionId::NONE).then_some(core.session),
        leaving: core.leaving,
        stage: pulse.stage.map(|stage| stage.as_str().to_owned()).unwrap_or_default(),
        progress: pulse.progress,
        heartbeat: pulse.heartbeat,
        clients: (0..count).map(entry).collect::<Result<_, _>>()?,
    })
}
