//! A node with one log, on shared memory or on an RDMA device.

use crate::life::way::LIMIT;
use crate::nodes::Side;
use handfast::clients::mirrored_log::{LogConfig, LogPoller, MirroredLog};
use handfast::fabric::{Address, Fabric};
use handfast::manager::{ClusterManager, NodeConfig};
use std::error::Error;
use std::fmt;

/// Bytes of the ring.
const RING_BYTES: u64 = 16 << 20;

/// Where both nodes listen: the measuring process's address; its partner has the next port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    before_port: String,
    port: u16,
}

impl Place {
    /// From the first address, as text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address with a port");
        let (before_port, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port < u16::MAX).ok_or_else(wrong)?;
        Ok(Self { before_port: before_port.to_owned(), port })
    }

    /// Whether it is on an RDMA device.
    pub(crate) fn is_rdma(&self) -> bool {
        self.before_port.starts_with("rdma://")
    }

    fn addresses(&self) -> Result<[Address; 2], handfast::fabric::AddressError> {
        let of = |port: u16| format!("{}:{port}", self.before_port).parse();
        Ok([of(self.port)?, of(self.port + 1)?])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.before_port, self.port)
    }
}

/// Evaluates an expression with the fabric of a place; it yields a result with a boxed error.
#[cfg(feature = "verbs")]
macro_rules! on_fabric {
    ($place:expr, $fabric:ident => $work:expr) => {
        if $place.is_rdma() {
            let $fabric = handfast::fabric::verbs::Verbs::new()?;
            $work
        } else {
            let $fabric = handfast::fabric::shm::Shm::new();
            $work
        }
    };
}
/// The same where this was built without RDMA.
#[cfg(not(feature = "verbs"))]
macro_rules! on_fabric {
    ($place:expr, $fabric:ident => $work:expr) => {
        if $place.is_rdma() {
            Err("this was built without RDMA: add `--features verbs`".into())
        } else {
            let $fabric = handfast::fabric::shm::Shm::new();
            $work
        }
    };
}
pub(crate) use on_fabric;

/// A node that is open.
pub(crate) struct Node<F: Fabric> {
    /// Its manager.
    pub(crate) manager: ClusterManager<F>,
    /// Its log.
    pub(crate) log: MirroredLog,
    /// Its log's poller.
    pub(crate) poller: LogPoller<F>,
}

impl<F: Fabric> Node<F> {
    /// Boots it, with a log that is acknowledged when placed and stops without a partner.
    pub(crate) fn boot(fabric: F, place: &Place, side: Side) -> Result<Self, Box<dyn Error>> {
        let ([a, b], cluster) = (place.addresses()?, "perf".parse()?);
        let config = match side {
            Side::A => NodeConfig::new(cluster, "a".parse()?, a, "b".parse()?, b),
            Side::B => NodeConfig::new(cluster, "b".parse()?, b, "a".parse()?, a),
        };
        let mut manager = ClusterManager::boot(fabric, config)?;
        let log = LogConfig::new("life".parse()?).ring_bytes(RING_BYTES).pinned(false).heartbeat_age_max(LIMIT);
        let (log, poller, _) = MirroredLog::open(log, &mut manager)?;
        manager.open();
        Ok(Self { manager, log, poller })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partner_has_the_next_port() -> Result<(), Box<dyn Error>> {
        let place = Place::parse("shm://x:7")?;
        assert_eq!(place.addresses()?, ["shm://x:7".parse()?, "shm://x:8".parse()?]);
        assert_eq!(Place::parse(&place.to_string()), Ok(place));
        assert!(Place::parse("shm://x").is_err() && Place::parse("shm://x:65535").is_err());
        Ok(())
    }
}
