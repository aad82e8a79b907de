//! The attributes with which a queue pair goes from one state to the next (`ibv_modify_qp(3)`).

use crate::sys::verbs::Access;
use rdma_sys::{ibv_ah_attr, ibv_gid, ibv_global_route, ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_state};
use std::mem::MaybeUninit;

/// States a queue pair is moved to by attributes of librdmacm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Init,
    ReadyToReceive,
    ReadyToSend,
}

/// Where a hand-wired queue pair sends to, and from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// Port of the device.
    pub(crate) port: u8,
    /// Index of the own GID.
    pub(crate) gid_index: u8,
    pub(crate) remote_gid: [u8; 16],
    pub(crate) remote_lid: u16,
    /// Whether packets carry a global header: always on Ethernet.
    pub(crate) global: bool,
    pub(crate) service_level: u8,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
    /// 1 to 5 for 256 to 4096 bytes.
    pub(crate) mtu: u8,
}

/// Attributes of a change of state, as librdmacm fills them or as set by hand.
pub(crate) struct Attributes {
    pub(super) raw: ibv_qp_attr,
    pub(super) mask: u32,
}

impl Attributes {
    /// For a change to `state`, with nothing else set.
    pub(super) fn to(state: ibv_qp_state::Type) -> Self {
        // SAFETY:
        // - bounds: a structure of numbers, for all of which zero is a value.
        let mut raw = unsafe { MaybeUninit::<ibv_qp_attr>::zeroed().assume_init() };
        raw.qp_state = state;
        Self { raw, mask: ibv_qp_attr_mask::IBV_QP_STATE.0 }
    }

    /// INIT, by hand.
    pub(crate) fn init(port: u8, access: Access) -> Self {
        let mut change = Self::to(ibv_qp_state::IBV_QPS_INIT);
        change.raw.port_num = port;
        change.mask |= ibv_qp_attr_mask::IBV_QP_PORT.0 | ibv_qp_attr_mask::IBV_QP_PKEY_INDEX.0;
        change.access(access);
        change
    }

    /// RTR, by hand: reads from `partner` (queue-pair number) with the packet sequence number it starts at.
    pub(crate) fn ready_to_receive(path: &Path, partner: u32, sequence: u32) -> Self {
        let mut change = Self::to(ibv_qp_state::IBV_QPS_RTR);
        change.raw.path_mtu = u32::from(path.mtu);
        change.raw.dest_qp_num = partner;
        change.raw.rq_psn = sequence;
        change.raw.ah_attr = ibv_ah_attr {
            grh: ibv_global_route {
                dgid: ibv_gid { raw: path.remote_gid },
                flow_label: 0,
                sgid_index: path.gid_index,
                hop_limit: path.hop_limit,
                traffic_class: path.traffic_class,
            },
            dlid: path.remote_lid,
            sl: path.service_level,
            src_path_bits: 0,
            static_rate: 0,
            is_global: u8::from(path.global),
            port_num: path.port,
        };
        change.mask |= ibv_qp_attr_mask::IBV_QP_AV.0
            | ibv_qp_attr_mask::IBV_QP_PATH_MTU.0
            | ibv_qp_attr_mask::IBV_QP_DEST_QPN.0
            | ibv_qp_attr_mask::IBV_QP_RQ_PSN.0;
        change
    }

    /// RTS, by hand: starts at this packet sequence number.
    pub(crate) fn ready_to_send(sequence: u32) -> Self {
        let mut change = Self::to(ibv_qp_state::IBV_QPS_RTS);
        change.raw.sq_psn = sequence;
        change.mask |= ibv_qp_attr_mask::IBV_QP_SQ_PSN.0;
        change
    }

    /// Rights of the other side on this queue pair.
    pub(crate) fn access(&mut self, access: Access) {
        self.raw.qp_access_flags = access.bits();
        self.mask |= ibv_qp_attr_mask::IBV_QP_ACCESS_FLAGS.0;
    }

    /// READs and atomics of the other side served at once, and the code of the time a sender waits for a receive (with RTR).
    pub(crate) fn responder(&mut self, reads: u8, min_rnr_timer: u8) {
        self.raw.max_dest_rd_atomic = reads;
        self.raw.min_rnr_timer = min_rnr_timer;
        self.mask |= ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC.0 | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER.0;
    }

    /// READs and atomics under way at once; ack timeout (4.096 us * 2^n) and tries; tries for a receive (7: without end). With RTS.
    pub(crate) fn requester(&mut self, reads: u8, timeout: u8, retries: u8, receiver_not_ready_retries: u8) {
        self.raw.max_rd_atomic = reads;
        self.raw.timeout = timeout;
        self.raw.retry_cnt = retries;
        self.raw.rnr_retry = receiver_not_ready_retries;
        self.mask |= ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC.0
            | ibv_qp_attr_mask::IBV_QP_TIMEOUT.0
            | ibv_qp_attr_mask::IBV_QP_RETRY_CNT.0
            | ibv_qp_attr_mask::IBV_QP_RNR_RETRY.0;
    }

    /// Sends from this entry of the table of GIDs (with RTR).
    pub(crate) fn set_gid_index(&mut self, index: u8) {
        self.raw.ah_attr.grh.sgid_index = index;
    }

    /// Sets the traffic class of the packets' global header (with RTR).
    pub(crate) fn set_traffic_class(&mut self, class: u8) {
        self.raw.ah_attr.grh.traffic_class = class;
    }

    /// The path librdmacm found (with RTR).
    pub(crate) fn path(&self) -> Path {
        let route = &self.raw.ah_attr;
        // SAFETY:
        // - bounds: every variant of the union is 16 bytes of numbers.
        let remote_gid = unsafe { route.grh.dgid.raw };
        Path {
            port: route.port_num,
            gid_index: route.grh.sgid_index,
            remote_gid,
            remote_lid: route.dlid,
            global: route.is_global != 0,
            service_level: route.sl,
            traffic_class: route.grh.traffic_class,
            hop_limit: route.grh.hop_limit,
            mtu: u8::try_from(self.raw.path_mtu).unwrap_or(0),
        }
    }

    /// Depth of READs librdmacm agreed on: as initiator (with RTS).
    pub(crate) fn initiator_depth(&self) -> u8 {
        self.raw.max_rd_atomic
    }
}
