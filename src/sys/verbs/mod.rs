//! libibverbs and librdmacm: one owner for each object of theirs, destroyed in the order they ask for, and no error number dropped.
//!
//! Imports `sys` alone. Objects keep what they need alive by reference counts: queue pair, then completion queue, then memory region, then
//! protection domain, then context. The libraries are loaded when the program starts (`dlopen(3)`); where they are missing every call fails with EOPNOTSUPP.
//!
//! Structures are those of the bindings' headers. What a library newer than these may put where an enumeration is expected is read as a plain
//! number; what is larger in newer headers is zeroed before an older library fills it.

mod asynchronous;
mod attributes;
mod communication;
mod completion;
mod context;
mod device;
mod domain;
mod posting;
mod queue_pair;

pub(crate) use asynchronous::AsyncKind;
pub(crate) use attributes::{Attributes, Path, State};
pub(crate) use communication::{CmEvent, CmEventKind, CmId, ConnectParameters, EventChannel, IdKey};
pub(crate) use completion::{CompletionQueue, WorkCompletion, status};
pub(crate) use context::Context;
pub(crate) use device::{DeviceAttributes, GidKind, OpenDevice, PortAttributes, open_devices};
pub(crate) use domain::{Access, MemoryRegion, ProtectionDomain};
pub(crate) use posting::{Action, Data, Place};
pub(crate) use queue_pair::{Capacity, QueuePair};

use crate::sys::Errno;
use std::ptr::NonNull;

/// What a call means that answers with zero or an error number (`ibv_modify_qp` and its like), or with -1 and `errno`.
fn answered(code: libc::c_int) -> Result<(), Errno> {
    match code {
        0 => Ok(()),
        -1 => Err(Errno::last()),
        code => Err(Errno::new(code.saturating_abs())),
    }
}

/// What a call means that answers with an object, or with null and `errno`.
fn made<T>(object: *mut T) -> Result<NonNull<T>, Errno> {
    NonNull::new(object).ok_or_else(Errno::last)
}
