//! The watch over a link we dialled.

use super::queue::SharedQueue;
use super::watch::Watch;
use crate::fabric::{FabricError, LinkMonitor};
use crate::sys::verbs::{CmEventKind, CmId};
use std::sync::Arc;

/// Watches a link: the other side's goodbye, our device, our port.
#[derive(Debug)]
pub struct VerbsLinkMonitor {
    /// None once it was parted from.
    id: Option<CmId>,
    queue: Arc<SharedQueue>,
    watch: Arc<Watch>,
    port: u8,
    to: String,
    lost: Option<String>,
}

impl VerbsLinkMonitor {
    pub(super) fn new(id: CmId, queue: Arc<SharedQueue>, watch: Arc<Watch>, port: u8, to: String) -> Self {
        Self { id: Some(id), queue, watch, port, to, lost: None }
    }

    /// What ended the link, if anything did.
    fn look(&self) -> Option<String> {
        let channel = self.id.as_ref().map(CmId::channel);
        while let Some(channel) = channel {
            match channel.poll() {
                Ok(None) => break,
                Ok(Some(event)) => match event.kind {
                    CmEventKind::Disconnected => {
                        return Some("the other side closed it, or its process ended".to_owned());
                    }
                    CmEventKind::DeviceRemoval => {
                        self.watch.removed();
                        return Some("our device was removed".to_owned());
                    }
                    CmEventKind::TimeWaitExit | CmEventKind::Established | CmEventKind::Other(_) => {}
                    other => return Some(format!("librdmacm reported {other:?}")),
                },
                Err(errno) => return Some(format!("librdmacm gives no events: {errno}")),
            }
        }
        let trouble = self.watch.trouble(self.port);
        trouble.or_else(|| self.queue.has_failed().then(|| "its port is in error".to_owned()))
    }
}

impl LinkMonitor for VerbsLinkMonitor {
    fn check(&mut self) -> Result<(), FabricError> {
        if self.lost.is_none() {
            self.lost = self.look();
            if self.lost.is_some() {
                // librdmacm leaves the queue pair in RTS.
                self.queue.end();
            }
        }
        match &self.lost {
            None => Ok(()),
            Some(detail) => Err(FabricError::LinkLost { address: self.to.clone(), detail: detail.clone() }),
        }
    }
}

impl Drop for VerbsLinkMonitor {
    fn drop(&mut self) {
        self.queue.end();
        if let Some(id) = self.id.take() {
            self.watch.part(self.port, id);
        }
    }
}
