//! Where the demo's partners meet.

use crate::cli::args::{DemoArguments, FabricName};
use crate::cli::fabrics::{check_pair, next_to, scheme};
use crate::cli::failure::Failure;
use handfast::fabric::Address;

/// The two addresses of a demo on this machine.
pub(crate) fn pair(arguments: &DemoArguments) -> Result<[Address; 2], Failure> {
    let sender = match (&arguments.at, arguments.fabric) {
        (Some(at), fabric) => {
            check_fabric(at, fabric)?;
            at.clone()
        }
        (None, None | Some(FabricName::Shm)) => Address::Shm { name: format!("demo-{}", std::process::id()), port: 1 },
        (None, Some(FabricName::Verbs)) => rdma()?,
    };
    let receiver = next_to(&sender)?;
    Ok([sender, receiver])
}

/// The two addresses of a half of the demo: its own, and its partner's.
pub(crate) fn half(arguments: &DemoArguments) -> Result<[Address; 2], Failure> {
    let (Some(at), Some(partner)) = (&arguments.at, &arguments.partner) else {
        return Err(Failure::usage("--side needs --at and --partner"));
    };
    check_fabric(at, arguments.fabric)?;
    check_pair(at, partner)?;
    Ok([at.clone(), partner.clone()])
}

/// Who names a fabric and an address means the same one.
fn check_fabric(at: &Address, fabric: Option<FabricName>) -> Result<(), Failure> {
    let (name, wanted) = match fabric {
        None => return Ok(()),
        Some(FabricName::Shm) => ("shm", "shm"),
        Some(FabricName::Verbs) => ("verbs", "rdma"),
    };
    if scheme(at) == wanted {
        return Ok(());
    }
    Err(Failure::usage(format!("--fabric {name} and --at {at} are of two fabrics: leave one of them out")))
}

#[cfg(not(feature = "verbs"))]
fn rdma() -> Result<Address, Failure> {
    Err(crate::cli::fabrics::built_without_rdma())
}

/// At the first RDMA device that is ready, and at a port that another demo at the same time hardly has.
#[cfg(feature = "verbs")]
fn rdma() -> Result<Address, Failure> {
    // Without the libraries there is a better word than that nothing is ready.
    handfast::fabric::verbs::Verbs::new()?;
    let (device, host) = ready::first().ok_or_else(|| {
        Failure::new(
            "no RDMA device is ready: one with an active port and an IP address is needed. `rdma link` and `ip address` tell what there is; \
             --at rdma://ADDRESS:PORT names one. Without such a device: `rdma link add rxe0 type rxe netdev INTERFACE`",
        )
    })?;
    let port = 20_000 + (std::process::id() % 10_000) as u16 * 2;
    Ok(Address::Rdma { host, port, device: Some(device), gid: None })
}

/// Which device is ready, by what the kernel tells of its ports and of the GIDs that belong to IP addresses.
#[cfg(feature = "verbs")]
mod ready {
    use std::fs::read_to_string;
    use std::net::{IpAddr, Ipv6Addr};
    use std::path::{Path, PathBuf};

    /// The first device, in order of names, with the address that it is reached by.
    pub(super) fn first() -> Option<(String, IpAddr)> {
        children(Path::new("/sys/class/infiniband")).into_iter().find_map(|device| {
            let name = device.file_name()?.to_str()?.to_owned();
            children(&device.join("ports")).iter().find_map(|port| address(port)).map(|host| (name, host))
        })
    }

    fn children(folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        // GIDs are numbered: `10` comes after `9`.
        paths.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        paths
    }

    /// The address of a port that is active: IPv4 rather than IPv6.
    fn address(port: &Path) -> Option<IpAddr> {
        let is_active = read_to_string(port.join("state")).is_ok_and(|state| state.contains("ACTIVE"));
        let hosts: Vec<_> = children(&port.join("gids"))
            .iter()
            .filter_map(|path| {
                let kind = read_to_string(port.join("gid_attrs/types").join(path.file_name()?)).ok()?;
                host(&kind, &read_to_string(path).ok()?)
            })
            .collect();
        let best = hosts.iter().find(|host| host.is_ipv4()).or(hosts.first());
        if is_active { best.copied() } else { None }
    }

    /// The IP address that a GID of RoCE v2 stands for; none where that reaches no further than the link.
    pub(super) fn host(kind: &str, gid: &str) -> Option<IpAddr> {
        let gid: Ipv6Addr = gid.trim().parse().ok()?;
        if kind.trim() != "RoCE v2" || gid.is_unspecified() || gid.is_unicast_link_local() {
            return None;
        }
        Some(gid.to_canonical())
    }
}

#[cfg(all(test, feature = "verbs"))]
mod tests {
    use super::ready::host;

    #[test]
    fn an_address_comes_from_a_gid_that_reaches_it() {
        let mapped = "0000:0000:0000:0000:0000:ffff:0a09:0001\n";
        assert_eq!(host("RoCE v2\n", mapped).map(|host| host.to_string()).as_deref(), Some("10.9.0.1"));
        assert_eq!(host("IB/RoCE v1\n", mapped), None);
        assert_eq!(host("RoCE v2\n", "fe80:0000:0000:0000:0000:00ff:fe00:0001"), None);
        assert_eq!(host("RoCE v2\n", "0000:0000:0000:0000:0000:0000:0000:0000"), None);
        assert_eq!(host("RoCE v2", "fd00::1").map(|host| host.to_string()).as_deref(), Some("fd00::1"));
    }
}
