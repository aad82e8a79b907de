//! The IP address of a node as the kernel takes it: a link-local one says through which interface.
//!
//! Imports nothing of the fabric but its address and error. Reads /sys; off the hot path.

use crate::fabric::{Address, FabricError};
use crate::memory::Errno;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;

/// Where to listen, or what to dial.
///
/// # Errors
/// [`FabricError::Scheme`]; [`FabricError::System`]: an address that every interface has (`fe80::`, RFC 4291 2.5.6), without the device that is meant, or with
/// one that has no interface.
pub(super) fn of(address: &Address) -> Result<SocketAddr, FabricError> {
    let Address::Rdma { host, port, device, .. } = address else {
        return Err(FabricError::Scheme { address: address.clone(), fabric: "rdma" });
    };
    let IpAddr::V6(local) = host else { return Ok(SocketAddr::new(*host, *port)) };
    if !local.is_unicast_link_local() {
        return Ok(SocketAddr::new(*host, *port));
    }
    let refused = |why: String, errno| FabricError::System { tried: format!("reaching {address}: {why}"), errno };
    let Some(device) = device else {
        let why = "each interface has its own network of fe80:: addresses. Name the device that is meant, `?device=NAME` (`handfast devices` lists them)";
        return Err(refused(why.to_owned(), Errno::new(libc::EINVAL)));
    };
    let scope = interface_of(Path::new("/sys/class"), device);
    let scope =
        scope.map_err(|errno| refused(format!("looking for the network interface of the device {device}"), errno))?;
    Ok(SocketAddr::V6(SocketAddrV6::new(*local, *port, 0, scope)))
}

/// The index of the network interface that a device's first port belongs to.
fn interface_of(class: &Path, device: &str) -> Result<u32, Errno> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| Errno::from(&error));
    let name = read(&class.join("infiniband").join(device).join("ports/1/gid_attrs/ndevs/0"))?;
    let index = read(&class.join("net").join(name.trim()).join("ifindex"))?;
    index.trim().parse().map_err(|_| Errno::new(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_of_its_devices_interface() -> Result<(), Box<dyn std::error::Error>> {
        let class = tempfile::tempdir()?;
        let write = |path: &str, text: &str| {
            let path = class.path().join(path);
            std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            std::fs::write(path, text).map_err(Box::<dyn std::error::Error>::from)
        };
        write("infiniband/rxe0/ports/1/gid_attrs/ndevs/0", "eth7\n")?;
        write("net/eth7/ifindex", "42\n")?;
        assert_eq!(interface_of(class.path(), "rxe0"), Ok(42));
        assert_eq!(interface_of(class.path(), "rxe1"), Err(Errno::new(libc::ENOENT)));
        Ok(())
    }

    #[test]
    fn the_advice_of_an_address_without_its_device_can_be_followed() -> Result<(), Box<dyn std::error::Error>> {
        assert_eq!(of(&"rdma://[fd00::1]:7".parse()?)?.to_string(), "[fd00::1]:7");
        assert_eq!(of(&"rdma://10.9.0.1:7?device=rxe0".parse()?)?.to_string(), "10.9.0.1:7");
        let error = of(&"rdma://[fe80::1]:7".parse()?).err().ok_or("taken")?.to_string();
        assert!(error.contains("`?device=NAME`"), "{error}");
        let error = of(&"rdma://[fe80::1]:7?device=no-such-device".parse()?).err().ok_or("taken")?.to_string();
        assert!(error.contains("no-such-device") && error.contains("ENOENT"), "{error}");
        Ok(())
    }
}
