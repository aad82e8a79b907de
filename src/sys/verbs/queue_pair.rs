//! Reliable connected queue pairs: made, moved through their states, posted to.

use crate::sys::Errno;
use crate::sys::verbs::attributes::Attributes;
use crate::sys::verbs::posting::{Action, Data, add_extended, post_classic};
use crate::sys::verbs::{Access, CompletionQueue, ProtectionDomain, answered, made};
use rdma_sys::{
    ibv_create_qp, ibv_create_qp_ex, ibv_destroy_qp, ibv_modify_qp, ibv_post_recv, ibv_qp, ibv_qp_cap,
    ibv_qp_create_send_ops_flags, ibv_qp_ex, ibv_qp_init_attr, ibv_qp_init_attr_ex, ibv_qp_init_attr_mask,
    ibv_qp_state, ibv_qp_to_qp_ex, ibv_qp_type, ibv_recv_wr, ibv_sge, ibv_wr_complete, ibv_wr_start,
};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many requests a queue pair holds, and how long inline data may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) send: u32,
    pub(crate) receive: u32,
    pub(crate) inline_bytes: u32,
}

/// A queue pair. Destroyed when dropped.
#[derive(Debug)]
pub(crate) struct QueuePair {
    /// Null once destroyed.
    raw: AtomicPtr<ibv_qp>,
    /// Held while its state is changed or it is destroyed; whether it was. Posting takes no lock.
    control: Mutex<bool>,
    /// Where the provider has the extended work-request API.
    extended: Option<NonNull<ibv_qp_ex>>,
    number: u32,
    inline_bytes: u32,
    // Field order is drop order: what a queue pair uses goes after it.
    _completions: Arc<CompletionQueue>,
    domain: Arc<ProtectionDomain>,
}

// SAFETY:
// - thread: libibverbs lets any thread use a queue pair; posting, which builds requests in place, is the caller's to serialise.
unsafe impl Send for QueuePair {}
// SAFETY:
// - thread: as for Send.
unsafe impl Sync for QueuePair {}

/// The operations a queue pair is made for.
const OPERATIONS: u32 = ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_RDMA_WRITE.0
    | ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM.0
    | ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_RDMA_READ.0
    | ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_SEND.0
    | ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP.0
    | ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD.0;

impl QueuePair {
    /// One whose completions, of sends and receives, go to `completions`.
    ///
    /// # Errors
    /// EINVAL where the device grants less than `capacity`; ENOMEM where it has no room.
    pub(crate) fn new(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<CompletionQueue>,
        capacity: Capacity,
    ) -> Result<Self, Errno> {
        let cap = ibv_qp_cap {
            max_send_wr: capacity.send,
            max_recv_wr: capacity.receive,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: capacity.inline_bytes,
        };
        let (raw, extended, granted) = match create_extended(domain, completions, cap) {
            Ok(made) => made,
            Err(errno) if [libc::EOPNOTSUPP, libc::ENOSYS].contains(&errno.number()) => {
                create_classic(domain, completions, cap)?
            }
            Err(errno) => return Err(errno),
        };
        // SAFETY:
        // - live: just made.
        let number = unsafe { (*raw.as_ptr()).qp_num };
        let inline_bytes = granted.max_inline_data;
        Ok(Self {
            raw: AtomicPtr::new(raw.as_ptr()),
            control: Mutex::new(false),
            extended,
            number,
            inline_bytes,
            _completions: Arc::clone(completions),
            domain: Arc::clone(domain),
        })
    }

    /// Its number on the device.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Longest inline data, bytes.
    pub(crate) fn inline_bytes(&self) -> u32 {
        self.inline_bytes
    }

    /// Whether requests are posted by the extended API.
    pub(crate) fn is_extended(&self) -> bool {
        self.extended.is_some()
    }

    /// Changes its state and attributes. A system call.
    pub(crate) fn modify(&self, mut change: Attributes) -> Result<(), Errno> {
        let _control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.raw.load(Ordering::Relaxed);
        if raw.is_null() {
            return Err(Errno::new(libc::ENODEV));
        }
        // SAFETY:
        // - live: `raw` is null once it is destroyed, which takes the same lock; the attributes outlive the call.
        answered(unsafe { ibv_modify_qp(raw, &raw mut change.raw, change.mask as i32) })
    }

    /// Takes the other side's rights away; it is told by a refusal.
    pub(crate) fn revoke(&self) -> Result<(), Errno> {
        let mut change = Attributes::to(ibv_qp_state::IBV_QPS_RTS);
        change.mask = 0;
        change.access(Access::NONE);
        self.modify(change)
    }

    /// Moves it to ERR: whatever is outstanding is flushed. `Ok` too where it was destroyed.
    ///
    /// # Errors
    /// The device may still work on its requests, and on the other side's.
    pub(crate) fn fail(&self) -> Result<(), Errno> {
        let moved = self.modify(Attributes::to(ibv_qp_state::IBV_QPS_ERR));
        let destroyed = || *self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.is_err() && destroyed() { Ok(()) } else { moved }
    }

    /// Destroys it: once this is `Ok`, the device works on none of its requests any more.
    ///
    /// # Errors
    /// The device may still work on them, now and for ever.
    pub(crate) fn destroy(&self) -> Result<(), Errno> {
        let mut destroyed = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.raw.swap(std::ptr::null_mut(), Ordering::Relaxed);
        if raw.is_null() {
            return Ok(());
        }
        // SAFETY:
        // - live: made by us; the swap lets this happen once, and changes of state take the same lock.
        // - thread: who posts does so by `unsafe` calls that rule out this one.
        let outcome = answered(unsafe { ibv_destroy_qp(raw) });
        *destroyed = outcome.is_ok();
        if let Err(errno) = outcome {
            let device = self.device();
            tracing::error!(device, queue_pair = self.number, "a queue pair could not be destroyed: {errno}");
        }
        outcome
    }

