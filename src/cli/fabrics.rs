//! Which fabric a command runs on: the one that its own address names. Everything else is written once, for any.

use crate::cli::failure::Failure;
use handfast::fabric::shm::Shm;
use handfast::fabric::{Address, Fabric};

/// What is to be done on a fabric, whichever it is.
pub(crate) trait Task {
    type Output;
    fn run<F: Fabric>(self, fabric: F) -> Result<Self::Output, Failure>;
}

/// Does it on the fabric of this address.
pub(crate) fn on<T: Task>(address: &Address, task: T) -> Result<T::Output, Failure> {
    match address {
        Address::Shm { .. } => task.run(Shm::new()),
        Address::Rdma { .. } => on_rdma(task),
        _ => Err(of_tests(address)),
    }
}

fn of_tests(address: &Address) -> Failure {
    Failure::usage(format!("{address} is for tests within one process: use shm:// or rdma://"))
}

#[cfg(feature = "verbs")]
fn on_rdma<T: Task>(task: T) -> Result<T::Output, Failure> {
    task.run(handfast::fabric::verbs::Verbs::new().map_err(Failure::new)?)
}

#[cfg(not(feature = "verbs"))]
fn on_rdma<T: Task>(_task: T) -> Result<T::Output, Failure> {
    Err(built_without_rdma())
}

#[cfg(not(feature = "verbs"))]
pub(crate) fn built_without_rdma() -> Failure {
    Failure::new("this program was built without RDMA: build it with `--features verbs`")
}

/// Two partners meet on one fabric, at two addresses.
pub(crate) fn check_pair(at: &Address, partner: &Address) -> Result<(), Failure> {
    let is_of_tests = |address: &&Address| matches!(address, Address::Sim { .. });
    if let Some(address) = [at, partner].into_iter().find(is_of_tests) {
        return Err(of_tests(address));
    }
    let (here, there) = (at.scheme(), partner.scheme());
    if here != there {
        return Err(Failure::usage(format!(
            "--partner: {at} and {partner} are of two fabrics, which never meet: give the partner an address that begins with `{here}://`"
        )));
    }
    if at.is_same_place(partner) {
        return Err(Failure::usage(format!("--partner: the partner is at this node's own address, {at}")));
    }
    Ok(())
}

/// The next port at the same place.
pub(crate) fn next_to(address: &Address) -> Result<Address, Failure> {
    let mut next = address.clone();
    if let Address::Shm { port, .. } | Address::Rdma { port, .. } | Address::Sim { port, .. } = &mut next {
        let above = port.checked_add(1);
        *port = above.ok_or_else(|| Failure::usage(format!("{address}: the partner needs the port after this one")))?;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, Failure> {
        text.parse().map_err(Failure::usage)
    }

    #[test]
    fn partners_are_of_one_fabric_and_at_two_places() -> Result<(), Failure> {
        for (one, other, wanted) in [
            ("shm://a:1", "rdma://10.9.0.1:7471", "of two fabrics"),
            ("rdma://10.9.0.1:7471", "shm://a:1", "rdma://"),
            ("shm://a:1", "shm://a:1", "own address"),
            ("sim://a:1", "shm://a:1", "use shm:// or rdma://"),
            ("shm://a:1", "sim://a:1", "use shm:// or rdma://"),
            ("rdma://10.9.0.1:1?device=rxe0", "rdma://10.9.0.1:1", "own address"),
        ] {
            let Err(failure) = check_pair(&address(one)?, &address(other)?) else {
                return Err(Failure::new(format!("{one} and {other} were taken for a pair")));
            };
            assert!(failure.message().contains(wanted), "{}", failure.message());
        }
        check_pair(&address("shm://a:1")?, &address("shm://a:2")?)?;
        check_pair(&address("rdma://10.9.0.1:1")?, &address("rdma://10.9.0.2:1")?)
    }

    #[test]
    fn the_partner_of_a_demo_is_one_port_further() -> Result<(), Failure> {
        let next = next_to(&address("rdma://[fd00::1]:7471?device=rxe0&gid=1")?)?;
        assert_eq!(next.to_string(), "rdma://[fd00::1]:7472?device=rxe0&gid=1");
        assert!(next_to(&address("shm://a:65535")?).is_err());
        Ok(())
    }
}
