//! The bodies of the letters, as bytes: offer, wiring, ready; and the wiring of a later round, which
//! holds renewed ports alone.
//!
//! Little-endian, no pointers, every length checked. What does not parse is [`TableError`]; nothing a partner sends can panic here.

use crate::fabric::descriptor::{PORT_ADDRESS_BYTES, REMOTE_DESCRIPTOR_BYTES};
use crate::fabric::{PortAddress, RemoteDescriptor};
use crate::manager::client::PORTS_MAX;
use crate::page::identity::ClientName;
use crate::page::mailbox::LetterKind;
use crate::page::status::CLIENTS_MAX;
use crate::session::PortName;

/// A letter's body does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partner's {table} table does not parse at byte {offset}")]
pub struct TableError {
    /// Which.
    pub table: &'static str,
    /// Where.
    pub offset: usize,
}

/// What one client of the sender asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OfferEntry {
    pub(crate) name: ClientName,
    pub(crate) ports: u16,
    pub(crate) memory: u64,
}

/// What the sender made for one client that both have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WiringEntry {
    pub(crate) name: ClientName,
    /// None where it could not be made.
    pub(crate) made: Option<Made>,
}

/// Memory and ports of one client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Made {
    pub(crate) memory: Option<RemoteDescriptor>,
    pub(crate) ports: Vec<PortAddress>,
}

pub(crate) fn encode_offer(version: u16, entries: &[OfferEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + entries.len() * 44);
    bytes.extend(version.to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    for entry in entries {
        bytes.extend(entry.name.as_bytes());
        bytes.extend(entry.memory.to_le_bytes());
        bytes.extend(entry.ports.to_le_bytes());
        bytes.extend([0; 2]);
    }
    bytes
}

pub(crate) fn decode_offer(bytes: &[u8]) -> Result<(u16, Vec<OfferEntry>), TableError> {
    let mut reader = Reader { table: "client", bytes, offset: 0 };
    let version = reader.number()?;
    let count = reader.count(CLIENTS_MAX)?;
    reader.take::<4>()?;
    let mut entries: Vec<OfferEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.name()?;
        let memory = u64::from_le_bytes(reader.take()?);
        let ports = reader.number()?;
        reader.take::<2>()?;
        let unique = entries.iter().all(|entry| entry.name != name);
        if ports == 0 || ports > PORTS_MAX || !unique {
            return Err(reader.error());
        }
        entries.push(OfferEntry { name, ports, memory });
    }
    reader.end(entries).map(|entries| (version, entries))
}

/// `heartbeat`: the sender's, in memory of the session.
pub(crate) fn encode_wiring(heartbeat: &RemoteDescriptor, entries: &[WiringEntry]) -> Vec<u8> {
    let mut bytes = heartbeat.encode().to_vec();
    bytes.extend((entries.len() as u16).to_le_bytes());
    for entry in entries {
        bytes.extend(entry.name.as_bytes());
        let Some(made) = &entry.made else {
            bytes.extend([0; 4]);
            continue;
        };
        bytes.extend([1, u8::from(made.memory.is_some())]);
        bytes.extend((made.ports.len() as u16).to_le_bytes());
        if let Some(memory) = &made.memory {
            bytes.extend(memory.encode());
        }
        for port in &made.ports {
            bytes.extend(port.0);
        }
    }
    bytes
}

