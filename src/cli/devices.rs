//! `handfast devices`: the RDMA devices of this machine, each with a verdict.

use crate::cli::args::DevicesArguments;
use crate::cli::failure::Failure;

#[cfg(not(feature = "verbs"))]
pub(crate) fn run(_arguments: &DevicesArguments) -> Result<(), Failure> {
    Err(crate::cli::fabrics::built_without_rdma())
}

#[cfg(feature = "verbs")]
pub(crate) use with_verbs::run;

#[cfg(feature = "verbs")]
mod with_verbs {
    use super::{DevicesArguments, Failure};
    use crate::cli::output;
    use handfast::fabric::verbs::{Device, DevicePort, Problem, Verdict, devices};
    use serde_json::{Value, json};

    /// Status 1 where no device is ready.
    pub(crate) fn run(arguments: &DevicesArguments) -> Result<(), Failure> {
        let found = devices()?;
        let ready = found.iter().any(|device| matches!(device.verdict, Verdict::Ready { .. }));
        let trouble = match (ready, found.is_empty()) {
            (true, _) => None,
            (false, true) => Some(
                "this machine has no RDMA device. The kernel can make one of any network interface: `rdma link add rxe0 type rxe netdev INTERFACE` (module rdma_rxe)",
            ),
            (false, false) => Some("no device is ready"),
        };
        if arguments.json {
            let devices: Vec<Value> = found.iter().map(object).collect();
            output::said(output::line(json!({ "devices": devices, "error": trouble })))?;
            return trouble.map_or(Ok(()), |_| Err(Failure::told()));
        }
        for device in &found {
            output::said(output::line(text(device)))?;
        }
        trouble.map_or(Ok(()), |trouble| Err(Failure::new(trouble)))
    }

    fn text(device: &Device) -> String {
        let mut lines = Vec::new();
        let firmware = if device.firmware.is_empty() { "unknown" } else { &device.firmware };
        lines.push(format!(
            "{}: vendor {:#06x}, part {}, firmware {firmware}, GUID {}",
            device.name,
            device.vendor_id,
            device.vendor_part_id,
            guid(device.node_guid)
        ));
        lines.push(format!(
            "  limits     {} queue pairs, {} requests and {} completions a queue, {} regions, {} and {} READs at once, {} atomics",
            device.queue_pairs_max,
            device.work_requests_max,
            device.completions_max,
            device.memory_regions_max,
            device.reads_made_max,
            device.reads_served_max,
            if device.atomics { "remote" } else { "no" }
        ));
        for port in &device.ports {
            lines.extend(port_lines(port));
        }
        match &device.verdict {
            Verdict::Ready { address: Some(address) } => {
                let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
                lines.push(format!("  ready: listen and dial at rdma://{host}:PORT"));
            }
            Verdict::Missing(problems) => {
                lines.extend(
                    problems.iter().map(|Problem { what, remedy, .. }| format!("  NOT READY: {what}: {remedy}")),
                );
            }
            _ => lines.push("  ready: at the address of its interface of IP over InfiniBand (`ip address`)".to_owned()),
        }
        lines.join("\n")
    }

    fn port_lines(port: &DevicePort) -> Vec<String> {
        let mut lines = vec![format!(
            "  port {}     {}, {}, {} Gb/s, MTU {} of {}, LID {}, transfers up to {} bytes",
            port.number,
            port.state,
            port.link_layer,
            port.gigabits_per_second,
            port.mtu,
            port.mtu_max,
            port.lid,
            port.message_bytes_max
        )];
        for gid in &port.gids {
            let chosen = if port.gid_chosen == Some(gid.index) { "*" } else { " " };
            let interface = gid.interface.as_deref().unwrap_or("-");
            lines.push(format!("    gid {:>3} {chosen} {:<10} {:<12} {}", gid.index, gid.kind, interface, gid.gid));
        }
        lines
    }

    fn guid(number: u64) -> String {
        let digits = format!("{number:016x}");
        [&digits[..4], &digits[4..8], &digits[8..12], &digits[12..]].join(":")
    }

    fn object(device: &Device) -> Value {
        let (ready, address, problems) = match &device.verdict {
            Verdict::Ready { address } => (true, address.map(|address| address.to_string()), Vec::new()),
            Verdict::Missing(problems) => (false, None, problems.clone()),
            _ => (false, None, Vec::new()),
        };
        let ports: Vec<Value> = device
            .ports
            .iter()
            .map(|port| {
                let gids: Vec<Value> = port
                    .gids
                    .iter()
                    .map(|gid| {
                        json!({
                            "index": gid.index,
                            "gid": gid.gid.to_string(),
                            "kind": gid.kind,
                            "interface": gid.interface,
                            "chosen": port.gid_chosen == Some(gid.index),
                        })
                    })
                    .collect();
                json!({
                    "number": port.number,
                    "state": port.state,
                    "link_layer": port.link_layer,
                    "gigabits_per_second": port.gigabits_per_second,
                    "mtu": port.mtu,
                    "mtu_max": port.mtu_max,
                    "lid": port.lid,
                    "message_bytes_max": port.message_bytes_max,
                    "gids": gids,
                })
            })
            .collect();
        json!({
            "name": device.name,
            "firmware": device.firmware,
            "node_guid": guid(device.node_guid),
            "vendor_id": device.vendor_id,
            "vendor_part_id": device.vendor_part_id,
            "queue_pairs_max": device.queue_pairs_max,
            "work_requests_max": device.work_requests_max,
            "completions_max": device.completions_max,
            "memory_regions_max": device.memory_regions_max,
            "memory_region_bytes_max": device.memory_region_bytes_max,
            "reads_made_max": device.reads_made_max,
            "reads_served_max": device.reads_served_max,
            "atomics": device.atomics,
            "ports": ports,
            "ready": ready,
            "address": address,
            "problems": problems.iter().map(|problem| json!({ "what": problem.what, "remedy": problem.remedy })).collect::<Vec<_>>(),
        })
    }
}
