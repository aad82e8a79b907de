//! The bindings' structures lie as the C headers installed here say, where they are installed.
#![cfg(feature = "verbs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::mem::{offset_of, size_of};
use std::process::Command;

/// One number: how C writes it, and what Rust has.
type Check = (String, usize);

macro_rules! fields {
    ($checks:ident, $type:ident, $c:literal, [$($field:ident),* $(,)?]) => {
        $($checks.push((format!("offsetof({}, {})", $c, stringify!($field)), offset_of!(rdma_sys::$type, $field)));)*
    };
}

macro_rules! whole {
    ($checks:ident, $type:ident, $c:literal, [$($field:ident),* $(,)?]) => {
        $checks.push((format!("sizeof({})", $c), size_of::<rdma_sys::$type>()));
        fields!($checks, $type, $c, [$($field),*]);
    };
}

/// Everything that src/sys/verbs reads or writes. Structures that newer headers let grow at their ends are compared up to what is used.
fn checks() -> Vec<Check> {
    [requests(), objects(), attributes(), manager()].concat()
}

/// Work requests and completions.
fn requests() -> Vec<Check> {
    let mut checks = Vec::new();
    whole!(checks, ibv_sge, "struct ibv_sge", [addr, length, lkey]);
    whole!(checks, ibv_wc, "struct ibv_wc", [wr_id, status, opcode, vendor_err, byte_len, qp_num, wc_flags]);
    whole!(checks, ibv_send_wr, "struct ibv_send_wr", [wr_id, next, sg_list, num_sge, opcode, send_flags, wr]);
    whole!(checks, ibv_recv_wr, "struct ibv_recv_wr", [wr_id, next, sg_list, num_sge]);
    fields!(
        checks,
        ibv_qp_ex,
        "struct ibv_qp_ex",
        [
            wr_id,
            wr_flags,
            wr_atomic_cmp_swp,
            wr_atomic_fetch_add,
            wr_rdma_read,
            wr_rdma_write,
            wr_rdma_write_imm,
            wr_send,
            wr_set_inline_data,
            wr_set_sge,
            wr_start,
            wr_complete,
        ]
    );
    checks
}

/// Memory, devices, contexts, queue pairs, events.
fn objects() -> Vec<Check> {
    let mut checks = Vec::new();
    whole!(checks, ibv_mr, "struct ibv_mr", [addr, length, lkey, rkey]);
    whole!(checks, ibv_gid_entry, "struct ibv_gid_entry", [gid, gid_index, port_num, gid_type, ndev_ifindex]);
    whole!(
        checks,
        ibv_device_attr,
        "struct ibv_device_attr",
        [fw_ver, node_guid, max_qp_wr, atomic_cap, phys_port_cnt]
    );
    whole!(checks, ibv_async_event, "struct ibv_async_event", [element, event_type]);
    fields!(checks, ibv_port_attr, "struct ibv_port_attr", [state, max_mtu, active_mtu, gid_tbl_len, lid, link_layer]);
    fields!(checks, ibv_qp, "struct ibv_qp", [context, qp_num]);
    fields!(checks, ibv_context, "struct ibv_context", [device, ops, async_fd]);
    fields!(checks, ibv_context_ops, "struct ibv_context_ops", [poll_cq, post_send, post_recv]);
    checks
}

/// Changes of a queue pair's state.
fn attributes() -> Vec<Check> {
    let mut checks = Vec::new();
    whole!(checks, ibv_qp_cap, "struct ibv_qp_cap", [max_send_wr, max_recv_wr, max_inline_data]);
    whole!(checks, ibv_ah_attr, "struct ibv_ah_attr", [grh, dlid, sl, is_global, port_num]);
    whole!(checks, ibv_global_route, "struct ibv_global_route", [dgid, sgid_index, hop_limit, traffic_class]);
    whole!(checks, ibv_qp_init_attr, "struct ibv_qp_init_attr", [send_cq, recv_cq, cap, qp_type]);
    whole!(
        checks,
        ibv_qp_attr,
        "struct ibv_qp_attr",
        [
            qp_state,
            path_mtu,
            rq_psn,
            sq_psn,
            dest_qp_num,
            qp_access_flags,
            ah_attr,
            port_num,
            max_rd_atomic,
            max_dest_rd_atomic,
            min_rnr_timer,
            timeout,
            retry_cnt,
            rnr_retry,
        ]
    );
    fields!(checks, ibv_qp_init_attr_ex, "struct ibv_qp_init_attr_ex", [cap, qp_type, comp_mask, pd, send_ops_flags]);
    checks
}

/// librdmacm.
fn manager() -> Vec<Check> {
    let mut checks = Vec::new();
    fields!(checks, rdma_event_channel, "struct rdma_event_channel", [fd]);
    fields!(checks, rdma_cm_id, "struct rdma_cm_id", [verbs, channel, qp, port_num]);
    fields!(checks, rdma_cm_event, "struct rdma_cm_event", [id, listen_id, event, status, param]);
    whole!(
        checks,
        rdma_conn_param,
        "struct rdma_conn_param",
        [
            private_data,
            private_data_len,
            responder_resources,
            initiator_depth,
            retry_count,
            rnr_retry_count,
            srq,
            qp_num
        ]
    );
    checks
}

/// What the C compiler says of these, or why it cannot be asked.
fn in_c(checks: &[Check]) -> Result<Vec<usize>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    let lines: String = checks.iter().map(|(text, _)| format!("    printf(\"%zu\\n\", (size_t){text});\n")).collect();
    let text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>\nint main(void) {{\n{lines}    return 0;\n}}\n"
    );
    std::fs::write(&source, text).map_err(|error| error.to_string())?;
    let compiled = Command::new("cc").arg(&source).arg("-o").arg(&program).output();
    let compiled = compiled.map_err(|error| format!("no C compiler: {error}"))?;
    if !compiled.status.success() {
        return Err(String::from_utf8_lossy(&compiled.stderr).into_owned());
    }
    let ran = Command::new(&program).output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&ran.stdout).lines().filter_map(|line| line.parse().ok()).collect())
}

/// What C and Rust do not agree on; none: the headers are not here.
fn disagreements(checks: &[Check]) -> Option<Vec<String>> {
    let missing = ["verbs.h: No such file", "rdma_cma.h: No such file", "no C compiler"];
    let found = match in_c(checks) {
        Ok(found) => found,
        Err(why) if missing.iter().any(|words| why.contains(words)) => {
            println!("SKIPPED: the headers of libibverbs-dev and librdmacm-dev, or a C compiler, are not installed");
            return None;
        }
        Err(why) => panic!("the headers are here, and do not know what is used of them:\n{why}"),
    };
    assert_eq!(found.len(), checks.len());
    let wrong = checks.iter().zip(&found).filter(|((_, ours), theirs)| ours != *theirs);
    Some(wrong.map(|((text, ours), theirs)| format!("{text} is {theirs} in C and {ours} here")).collect())
}

#[test]
fn structures_lie_as_the_headers_say() {
    let checks = checks();
    if let Some(wrong) = disagreements(&checks) {
        assert_eq!(wrong, Vec::<String>::new());
        println!("{} sizes and offsets agree", checks.len());
    }
}

#[test]
fn a_wrong_offset_is_caught() {
    let checks = [("offsetof(struct ibv_sge, lkey)".to_owned(), 0), ("offsetof(struct ibv_sge, addr)".to_owned(), 0)];
    if let Some(wrong) = disagreements(&checks) {
        assert_eq!(wrong, ["offsetof(struct ibv_sge, lkey) is 12 in C and 0 here"]);
    }
}