pub(crate) fn decode_wiring(bytes: &[u8]) -> Result<(RemoteDescriptor, Vec<WiringEntry>), TableError> {
    let mut reader = Reader { table: "wiring", bytes, offset: 0 };
    let heartbeat = RemoteDescriptor::decode(&reader.take::<REMOTE_DESCRIPTOR_BYTES>()?);
    let count = reader.count(CLIENTS_MAX)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.name()?;
        let [is_made, has_memory] = reader.take()?;
        let ports = reader.count(PORTS_MAX.into())?;
        if is_made > 1 || has_memory > 1 || (is_made == 0 && (has_memory != 0 || ports != 0)) {
            return Err(reader.error());
        }
        let mut made = Made::default();
        if has_memory == 1 {
            made.memory = Some(RemoteDescriptor::decode(&reader.take::<REMOTE_DESCRIPTOR_BYTES>()?));
        }
        for _ in 0..ports {
            made.ports.push(PortAddress(reader.take::<PORT_ADDRESS_BYTES>()?));
        }
        entries.push(WiringEntry { name, made: (is_made == 1).then_some(made) });
    }
    reader.end((heartbeat, entries))
}

/// A port that the sender renews; the address of its new one, none where it could not be made.
pub(crate) type RenewalEntry = (PortName, Option<PortAddress>);

const RENEWAL_BYTES: usize = 8 + PORT_ADDRESS_BYTES;

const _: () = assert!(2 + PORTS_MAX as usize * RENEWAL_BYTES <= LetterKind::Wiring.body_bytes_max());
const _: () = assert!(PORTS_MAX as usize <= LetterKind::Ready.body_bytes_max());

/// The entries in order of their names.
pub(crate) fn encode_renewal(entries: impl ExactSizeIterator<Item = RenewalEntry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + entries.len() * RENEWAL_BYTES);
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (name, address) in entries {
        bytes.extend(name.client.to_le_bytes());
        bytes.extend(name.port.to_le_bytes());
        bytes.extend([u8::from(address.is_some()), 0, 0, 0]);
        bytes.extend(address.map_or([0; PORT_ADDRESS_BYTES], |address| address.0));
    }
    bytes
}

/// Each port is named once. `ports`: of each client, by its number.
pub(crate) fn decode_renewal(bytes: &[u8], ports: &[u16]) -> Result<Vec<RenewalEntry>, TableError> {
    let mut reader = Reader { table: "renewal", bytes, offset: 0 };
    let count = reader.count(PORTS_MAX.into())?;
    if count == 0 {
        return Err(reader.error());
    }
    let mut entries: Vec<RenewalEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = PortName { client: reader.number()?, port: reader.number()? };
        let [is_made, ..] = reader.take::<4>()?;
        let address = PortAddress(reader.take::<PORT_ADDRESS_BYTES>()?);
        let exists = ports.get(usize::from(name.client)).is_some_and(|ports| name.port < *ports);
        let ordered = entries.last().is_none_or(|(before, _)| *before < name);
        if is_made > 1 || !exists || !ordered {
            return Err(reader.error());
        }
        entries.push((name, (is_made == 1).then_some(address)));
    }
    reader.end(entries)
}

pub(crate) fn encode_ready(wired: &[bool]) -> Vec<u8> {
    wired.iter().map(|wired| u8::from(*wired)).collect()
}

pub(crate) fn decode_ready(bytes: &[u8]) -> Result<Vec<bool>, TableError> {
    match bytes.iter().position(|byte| *byte > 1) {
        Some(offset) => Err(TableError { table: "ready", offset }),
        None => Ok(bytes.iter().map(|byte| *byte == 1).collect()),
    }
}

