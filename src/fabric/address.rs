//! Where a node listens, as text: `shm://NAME:PORT`, `rdma://ADDRESS:PORT?device=rxe0&gid=1`, `sim://NAME:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// Shared memory of this machine.
    Shm {
        /// 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
        name: String,
        /// 1 to 65535.
        port: u16,
    },
    /// An RDMA device, found by the IP address of its network interface.
    Rdma {
        /// The IP address (RoCE: of the Ethernet interface; InfiniBand: of IP over InfiniBand).
        host: IpAddr,
        /// 1 to 65535; a port of librdmacm's TCP port space, which has nothing to do with TCP.
        port: u16,
        /// The device of this machine to use, as `ibv_devices` names it: the address must be reached through it. None: whichever reaches it.
        device: Option<String>,
        /// Index in that device's table of GIDs (`show_gids`) to send from. None: chosen, and told in the log.
        gid: Option<u8>,
    },
    /// The simulator.
    Sim {
        /// As for shm.
        name: String,
        /// 1 to 65535.
        port: u16,
    },
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address: {problem} at character {position}. Write shm://NAME:PORT, for example shm://disk7:1, or rdma://ADDRESS:PORT, for example rdma://10.9.0.1:7471"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// Where it goes wrong, counted in characters from 1.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// The text being read, and where in it.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }
    /// An error `ahead` bytes further on.
    fn wrong(&self, ahead: usize, problem: &'static str) -> AddressError {
        let before = self.text.get(..self.at + ahead).unwrap_or(self.text);
        AddressError { text: self.text.to_owned(), position: before.chars().count() + 1, problem }
    }
    /// Everything up to the first of `ends`, or to the end.
    fn until(&self, ends: &[char]) -> &'a str {
        self.rest().split(ends).next().unwrap_or("")
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut cursor = Cursor { text, at: 0 };
        let Some(colon) = text.find("://") else {
            return Err(cursor.wrong(0, "no scheme (shm://, rdma://)"));
        };
        let scheme = &text[..colon];
        if !["shm", "sim", "rdma"].contains(&scheme) {
            return Err(cursor.wrong(0, "unknown scheme"));
        }
        cursor.at = colon + 3;
        if scheme == "rdma" {
            return rdma(&mut cursor);
        }
        let name = name(&mut cursor, "the name is missing", &[':'])?;
        let port = port(&mut cursor, &[])?;
        Ok(if scheme == "shm" { Self::Shm { name, port } } else { Self::Sim { name, port } })
    }
}

/// A name of up to 64 characters that a file could have.
fn name(cursor: &mut Cursor<'_>, missing: &'static str, ends: &[char]) -> Result<String, AddressError> {
    let name = cursor.until(ends);
    if name.is_empty() {
        return Err(cursor.wrong(0, missing));
    }
    for (index, character) in name.char_indices() {
        let allowed = character.is_ascii_alphanumeric() || "._-".contains(character);
        if !allowed || (index == 0 && character == '.') {
            let problem = "a name has letters, digits, `.`, `_` and `-`, and does not begin with `.`;";
            return Err(cursor.wrong(index, problem));
        }
        if index >= 64 {
            return Err(cursor.wrong(index, "a name has at most 64 characters;"));
        }
    }
    cursor.at += name.len();
    Ok(name.to_owned())
}

/// `:PORT`.
fn port(cursor: &mut Cursor<'_>, ends: &[char]) -> Result<u16, AddressError> {
    if !cursor.rest().starts_with(':') {
        return Err(cursor.wrong(0, "`:PORT` is missing"));
    }
    cursor.at += 1;
    let digits = cursor.until(ends);
    if let Some(bad) = digits.find(|character: char| !character.is_ascii_digit()) {
        return Err(cursor.wrong(bad, "the port is a number from 1 to 65535;"));
    }
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| cursor.wrong(0, "the port is a number from 1 to 65535;"))?;
    cursor.at += digits.len();
    Ok(port)
}

