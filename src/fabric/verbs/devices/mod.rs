//! What RDMA devices this machine has, and whether each can be used: what `ibv_devinfo` and `show_gids` tell, with a verdict.

mod judge;

use super::failure::{device_error, no_rdma};
use crate::fabric::FabricError;
use crate::sys::verbs::{self, DeviceAttributes, EventChannel, OpenDevice, PortAttributes};
use crate::sys::{Errno, memory};
use judge::Machine;
pub use judge::{Problem, Verdict};
use std::net::{IpAddr, Ipv6Addr};

/// An RDMA device of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Device {
    /// As `ibv_devices` names it; what `rdma://...?device=NAME` takes.
    pub name: String,
    /// Version of its firmware.
    pub firmware: String,
    /// GUID of the node.
    pub node_guid: u64,
    /// PCI vendor.
    pub vendor_id: u32,
    /// The vendor's number of the part.
    pub vendor_part_id: u32,
    /// Queue pairs, at most.
    pub queue_pairs_max: u32,
    /// Requests in one queue, at most.
    pub work_requests_max: u32,
    /// Completions in one queue, at most.
    pub completions_max: u32,
    /// Registered memory regions, at most.
    pub memory_regions_max: u32,
    /// Bytes of one region, at most.
    pub memory_region_bytes_max: u64,
    /// READs and atomics of a partner served at once on one queue pair.
    pub reads_served_max: u8,
    /// READs and atomics of its own under way at once on one queue pair.
    pub reads_made_max: u8,
    /// Whether it has remote atomics.
    pub atomics: bool,
    /// Its ports.
    pub ports: Vec<DevicePort>,
    /// Whether handfast can use it.
    pub verdict: Verdict,
}

/// A port of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DevicePort {
    /// From 1 on.
    pub number: u8,
    /// `ibv_port_state` by name: `down`, `initialising`, `armed`, `active`, or `unknown`.
    pub state: &'static str,
    /// `InfiniBand`, `Ethernet`, or `unknown`.
    pub link_layer: &'static str,
    /// Gb/s as width times speed; 0 where the device does not say.
    pub gigabits_per_second: u32,
    /// Path MTU in force, bytes.
    pub mtu: u32,
    /// The largest possible path MTU, bytes.
    pub mtu_max: u32,
    /// Local identifier; 0 on Ethernet.
    pub lid: u16,
    /// Longest READ or WRITE, bytes.
    pub message_bytes_max: u32,
    /// Its table of GIDs, without empty entries.
    pub gids: Vec<DeviceGid>,
    /// Index of the GID that a link to an address of the usual kind goes out by, if there is one to be used.
    pub gid_chosen: Option<u32>,
}

/// An entry of a port's table of GIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceGid {
    /// What `rdma://...?gid=INDEX` takes.
    pub index: u32,
    /// The GID, which is written like an IPv6 address.
    pub gid: Ipv6Addr,
    /// `InfiniBand`, `RoCE v1`, `RoCE v2`, or `unknown`.
    pub kind: &'static str,
    /// The network interface, where the kernel names one.
    pub interface: Option<String>,
}

impl DeviceGid {
    /// The IP address that a RoCE v2 GID stands for, if it can be dialled from elsewhere: not where it is link-local.
    pub fn address(&self) -> Option<IpAddr> {
        if self.kind != "RoCE v2" {
            return None;
        }
        match self.gid.to_ipv4_mapped() {
            Some(address) if !address.is_link_local() => Some(IpAddr::V4(address)),
            Some(_) => None,
            None if self.gid.segments()[0] & 0xffc0 == 0xfe80 => None,
            None => Some(IpAddr::V6(self.gid)),
        }
    }
}

/// The RDMA devices of this machine, each with a verdict. Opens each for the moment; allocates, enters the kernel.
///
/// # Errors
/// [`FabricError::NoRdma`] where libibverbs is missing. A machine without devices, or whose kernel has no RDMA, is no error: the list is empty.
pub fn devices() -> Result<Vec<Device>, FabricError> {
    let found = match verbs::open_devices() {
        Ok(found) => found,
        // The kernel's modules are not loaded: nothing to list, and nothing wrong with the libraries.
        Err(errno) if errno.number() == libc::ENOSYS => Vec::new(),
        Err(errno) => return Err(no_rdma(errno)),
    };
    let manager = EventChannel::new().map(|_| ()).map_err(no_rdma);
    let machine = Machine { manager: manager.err().map(|error| error.to_string()), lock_limit: memory::lock_limit() };
    Ok(found.into_iter().map(|(name, opened)| probe(name, opened, &machine)).collect())
}

fn probe(name: String, opened: Result<OpenDevice, Errno>, machine: &Machine) -> Device {
    let described = opened.and_then(|open| describe(&name, &open));
    match described {
        Ok(mut device) => {
            device.verdict = judge::judge(&device, machine);
            device
        }
        Err(errno) => {
            let what = device_error("opening the device and asking what it can do", &name, errno).to_string();
            let remedy =
                "see the rights of /dev/infiniband/uverbs* (often those of the group `rdma`), and the kernel's log"
                    .to_owned();
            Device { verdict: Verdict::Missing(vec![Problem { what, remedy }]), name, ..Device::default() }
        }
    }
}

fn describe(name: &str, open: &OpenDevice) -> Result<Device, Errno> {
    let DeviceAttributes {
        firmware,
        node_guid,
        vendor_id,
        vendor_part_id,
        ports,
        queue_pairs_max,
        work_requests_max,
        completions_max,
        memory_regions_max,
        memory_region_bytes_max,
        read_atomic_responder_max,
        read_atomic_initiator_max,
        atomics,
    } = open.attributes()?;
    let ports = (1..=ports).map(|number| port(open, number)).collect::<Result<_, _>>()?;
    Ok(Device {
        name: name.to_owned(),
        firmware,
        node_guid,
        vendor_id,
        vendor_part_id,
        queue_pairs_max,
        work_requests_max,
        completions_max,
        memory_regions_max,
        memory_region_bytes_max,
        reads_served_max: read_atomic_responder_max,
        reads_made_max: read_atomic_initiator_max,
        atomics,
        ports,
        verdict: Verdict::default(),
    })
}

fn port(open: &OpenDevice, number: u8) -> Result<DevicePort, Errno> {
    let attributes = open.port(number)?;
    let mut gids = Vec::new();
    for index in 0..attributes.gids {
        if let Some(gid) = open.gid(number, index)? {
            let kind = judge::kind_of(gid.kind);
            let interface = interface(gid.interface);
            gids.push(DeviceGid { index: gid.index, gid: Ipv6Addr::from(gid.bytes), kind, interface });
        }
    }
    let gid_chosen = judge::choose(&gids);
    let PortAttributes { state, mtu, mtu_max, lid, link_layer, active_width, active_speed, message_bytes_max, .. } =
        attributes;
    Ok(DevicePort {
        number,
        state: judge::state_of(state),
        link_layer: judge::layer_of(link_layer),
        gigabits_per_second: judge::gigabits(active_width, active_speed),
        mtu: judge::mtu_bytes(mtu),
        mtu_max: judge::mtu_bytes(mtu_max),
        lid,
        message_bytes_max,
        gids,
        gid_chosen,
    })
}

/// The name of the network interface with this index.
fn interface(index: u32) -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let found = std::fs::read_to_string(entry.path().join("ifindex")).ok()?;
        (found.trim().parse() == Ok(index)).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}