    /// Name of its device.
    pub(crate) fn device(&self) -> &str {
        self.domain.context().name()
    }

    /// Begins a chain of requests that go out together. Where the provider has the classic API alone, each goes out when it is added.
    ///
    /// # Safety
    /// Nobody else posts sends to this queue pair until [`QueuePair::ring`] has returned, and it is not destroyed.
    #[inline]
    pub(crate) unsafe fn begin(&self) {
        if let Some(extended) = self.extended {
            // SAFETY:
            // - live: by the caller's word.
            // - thread: by the caller's word.
            unsafe { ibv_wr_start(extended.as_ptr()) };
        }
    }

    /// Adds a request to the chain.
    ///
    /// # Safety
    /// Within [`QueuePair::begin`] and [`QueuePair::ring`], as said there. Data stays as it is until the request has completed: not freed, and
    /// neither read nor written by us where the device writes it. Inline data is copied within this call (ibv_wr_post(3)).
    #[inline]
    pub(crate) unsafe fn add(&self, id: u64, signalled: bool, action: Action, data: Data) -> Result<(), Errno> {
        if let Some(extended) = self.extended {
            // SAFETY:
            // - live: by the caller's word.
            // - device: by the caller's word.
            unsafe { add_extended(extended.as_ptr(), id, signalled, action, data) };
            return Ok(());
        }
        let raw = self.raw.load(Ordering::Relaxed);
        // SAFETY:
        // - live: by the caller's word.
        // - device: by the caller's word.
        unsafe { post_classic(raw, id, signalled, action, data) }
    }

    /// Sends the chain off.
    ///
    /// # Errors
    /// The driver refused; it may have shown the chain to the device all the same.
    ///
    /// # Safety
    /// After [`QueuePair::begin`], as said there.
    #[inline]
    pub(crate) unsafe fn ring(&self) -> Result<(), Errno> {
        match self.extended {
            // SAFETY:
            // - live: by the caller's word.
            // - thread: by the caller's word.
            Some(extended) => answered(unsafe { ibv_wr_complete(extended.as_ptr()) }),
            None => Ok(()),
        }
    }

    /// Posts a receive.
    ///
    /// # Safety
    /// Nobody else posts receives to this queue pair meanwhile, and it is not destroyed. The memory stays registered and mapped, and is neither
    /// read nor written, until the request has completed.
    #[inline]
    pub(crate) unsafe fn post_receive(&self, id: u64, address: *mut u8, length: u32, key: u32) -> Result<(), Errno> {
        let raw = self.raw.load(Ordering::Relaxed);
        let mut element = ibv_sge { addr: address as u64, length, lkey: key };
        let count = i32::from(length != 0);
        let mut request =
            ibv_recv_wr { wr_id: id, next: std::ptr::null_mut(), sg_list: &raw mut element, num_sge: count };
        let mut refused = std::ptr::null_mut();
        // SAFETY:
        // - live: the queue pair by the caller's word; request and element outlive the call, and providers copy them.
        // - device: the memory by the caller's word.
        answered(unsafe { ibv_post_recv(raw, &raw mut request, &raw mut refused) })
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // Failure is logged there; nothing else can be done.
        let _ = self.destroy();
    }
}

type Created = (NonNull<ibv_qp>, Option<NonNull<ibv_qp_ex>>, ibv_qp_cap);

fn create_extended(
    domain: &Arc<ProtectionDomain>,
    completions: &Arc<CompletionQueue>,
    cap: ibv_qp_cap,
) -> Result<Created, Errno> {
    // SAFETY:
    // - bounds: a structure of numbers and pointers, for all of which zero is a value.
    let mut wanted = unsafe { MaybeUninit::<ibv_qp_init_attr_ex>::zeroed().assume_init() };
    wanted.send_cq = completions.raw();
    wanted.recv_cq = completions.raw();
    wanted.cap = cap;
    wanted.qp_type = ibv_qp_type::IBV_QPT_RC;
    wanted.comp_mask =
        ibv_qp_init_attr_mask::IBV_QP_INIT_ATTR_PD.0 | ibv_qp_init_attr_mask::IBV_QP_INIT_ATTR_SEND_OPS_FLAGS.0;
    wanted.pd = domain.raw();
    wanted.send_ops_flags = u64::from(OPERATIONS);
    // SAFETY:
    // - live: domain and completion queue by the counts the caller holds; the structure outlives the call.
    let raw = made(unsafe { ibv_create_qp_ex(domain.context().raw(), &raw mut wanted) })?;
    // SAFETY:
    // - live: just made.
    let extended = unsafe { ibv_qp_to_qp_ex(raw.as_ptr()) };
    Ok((raw, NonNull::new(extended), wanted.cap))
}

fn create_classic(
    domain: &Arc<ProtectionDomain>,
    completions: &Arc<CompletionQueue>,
    cap: ibv_qp_cap,
) -> Result<Created, Errno> {
    // SAFETY:
    // - bounds: a structure of numbers and pointers, for all of which zero is a value.
    let mut wanted = unsafe { MaybeUninit::<ibv_qp_init_attr>::zeroed().assume_init() };
    wanted.send_cq = completions.raw();
    wanted.recv_cq = completions.raw();
    wanted.cap = cap;
    wanted.qp_type = ibv_qp_type::IBV_QPT_RC;
    // SAFETY:
    // - live: domain and completion queue by the counts the caller holds; the structure outlives the call.
    let raw = made(unsafe { ibv_create_qp(domain.raw(), &raw mut wanted) })?;
    Ok((raw, None, wanted.cap))
}
