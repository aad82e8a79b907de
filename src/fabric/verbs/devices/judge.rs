//! From what a device tells to a verdict: pure, so that it can be tried without a device.

use super::{Device, DeviceGid, DevicePort};
use crate::sys::verbs::GidKind;
use std::net::IpAddr;

/// Whether a device can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It can.
    Ready {
        /// The address that `rdma://ADDRESS:PORT` takes. None on InfiniBand: it is that of the interface of IP over InfiniBand (`ip address`).
        address: Option<IpAddr>,
    },
    /// It cannot, for these reasons.
    Missing(Vec<Problem>),
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Missing(Vec::new())
    }
}

/// What keeps a device from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What is missing.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
}

/// What concerns all devices.
pub(super) struct Machine {
    /// Why the connection manager cannot be used.
    pub(super) manager: Option<String>,
    /// Bytes that may be locked in memory; none: no limit.
    pub(super) lock_limit: Option<u64>,
}

/// A session page with its mailboxes, and a little for clients.
const LOCK_LEAST: u64 = 2 << 20;

/// A port's queues at their default sizes.
const WORK_REQUESTS_LEAST: u32 = 256;

pub(super) fn judge(device: &Device, machine: &Machine) -> Verdict {
    let mut problems = Vec::new();
    let mut problem = |what: String, remedy: String| problems.push(Problem { what, remedy });
    if let Some(manager) = &machine.manager {
        problem(manager.clone(), "`modprobe rdma_ucm`, and rights to /dev/infiniband/rdma_cm".to_owned());
    }
    if let Some(limit) = machine.lock_limit.filter(|limit| *limit < LOCK_LEAST) {
        let what = format!("only {limit} bytes of memory may be locked, and a session takes {LOCK_LEAST} and more");
        problem(what, "raise `ulimit -l` (LimitMEMLOCK= in a service file, memlock in limits.conf)".to_owned());
    }
    if device.work_requests_max < WORK_REQUESTS_LEAST {
        let what = format!("its queues hold {} requests, fewer than {WORK_REQUESTS_LEAST}", device.work_requests_max);
        problem(what, "use another device".to_owned());
    }
    // A port that works makes good for those that do not.
    let usable = device.ports.iter().find(|port| port_trouble(port).is_none());
    if usable.is_none() {
        for port in &device.ports {
            if let Some((what, remedy)) = port_trouble(port) {
                problem(format!("port {}: {what}", port.number), remedy);
            }
        }
    }
    if device.ports.is_empty() {
        problem("it has no port".to_owned(), "use another device".to_owned());
    }
    match usable {
        Some(port) if problems.is_empty() => Verdict::Ready { address: address_of(port) },
        _ => Verdict::Missing(problems),
    }
}

/// What is wrong with a port, and the remedy.
fn port_trouble(port: &DevicePort) -> Option<(String, String)> {
    let interface = port.gids.iter().find_map(|gid| gid.interface.as_deref()).unwrap_or("INTERFACE");
    if port.state != "active" {
        let remedy = match port.link_layer {
            "InfiniBand" => "see cable and switch, and whether a subnet manager runs (`ibstat`, `opensm`)".to_owned(),
            _ => format!("`ip link set {interface} up`; see cable and switch"),
        };
        return Some((format!("it is {}", port.state), remedy));
    }
    match port.link_layer {
        "InfiniBand" => None,
        "Ethernet" if address_of(port).is_some() => None,
        "Ethernet" if port.gids.iter().any(|gid| gid.kind == "RoCE v2") => {
            let remedy = format!("`ip address add ADDRESS/BITS dev {interface}`");
            Some(("its interface has no IP address but link-local ones".to_owned(), remedy))
        }
        "Ethernet" => {
            let what = "it has no RoCE v2 GID".to_owned();
            Some((what, format!("give {interface} an IP address; a device with RoCE v1 alone cannot be used")))
        }
        other => Some((format!("its link layer is {other}"), "use a RoCE or InfiniBand device".to_owned())),
    }
}

/// The address that partners dial.
fn address_of(port: &DevicePort) -> Option<IpAddr> {
    let chosen = port.gid_chosen?;
    port.gids.iter().find(|gid| gid.index == chosen)?.address()
}

/// The GID to go out by: RoCE v2 with an IPv4 address, else with a global IPv6 one; on InfiniBand the first.
pub(super) fn choose(gids: &[DeviceGid]) -> Option<u32> {
    let first = |wanted: &dyn Fn(&DeviceGid) -> bool| gids.iter().find(|gid| wanted(gid)).map(|gid| gid.index);
    first(&|gid| matches!(gid.address(), Some(IpAddr::V4(_))))
        .or_else(|| first(&|gid| gid.address().is_some()))
        .or_else(|| first(&|gid| gid.kind == "InfiniBand"))
}

pub(super) fn kind_of(kind: GidKind) -> &'static str {
    match kind {
        GidKind::InfiniBand => "InfiniBand",
        GidKind::RoceV1 => "RoCE v1",
        GidKind::RoceV2 => "RoCE v2",
        GidKind::Other(_) => "unknown",
    }
}

