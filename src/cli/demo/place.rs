//! Where the demo's partners meet.

use crate::cli::args::{DemoArguments, FabricName};
use crate::cli::fabrics::{check_pair, next_to};
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
    if at.scheme() == wanted {
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
    use handfast::fabric::verbs::{Verdict, devices};
    let ready = devices()?.into_iter().find_map(|device| match device.verdict {
        Verdict::Ready { address: Some(host) } => Some((device.name, host)),
        _ => None,
    });
    let (device, host) = ready.ok_or_else(|| {
        Failure::new("no RDMA device is ready, with an address of its own: `handfast devices` tells why; --at rdma://ADDRESS:PORT names one")
    })?;
    let port = 20_000 + (std::process::id() % 10_000) as u16 * 2;
    Ok(Address::Rdma { host, port, device: Some(device), gid: None })
}