struct Reader<'a> {
    table: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    fn error(&self) -> TableError {
        TableError { table: self.table, offset: self.offset }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], TableError> {
        let part = self.bytes.get(self.offset..).and_then(|rest| rest.first_chunk::<N>());
        let part = *part.ok_or(self.error())?;
        self.offset += N;
        Ok(part)
    }

    fn number(&mut self) -> Result<u16, TableError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn count(&mut self, max: usize) -> Result<usize, TableError> {
        let count = usize::from(self.number()?);
        if count > max { Err(self.error()) } else { Ok(count) }
    }

    fn name(&mut self) -> Result<ClientName, TableError> {
        let error = self.error();
        ClientName::from_bytes(self.take()?).ok_or(error)
    }

    fn end<T>(&self, value: T) -> Result<T, TableError> {
        if self.offset == self.bytes.len() { Ok(value) } else { Err(self.error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::AccessFlags;

    const BEAT: RemoteDescriptor =
        RemoteDescriptor { address: 5, length: 8, key: 6, access: AccessFlags::REMOTE_READ, context: 7 };

    fn wiring() -> Result<Vec<WiringEntry>, crate::page::NameError> {
        let descriptor = RemoteDescriptor { address: 1, length: 2, key: 3, access: AccessFlags::ALL, context: 4 };
        Ok(vec![
            WiringEntry { name: "log".parse()?, made: None },
            WiringEntry {
                name: "monitor".parse()?,
                made: Some(Made { memory: Some(descriptor), ports: vec![PortAddress([7; 64]), PortAddress([8; 64])] }),
            },
            WiringEntry { name: "x".parse()?, made: Some(Made { memory: None, ports: vec![PortAddress([9; 64])] }) },
        ])
    }

    #[test]
    fn tables_round_trip() -> Result<(), Box<dyn std::error::Error>> {
        let offer = vec![
            OfferEntry { name: "log".parse()?, ports: 2, memory: 1 << 40 },
            OfferEntry { name: "monitor".parse()?, ports: 1, memory: 0 },
        ];
        assert_eq!(decode_offer(&encode_offer(3, &offer))?, (3, offer));
        assert_eq!(decode_wiring(&encode_wiring(&BEAT, &wiring()?))?, (BEAT, wiring()?));
        assert_eq!(decode_ready(&encode_ready(&[true, false]))?, [true, false]);
        Ok(())
    }

    #[test]
    fn every_truncation_is_an_error() -> Result<(), Box<dyn std::error::Error>> {
        let bytes = encode_wiring(&BEAT, &wiring()?);
        for length in 0..bytes.len() {
            assert!(decode_wiring(&bytes[..length]).is_err(), "{length} bytes");
        }
        Ok(())
    }

    #[test]
    fn a_renewal_names_ports_that_there_are_each_once() -> Result<(), TableError> {
        let name = |client, port| PortName { client, port };
        let entries = [(name(0, 1), Some(PortAddress([7; 64]))), (name(2, 0), None), (name(2, 2), None)];
        let encode = |entries: &[RenewalEntry]| encode_renewal(entries.iter().copied());
        let bytes = encode(&entries);
        assert_eq!(decode_renewal(&bytes, &[2, 0, 3])?, entries);
        assert!(decode_renewal(&encode(&[]), &[2, 0, 3]).is_err(), "a renewal of nothing");
        for length in 0..bytes.len() {
            assert!(decode_renewal(&bytes[..length], &[2, 0, 3]).is_err(), "{length} bytes");
        }
        assert!(decode_renewal(&[&bytes[..], &[0]].concat(), &[2, 0, 3]).is_err(), "a byte more");
        for ports in [&[1, 0, 3][..], &[2, 0, 2], &[2, 0], &[]] {
            assert!(decode_renewal(&bytes, ports).is_err(), "{ports:?}");
        }
        for wrong in [[entries[0], entries[0]], [entries[1], entries[0]]] {
            assert!(decode_renewal(&encode(&wrong), &[2, 0, 3]).is_err(), "{wrong:?}");
        }
        let many = vec![0xff; LetterKind::Wiring.body_bytes_max()];
        assert!(decode_renewal(&many, &[2, 0, 3]).is_err());
        Ok(())
    }

    #[test]
    fn a_name_twice_is_an_error() -> Result<(), Box<dyn std::error::Error>> {
        let entry = OfferEntry { name: "log".parse()?, ports: 1, memory: 0 };
        assert!(decode_offer(&encode_offer(1, &[entry, entry])).is_err());
        Ok(())
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_offer(&bytes);
            let _ = decode_wiring(&bytes);
            let _ = decode_ready(&bytes);
            let _ = decode_renewal(&bytes, &[1; 9]);
        }
    }
}
