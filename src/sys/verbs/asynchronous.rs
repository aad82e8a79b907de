//! What a device reports on its own: events that belong to no work request (`ibv_get_async_event(3)`).

use crate::sys::verbs::Context;
use crate::sys::verbs::answered;
use crate::sys::{Errno, file};
use rdma_sys::{ibv_ack_async_event, ibv_async_event, ibv_event_type, ibv_get_async_event};
use std::mem::{MaybeUninit, offset_of};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsyncKind {
    /// The device is gone or broken for good.
    DeviceFatal,
    /// A port went down.
    PortDown(u8),
    /// A port is up.
    PortUp(u8),
    /// A queue pair cannot go on.
    QueuePair,
    /// A completion queue overran, or its device failed.
    CompletionQueue,
    /// Anything else.
    Other,
}

/// One event, with its name in C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsyncEvent {
    pub(crate) kind: AsyncKind,
    pub(crate) number: u32,
}

impl Context {
    /// Lets [`Context::next_event`] return at once where there is none.
    pub(crate) fn never_block(&self) -> Result<(), Errno> {
        // SAFETY:
        // - live: open until `self` is dropped.
        let descriptor = unsafe { (*self.raw()).async_fd };
        file::set_nonblocking(descriptor)
    }

    /// The next event, if there is one. A system call.
    pub(crate) fn next_event(&self) -> Result<Option<AsyncEvent>, Errno> {
        let mut event = MaybeUninit::<ibv_async_event>::zeroed();
        // SAFETY:
        // - live: open until `self` is dropped; the structure outlives the call.
        let answer = answered(unsafe { ibv_get_async_event(self.raw(), event.as_mut_ptr()) });
        match answer {
            Ok(()) => {}
            Err(errno) if [libc::EAGAIN, libc::EINTR].contains(&errno.number()) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        // Read as a number: a newer library may report what the bindings' enumeration has no name for.
        // SAFETY:
        // - bounds: within the structure just filled.
        let number =
            unsafe { event.as_ptr().wrapping_byte_add(offset_of!(ibv_async_event, event_type)).cast::<u32>().read() };
        // SAFETY:
        // - bounds: the union holds a pointer or, in events of a port, its number; it was zeroed.
        let port =
            unsafe { event.as_ptr().wrapping_byte_add(offset_of!(ibv_async_event, element)).cast::<i32>().read() };
        // SAFETY:
        // - live: the event was just received, and is acknowledged once; what it names may be destroyed from then on.
        unsafe { ibv_ack_async_event(event.as_mut_ptr()) };
        Ok(Some(AsyncEvent { kind: kind(number, port), number }))
    }
}

/// What an event of this number means; `port` counts in events of a port.
fn kind(number: u32, port: i32) -> AsyncKind {
    let is = |event: ibv_event_type| event as u32 == number;
    if is(ibv_event_type::IBV_EVENT_DEVICE_FATAL) {
        AsyncKind::DeviceFatal
    } else if is(ibv_event_type::IBV_EVENT_PORT_ERR) {
        AsyncKind::PortDown(port as u8)
    } else if is(ibv_event_type::IBV_EVENT_PORT_ACTIVE) {
        AsyncKind::PortUp(port as u8)
    } else if is(ibv_event_type::IBV_EVENT_QP_FATAL)
        || is(ibv_event_type::IBV_EVENT_QP_REQ_ERR)
        || is(ibv_event_type::IBV_EVENT_QP_ACCESS_ERR)
    {
        AsyncKind::QueuePair
    } else if is(ibv_event_type::IBV_EVENT_CQ_ERR) {
        AsyncKind::CompletionQueue
    } else {
        AsyncKind::Other
    }
}
