//! Work requests, by the extended API (`ibv_wr_*`) and by the classic one.

use crate::sys::Errno;
use crate::sys::verbs::answered;
use rdma_sys::{
    ibv_post_send, ibv_qp, ibv_qp_ex, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_wr_atomic_cmp_swp,
    ibv_wr_atomic_fetch_add, ibv_wr_opcode, ibv_wr_rdma_read, ibv_wr_rdma_write, ibv_wr_rdma_write_imm, ibv_wr_send,
    ibv_wr_set_inline_data, ibv_wr_set_sge,
};
use std::mem::MaybeUninit;

/// What a work request does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Read(Place),
    Write(Place),
    WriteWithImmediate(Place, u32),
    FetchAdd(Place, u64),
    CompareSwap { place: Place, expected: u64, desired: u64 },
    Send,
}

/// Remote memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) key: u32,
}

/// Local memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data {
    /// Registered under this key; no bytes: none at all.
    Registered { address: *mut u8, length: u32, key: u32 },
    /// Copied by the provider while posting.
    Inline { bytes: *const u8, length: usize },
}

/// # Safety
/// As [`QueuePair::add`](super::QueuePair::add) says.
#[inline]
pub(super) unsafe fn add_extended(queue: *mut ibv_qp_ex, id: u64, signalled: bool, action: Action, data: Data) {
    // Field by field: another thread may end the queue pair, whose state is in the same structure.
    // SAFETY:
    // - live: by the caller's word.
    // - thread: by the caller's word nobody else builds requests here.
    unsafe { (*queue).wr_id = id };
    // The extended API has a call of its own for inline data, and rxe wants the flag besides.
    let inline = if matches!(data, Data::Inline { .. }) { ibv_send_flags::IBV_SEND_INLINE.0 } else { 0 };
    let flags = inline | if signalled { ibv_send_flags::IBV_SEND_SIGNALED.0 } else { 0 };
    // SAFETY:
    // - live, thread: as above.
    unsafe { (*queue).wr_flags = flags };
    match action {
        // SAFETY:
        // - live: by the caller's word, as for all below.
        Action::Read(place) => unsafe { ibv_wr_rdma_read(queue, place.key, place.address) },
        // SAFETY:
        // - live: by the caller's word.
        Action::Write(place) => unsafe { ibv_wr_rdma_write(queue, place.key, place.address) },
        // SAFETY:
        // - live: by the caller's word.
        Action::WriteWithImmediate(place, immediate) => unsafe {
            ibv_wr_rdma_write_imm(queue, place.key, place.address, immediate.to_be());
        },
        // SAFETY:
        // - live: by the caller's word.
        Action::FetchAdd(place, add) => unsafe { ibv_wr_atomic_fetch_add(queue, place.key, place.address, add) },
        // SAFETY:
        // - live: by the caller's word.
        Action::CompareSwap { place, expected, desired } => unsafe {
            ibv_wr_atomic_cmp_swp(queue, place.key, place.address, expected, desired);
        },
        // SAFETY:
        // - live: by the caller's word.
        Action::Send => unsafe { ibv_wr_send(queue) },
    }
    match data {
        // SAFETY:
        // - live: by the caller's word.
        // - device: by the caller's word.
        Data::Registered { address, length, key } => unsafe { ibv_wr_set_sge(queue, key, address as u64, length) },
        // SAFETY:
        // - live: by the caller's word.
        Data::Inline { bytes, length } => unsafe {
            ibv_wr_set_inline_data(queue, bytes.cast_mut().cast(), length);
        },
    }
}

/// # Safety
/// As [`QueuePair::add`](super::QueuePair::add) says.
pub(super) unsafe fn post_classic(
    queue: *mut ibv_qp,
    id: u64,
    signalled: bool,
    action: Action,
    data: Data,
) -> Result<(), Errno> {
    // SAFETY:
    // - bounds: a structure of numbers and pointers, for all of which zero is a value.
    let mut request = unsafe { MaybeUninit::<ibv_send_wr>::zeroed().assume_init() };
    let (address, length, key, inline) = match data {
        Data::Registered { address, length, key } => (address as u64, length, key, 0),
        Data::Inline { bytes, length } => {
            (bytes as u64, u32::try_from(length).unwrap_or(u32::MAX), 0, ibv_send_flags::IBV_SEND_INLINE.0)
        }
    };
    let mut element = ibv_sge { addr: address, length, lkey: key };
    request.wr_id = id;
    request.sg_list = &raw mut element;
    request.num_sge = i32::from(length != 0);
    request.send_flags = inline | if signalled { ibv_send_flags::IBV_SEND_SIGNALED.0 } else { 0 };
    let place = |place: Place| rdma_sys::rdma_t { remote_addr: place.address, rkey: place.key };
    let atomic = |place: Place, compare_add, swap| rdma_sys::atomic_t {
        remote_addr: place.address,
        compare_add,
        swap,
        rkey: place.key,
    };
    (request.opcode, request.wr) = match action {
        Action::Read(at) => (ibv_wr_opcode::IBV_WR_RDMA_READ, rdma_sys::wr_t { rdma: place(at) }),
        Action::Write(at) => (ibv_wr_opcode::IBV_WR_RDMA_WRITE, rdma_sys::wr_t { rdma: place(at) }),
        Action::WriteWithImmediate(at, immediate) => {
            request.imm_data_invalidated_rkey_union.imm_data = immediate.to_be();
            (ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM, rdma_sys::wr_t { rdma: place(at) })
        }
        Action::FetchAdd(at, add) => {
            (ibv_wr_opcode::IBV_WR_ATOMIC_FETCH_AND_ADD, rdma_sys::wr_t { atomic: atomic(at, add, 0) })
        }
        Action::CompareSwap { place: at, expected, desired } => {
            (ibv_wr_opcode::IBV_WR_ATOMIC_CMP_AND_SWP, rdma_sys::wr_t { atomic: atomic(at, expected, desired) })
        }
        Action::Send => (ibv_wr_opcode::IBV_WR_SEND, request.wr),
    };
    let mut refused = std::ptr::null_mut();
    // SAFETY:
    // - live: the queue pair by the caller's word; request and element outlive the call, and providers copy them.
    // - device: the memory by the caller's word.
    answered(unsafe { ibv_post_send(queue, &raw mut request, &raw mut refused) })
}
