//! What devices there are, and what one tells of itself, its ports and its GIDs.

use crate::sys::Errno;
use crate::sys::verbs::{answered, made};
use rdma_sys::{
    ibv_atomic_cap, ibv_close_device, ibv_context, ibv_device_attr, ibv_free_device_list, ibv_get_device_list,
    ibv_get_device_name, ibv_gid_entry, ibv_mtu, ibv_open_device, ibv_port_attr, ibv_query_device, ibv_query_gid_ex,
    ibv_query_port,
};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// What a device can do (`ibv_query_device`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceAttributes {
    pub(crate) firmware: String,
    pub(crate) node_guid: u64,
    pub(crate) vendor_id: u32,
    pub(crate) vendor_part_id: u32,
    pub(crate) ports: u8,
    pub(crate) queue_pairs_max: u32,
    pub(crate) work_requests_max: u32,
    pub(crate) completions_max: u32,
    pub(crate) memory_regions_max: u32,
    pub(crate) memory_region_bytes_max: u64,
    /// READs and atomics of others that it serves at once on one queue pair.
    pub(crate) read_atomic_responder_max: u8,
    /// READs and atomics of its own that it has under way at once on one queue pair.
    pub(crate) read_atomic_initiator_max: u8,
    pub(crate) atomics: bool,
}

/// How a port is (`ibv_query_port`). Codes are those of the InfiniBand Architecture Specification, volume 1, 14.2.5.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortAttributes {
    /// 1 down, 2 initialising, 3 armed, 4 active.
    pub(crate) state: u32,
    /// Path MTU in force: 1 to 5 for 256 to 4096 bytes.
    pub(crate) mtu: u8,
    /// The largest possible, in the same code.
    pub(crate) mtu_max: u8,
    pub(crate) gids: u32,
    pub(crate) lid: u16,
    /// 1 InfiniBand, 2 Ethernet.
    pub(crate) link_layer: u8,
    pub(crate) active_width: u8,
    pub(crate) active_speed: u8,
    pub(crate) message_bytes_max: u32,
}

/// What a GID is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GidKind {
    InfiniBand,
    RoceV1,
    RoceV2,
    Other(u32),
}

/// An entry of a port's table of GIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gid {
    pub(crate) index: u32,
    pub(crate) bytes: [u8; 16],
    pub(crate) kind: GidKind,
    /// Index of the network interface; 0: none.
    pub(crate) interface: u32,
}

/// An open device; closed when dropped. What is made from it must be gone by then.
#[derive(Debug)]
pub(crate) struct OpenDevice(NonNull<ibv_context>);

// SAFETY:
// - thread: libibverbs lets any thread use a context, at any time (ibv_open_device(3)).
unsafe impl Send for OpenDevice {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for OpenDevice {}

impl OpenDevice {
    pub(super) fn raw(&self) -> *mut ibv_context {
        self.0.as_ptr()
    }
    /// What the device can do.
    pub(crate) fn attributes(&self) -> Result<DeviceAttributes, Errno> {
        // SAFETY:
        // - live: open until `self` is dropped.
        unsafe { attributes(self.0.as_ptr()) }
    }
    /// How one of its ports is.
    pub(crate) fn port(&self, port: u8) -> Result<PortAttributes, Errno> {
        // SAFETY:
        // - live: open until `self` is dropped.
        unsafe { self::port(self.0.as_ptr(), port) }
    }
    /// One entry of a port's table of GIDs; None where it is empty.
    pub(crate) fn gid(&self, port: u8, index: u32) -> Result<Option<Gid>, Errno> {
        // SAFETY:
        // - live: open until `self` is dropped.
        unsafe { gid(self.0.as_ptr(), port, index) }
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        // SAFETY:
        // - live: opened by us, closed once; what was made from it held a count of the context around it.
        let closed = answered(unsafe { ibv_close_device(self.0.as_ptr()) });
        if let Err(errno) = closed {
            tracing::warn!("closing an RDMA device: {errno}");
        }
    }
}

/// All devices of this machine, opened: name and device, or why that one could not be opened.
///
/// # Errors
/// EOPNOTSUPP where libibverbs is missing, ENOSYS where the kernel has no RDMA.
pub(crate) fn open_devices() -> Result<Vec<Named>, Errno> {
    list(|_| true)
}

/// A device's name, and the device or why it could not be opened.
type Named = (String, Result<OpenDevice, Errno>);

/// The devices whose names are wanted, opened.
fn list(wanted: impl Fn(&str) -> bool) -> Result<Vec<Named>, Errno> {
    let mut count = 0;
    // SAFETY:
    // - live: `count` outlives the call.
    let list = made(unsafe { ibv_get_device_list(&raw mut count) })?;
    let mut devices = Vec::new();
    for number in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY:
        // - bounds: the list has `count` entries.
        let entry = unsafe { list.add(number) };
        // SAFETY:
        // - live: the list lives until it is freed below.
        let device = unsafe { entry.read() };
        // SAFETY:
        // - live: a device of a list lives as long as the list.
        let name = unsafe { ibv_get_device_name(device) };
        // SAFETY:
        // - live: the name belongs to the device.
        let name = unsafe { text(name) };
        if !wanted(&name) {
            continue;
        }
        // SAFETY:
        // - live: a device of a list lives as long as the list; an opened one beyond it.
        let opened = made(unsafe { ibv_open_device(device) }).map(OpenDevice);
        devices.push((name, opened));
    }
    // SAFETY:
    // - live: freed once; what was opened holds on to its device itself.
    unsafe { ibv_free_device_list(list.as_ptr()) };
    Ok(devices)
}

