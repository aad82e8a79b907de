//! Where a node listens, as text: `shm://NAME:PORT`, `rdma://ADDRESS:PORT?device=rxe0&gid=1`, `sim://NAME:PORT`.

use std::fmt;
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
#[error("`{text}` is no address: {problem} at character {position}. Write shm://NAME:PORT, for example shm://disk7:1")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// Where it goes wrong, counted in characters from 1.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |position: usize, problem: &'static str| AddressError { text: text.to_owned(), position, problem };
        let Some(colon) = text.find("://") else {
            return Err(wrong(1, "no scheme (shm://)"));
        };
        let (scheme, rest, start) = (&text[..colon], &text[colon + 3..], colon + 3);
        if scheme != "shm" && scheme != "sim" {
            return Err(wrong(1, "unknown scheme"));
        }
        let name_end = rest.find(':').unwrap_or(rest.len());
        let name = &rest[..name_end];
        if name.is_empty() {
            return Err(wrong(start + 1, "the name is missing"));
        }
        for (index, character) in name.chars().enumerate() {
            let allowed = character.is_ascii_alphanumeric() || "._-".contains(character);
            if !allowed || (index == 0 && character == '.') {
                return Err(wrong(
                    start + index + 1,
                    "a name has letters, digits, `.`, `_` and `-`, and does not begin with `.`;",
                ));
            }
            if index >= 64 {
                return Err(wrong(start + index + 1, "a name has at most 64 characters;"));
            }
        }
        if name_end == rest.len() {
            return Err(wrong(start + name_end + 1, "`:PORT` is missing"));
        }
        let port_start = start + name_end + 1;
        let digits = &rest[name_end + 1..];
        if let Some(bad) = digits.chars().position(|character| !character.is_ascii_digit()) {
            return Err(wrong(port_start + bad + 1, "the port is a number from 1 to 65535;"));
        }
        let port = digits.parse::<u16>().ok().filter(|port| *port != 0);
        let Some(port) = port else {
            return Err(wrong(port_start + 1, "the port is a number from 1 to 65535;"));
        };
        let name = name.to_owned();
        Ok(if scheme == "shm" { Self::Shm { name, port } } else { Self::Sim { name, port } })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shm { name, port } => write!(formatter, "shm://{name}:{port}"),
            Self::Sim { name, port } => write!(formatter, "sim://{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() -> Result<(), AddressError> {
        for text in ["shm://disk7:1", "sim://a.b_c-d:65535"] {
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
        ] {
            assert_eq!(text.parse::<Address>().map_err(|error| error.position), Err(position), "{text}");
        }
    }
}
