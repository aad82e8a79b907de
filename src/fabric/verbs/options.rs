//! What users may set about the verbs fabric.

use crate::fabric::FabricError;
use crate::fabric::error::in_range;

/// Settings of the verbs fabric, for all links and ports made by it. The defaults suit a private wire between two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerbsOptions {
    /// How long a packet's acknowledgement is awaited, as the exponent n of 4.096 us * 2^n: 1 to 31. Default 14 (67 ms). Devices have a
    /// floor of their own, up to hundreds of milliseconds: no way to detect a dead partner quickly.
    pub ack_timeout_exponent: u8,
    /// How often a packet is sent again before an operation fails: 0 to 6. Default 6.
    pub retry_count: u8,
    /// Traffic class of the packets (RoCE: DSCP in the upper six bits). Default 0.
    pub traffic_class: u8,
    /// Longest data carried in a request itself, bytes: 0 to 512. Default 128. More is granted where it costs nothing, less where the device has
    /// less. Short WRITEs and SENDs go this way by themselves.
    pub inline_bytes: u32,
    /// Registers memory without pinning it (`IBV_ACCESS_ON_DEMAND`): the device faults pages in. Default false. A first access then takes as long as a
    /// page fault, tens of microseconds and more, and memory that was swapped out longer; nothing else changes. Fails to register
    /// where the device cannot.
    pub on_demand_paging: bool,
    /// Lets the PCI bus reorder the device's writes to memory (`IBV_ACCESS_RELAXED_ORDERING`). Default false. Faster on some machines. It applies to
    /// buffers and rings of this process alone: memory that the partner writes never has it, since a READ behind a WRITE would then prove
    /// nothing, and a word would not announce what was written before it.
    pub relaxed_ordering: bool,
}

impl Default for VerbsOptions {
    fn default() -> Self {
        Self {
            ack_timeout_exponent: 14,
            retry_count: 6,
            traffic_class: 0,
            inline_bytes: 128,
            on_demand_paging: false,
            relaxed_ordering: false,
        }
    }
}

impl VerbsOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the exponent of the ack timeout.
    #[must_use]
    pub fn ack_timeout(mut self, exponent: u8) -> Self {
        self.ack_timeout_exponent = exponent;
        self
    }
    /// Sets the number of retries.
    #[must_use]
    pub fn retries(mut self, count: u8) -> Self {
        self.retry_count = count;
        self
    }
    /// Sets the traffic class.
    #[must_use]
    pub fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = class;
        self
    }
    /// Sets the length of inline data.
    #[must_use]
    pub fn inline_bytes(mut self, bytes: u32) -> Self {
        self.inline_bytes = bytes;
        self
    }
    /// Registers without pinning.
    #[must_use]
    pub fn on_demand_paging(mut self, wanted: bool) -> Self {
        self.on_demand_paging = wanted;
        self
    }
    /// Relaxes the order of a device's writes to local buffers.
    #[must_use]
    pub fn relaxed_ordering(mut self, wanted: bool) -> Self {
        self.relaxed_ordering = wanted;
        self
    }

    pub(super) fn check(&self) -> Result<(), FabricError> {
        in_range("VerbsOptions::ack_timeout", self.ack_timeout_exponent, 1, 31)?;
        in_range("VerbsOptions::retries", self.retry_count, 0, 6)?;
        in_range("VerbsOptions::inline_bytes", self.inline_bytes, 0, 512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_retries_are_refused() {
        assert!(VerbsOptions::new().check().is_ok());
        for wrong in
            [VerbsOptions::new().retries(7), VerbsOptions::new().ack_timeout(0), VerbsOptions::new().inline_bytes(513)]
        {
            assert!(matches!(wrong.check(), Err(FabricError::Option { .. })), "{wrong:?}");
        }
    }
}