/// `ADDRESS:PORT?device=NAME&gid=INDEX`.
fn rdma(cursor: &mut Cursor<'_>) -> Result<Address, AddressError> {
    let host = if cursor.rest().starts_with('[') {
        cursor.at += 1;
        let text = cursor.until(&[']']);
        if let Some(zone) = text.find('%') {
            let problem = "leave the zone (`%INTERFACE`) out, and name the device behind the port: `?device=NAME`;";
            return Err(cursor.wrong(zone, problem));
        }
        let host = text.parse::<Ipv6Addr>().map_err(|_| cursor.wrong(0, "no IPv6 address between the brackets"))?;
        cursor.at += text.len();
        if cursor.rest().is_empty() {
            return Err(cursor.wrong(0, "`]` is missing"));
        }
        cursor.at += 1;
        IpAddr::V6(host)
    } else {
        let text = cursor.until(&[':', '?']);
        let host = text.parse::<IpAddr>().map_err(|_| {
            cursor.wrong(0, "an IP address is needed (10.9.0.1, or [fd00::1] in brackets), not a name;")
        })?;
        cursor.at += text.len();
        host
    };
    let port = port(cursor, &['?'])?;
    let (mut device, mut gid) = (None, None);
    let mut separator = '?';
    while cursor.rest().starts_with(separator) {
        cursor.at += 1;
        separator = '&';
        let key = cursor.until(&['=', '&']);
        match key {
            "device" if device.is_none() => {
                cursor.at += (key.len() + 1).min(cursor.rest().len());
                device = Some(name(cursor, "the device's name is missing", &['&'])?);
            }
            "gid" if gid.is_none() => {
                cursor.at += (key.len() + 1).min(cursor.rest().len());
                let digits = cursor.until(&['&']);
                let index = digits.parse::<u8>();
                gid = Some(index.map_err(|_| cursor.wrong(0, "the GID index is a number from 0 to 255;"))?);
                cursor.at += digits.len();
            }
            _ => return Err(cursor.wrong(0, "`device=NAME` or `gid=INDEX` is expected, each once;")),
        }
    }
    if cursor.rest().is_empty() {
        Ok(Address::Rdma { host, port, device, gid })
    } else {
        Err(cursor.wrong(0, "`?device=NAME&gid=INDEX` or the end is expected"))
    }
}

impl Address {
    /// The name of its fabric: what stands before `://`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Shm { .. } => "shm",
            Self::Rdma { .. } => "rdma",
            Self::Sim { .. } => "sim",
        }
    }

    /// Whether both mean one place. Device and GID say how an address is reached from here; they make no other place of it.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rdma { host, port, .. }, Self::Rdma { host: other_host, port: other_port, .. }) => {
                (host, port) == (other_host, other_port)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shm { name, port } => write!(formatter, "shm://{name}:{port}"),
            Self::Sim { name, port } => write!(formatter, "sim://{name}:{port}"),
            Self::Rdma { host, port, device, gid } => {
                match host {
                    IpAddr::V4(host) => write!(formatter, "rdma://{host}:{port}")?,
                    IpAddr::V6(host) => write!(formatter, "rdma://[{host}]:{port}")?,
                }
                let mut separator = '?';
                if let Some(device) = device {
                    write!(formatter, "{separator}device={device}")?;
                    separator = '&';
                }
                match gid {
                    Some(gid) => write!(formatter, "{separator}gid={gid}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() -> Result<(), AddressError> {
        for text in [
            "shm://disk7:1",
            "sim://a.b_c-d:65535",
            "rdma://10.9.0.1:7471",
            "rdma://[fd00::1]:1?device=rxe0",
            "rdma://10.9.0.1:7471?gid=3",
            "rdma://10.9.0.1:7471?device=mlx5_0&gid=255",
        ] {
            assert_eq!(text.parse::<Address>()?.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn the_position_of_what_is_wrong_is_named() {
        for (text, position) in [
            ("disk7:1", 1),
            ("tcp://a:1", 1),
            ("shm://:1", 7),
            ("shm://a b:1", 8),
            ("shm://.a:1", 7),
            ("shm://a", 8),
            ("shm://a:", 9),
            ("shm://a:0", 9),
            ("shm://a:70000", 9),
            ("shm://a:1x", 10),
            ("shm://ä:1", 7),
            ("rdma://", 8),
            ("rdma://host:1", 8),
            ("rdma://fd00::1:1", 8),
            ("rdma://[fd00::1", 16),
            ("rdma://[fd0g]:1", 9),
            ("rdma://[fe80::1%eth0]:1", 16),
            ("rdma://10.9.0.1", 16),
            ("rdma://10.9.0.1:0", 17),
            ("rdma://10.9.0.1:1?", 19),
            ("rdma://10.9.0.1:1?device=", 26),
            ("rdma://10.9.0.1:1?device", 25),
            ("rdma://10.9.0.1:1?gid=256", 23),
            ("rdma://10.9.0.1:1?gid=1&gid=2", 25),
            ("rdma://10.9.0.1:1?gid=1?device=a", 23),
        ] {
            assert_eq!(text.parse::<Address>().map_err(|error| error.position), Err(position), "{text}");
        }
    }
}