pub(super) fn state_of(state: u32) -> &'static str {
    ["unknown", "down", "initialising", "armed", "active"].get(state as usize).copied().unwrap_or("unknown")
}

pub(super) fn layer_of(layer: u8) -> &'static str {
    match layer {
        1 => "InfiniBand",
        2 => "Ethernet",
        _ => "unknown",
    }
}

/// Bytes of a path MTU's code.
pub(super) fn mtu_bytes(code: u8) -> u32 {
    if (1..=5).contains(&code) { 128 << code } else { 0 }
}

/// Lanes times their speed (InfiniBand Architecture Specification, volume 1, 14.2.5.6).
pub(super) fn gigabits(width: u8, speed: u8) -> u32 {
    let lanes = match width {
        1 => 1,
        2 => 4,
        4 => 8,
        8 => 12,
        16 => 2,
        _ => 0,
    };
    let tenths = match speed {
        1 => 25,
        2 => 50,
        4 | 8 => 100,
        16 => 140,
        32 => 250,
        64 => 500,
        128 => 1000,
        _ => 0,
    };
    lanes * tenths / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { manager: None, lock_limit: None };

    fn gid(index: u32, text: &str, kind: &'static str) -> DeviceGid {
        let gid = text.parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED);
        DeviceGid { index, gid, kind, interface: Some("eth7".to_owned()) }
    }

    fn device(state: &'static str, layer: &'static str, gids: Vec<DeviceGid>) -> Device {
        let gid_chosen = choose(&gids);
        let port = DevicePort { number: 1, state, link_layer: layer, gids, gid_chosen, ..DevicePort::default() };
        Device { name: "rxe7".to_owned(), work_requests_max: 1024, ports: vec![port], ..Device::default() }
    }

    fn told(device: &Device, machine: &Machine) -> String {
        format!("{:?}", judge(device, machine))
    }

    #[test]
    fn a_global_ipv4_gid_of_roce_v2_is_preferred() {
        let gids = [
            gid(0, "fe80::1", "RoCE v1"),
            gid(1, "fe80::1", "RoCE v2"),
            gid(2, "fd00::7", "RoCE v2"),
            gid(3, "::ffff:10.9.0.1", "RoCE v1"),
            gid(4, "::ffff:10.9.0.1", "RoCE v2"),
        ];
        assert_eq!(choose(&gids), Some(4));
        assert_eq!(choose(&gids[..3]), Some(2));
        assert_eq!(choose(&gids[..2]), None);
        assert_eq!(choose(&[gid(0, "fe80::5:6", "InfiniBand")]), Some(0));
    }

    #[test]
    fn a_good_port_makes_a_device_ready() {
        let good = device("active", "Ethernet", vec![gid(1, "::ffff:10.9.0.1", "RoCE v2")]);
        let address = "10.9.0.1".parse().ok();
        assert_eq!(judge(&good, &MACHINE), Verdict::Ready { address });
        let mut two = good.clone();
        two.ports.insert(0, DevicePort { number: 1, state: "down", link_layer: "Ethernet", ..DevicePort::default() });
        assert_eq!(judge(&two, &MACHINE), Verdict::Ready { address });
        let infiniband = device("active", "InfiniBand", vec![gid(0, "fe80::5:6", "InfiniBand")]);
        assert_eq!(judge(&infiniband, &MACHINE), Verdict::Ready { address: None });
    }

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        let roce = || vec![gid(1, "::ffff:10.9.0.1", "RoCE v2")];
        for (device, words) in [
            (device("down", "Ethernet", roce()), "ip link set eth7 up"),
            (device("initialising", "InfiniBand", vec![]), "subnet manager"),
            (device("active", "Ethernet", vec![gid(0, "fe80::1", "RoCE v2")]), "ip address add"),
            (device("active", "Ethernet", vec![gid(0, "::ffff:10.9.0.1", "RoCE v1")]), "RoCE v1 alone"),
            (device("active", "unknown", roce()), "link layer"),
            (Device { work_requests_max: 1024, ..Device::default() }, "no port"),
        ] {
            assert!(told(&device, &MACHINE).contains(words), "{words}: {}", told(&device, &MACHINE));
        }
        let good = device("active", "Ethernet", roce());
        let tight = Machine { manager: None, lock_limit: Some(65_536) };
        assert!(told(&good, &tight).contains("ulimit -l") && told(&good, &tight).contains("65536"));
        let none = Machine { manager: Some("no connection manager".to_owned()), lock_limit: None };
        assert!(told(&good, &none).contains("rdma_ucm"));
    }

    #[test]
    fn codes_have_their_meaning() {
        assert_eq!([mtu_bytes(1), mtu_bytes(3), mtu_bytes(5), mtu_bytes(6)], [256, 1024, 4096, 0]);
        assert_eq!([gigabits(2, 128), gigabits(1, 1), gigabits(0, 4)], [400, 2, 0]);
        assert_eq!([state_of(4), state_of(9)], ["active", "unknown"]);
    }
}