/// A C string, or nothing.
///
/// # Safety
/// `string` is null or a C string that lives.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY:
    // - live: by the caller's word.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// Opens the device of this name.
///
/// # Errors
/// ENODEV where there is none; otherwise as for [`open_devices`].
pub(super) fn open_device(wanted: &str) -> Result<OpenDevice, Errno> {
    let found = list(|name| name == wanted)?.pop();
    found.map_or(Err(Errno::new(libc::ENODEV)), |(_, opened)| opened)
}

/// The name of the device that an id of librdmacm is bound to.
///
/// # Safety
/// `context` is null, or the `verbs` field of an id that lives.
pub(super) unsafe fn name_of(context: *mut ibv_context) -> Option<String> {
    if context.is_null() {
        return None;
    }
    // SAFETY:
    // - live: by the caller's word; an id keeps the device it is bound to.
    let device = unsafe { (*context).device };
    // SAFETY:
    // - live: a context keeps its device.
    let name = unsafe { ibv_get_device_name(device) };
    // SAFETY:
    // - live: the name belongs to the device.
    Some(unsafe { text(name) })
}

/// # Safety
/// The context is open.
unsafe fn attributes(context: *mut ibv_context) -> Result<DeviceAttributes, Errno> {
    let mut attributes = MaybeUninit::<ibv_device_attr>::zeroed();
    // SAFETY:
    // - live: the context by the caller's word; the structure outlives the call.
    answered(unsafe { ibv_query_device(context, attributes.as_mut_ptr()) })?;
    // SAFETY:
    // - bounds: numbers and arrays of numbers alone, zeroed above.
    let found = unsafe { attributes.assume_init() };
    let number = |value: libc::c_int| u32::try_from(value).unwrap_or(0);
    let depth = |value: libc::c_int| u8::try_from(value.clamp(0, 255)).unwrap_or(0);
    let firmware = found.fw_ver.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte as u8)).collect();
    Ok(DeviceAttributes {
        firmware,
        node_guid: u64::from_be(found.node_guid),
        vendor_id: found.vendor_id,
        vendor_part_id: found.vendor_part_id,
        ports: found.phys_port_cnt,
        queue_pairs_max: number(found.max_qp),
        work_requests_max: number(found.max_qp_wr),
        completions_max: number(found.max_cqe),
        memory_regions_max: number(found.max_mr),
        memory_region_bytes_max: found.max_mr_size,
        read_atomic_responder_max: depth(found.max_qp_rd_atom),
        read_atomic_initiator_max: depth(found.max_qp_init_rd_atom),
        atomics: found.atomic_cap != ibv_atomic_cap::IBV_ATOMIC_NONE,
    })
}

/// # Safety
/// The context is open.
unsafe fn port(context: *mut ibv_context, port: u8) -> Result<PortAttributes, Errno> {
    let mut attributes = MaybeUninit::<ibv_port_attr>::zeroed();
    // SAFETY:
    // - live: the context by the caller's word; the structure outlives the call.
    answered(unsafe { ibv_query_port(context, port, attributes.as_mut_ptr()) })?;
    // SAFETY:
    // - bounds: numbers alone, zeroed above.
    let found = unsafe { attributes.assume_init() };
    let mtu = |code: ibv_mtu::Type| u8::try_from(code).unwrap_or(0);
    Ok(PortAttributes {
        state: found.state,
        mtu: mtu(found.active_mtu),
        mtu_max: mtu(found.max_mtu),
        gids: u32::try_from(found.gid_tbl_len).unwrap_or(0),
        lid: found.lid,
        link_layer: found.link_layer,
        active_width: found.active_width,
        active_speed: found.active_speed,
        message_bytes_max: found.max_msg_sz,
    })
}

/// # Safety
/// The context is open.
unsafe fn gid(context: *mut ibv_context, port: u8, index: u32) -> Result<Option<Gid>, Errno> {
    let mut entry = MaybeUninit::<ibv_gid_entry>::zeroed();
    // SAFETY:
    // - live: the context by the caller's word; the structure outlives the call.
    let answer = answered(unsafe { ibv_query_gid_ex(context, u32::from(port), index, entry.as_mut_ptr(), 0) });
    match answer {
        Ok(()) => {}
        Err(errno) if errno.number() == libc::ENODATA => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY:
    // - bounds: numbers alone, zeroed above.
    let entry = unsafe { entry.assume_init() };
    // SAFETY:
    // - bounds: every variant of the union is 16 bytes of numbers.
    let bytes = unsafe { entry.gid.raw };
    if bytes == [0; 16] {
        return Ok(None);
    }
    let kind = match entry.gid_type {
        0 => GidKind::InfiniBand,
        1 => GidKind::RoceV1,
        2 => GidKind::RoceV2,
        other => GidKind::Other(other),
    };
    Ok(Some(Gid { index, bytes, kind, interface: entry.ndev_ifindex }))
}
