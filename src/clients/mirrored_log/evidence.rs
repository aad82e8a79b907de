//! Whether a ring in a file, or a copy in one, may lack what its log acknowledged, as a mark in the file tells.
//!
//! ```text
//!  0  [u8;8]  magic "HFASTEVI"
//!  8  u32     layout 1
//! 12  u32     bit 0: a clean end; bit 1: what is acknowledged is on this disk before; bit 2: a state file names the log from its first opening on
//! 16  [u8;16] the machine
//! 32  [u8;16] its boot
//! 48  u64     the partner's copy was seen to reach up to here, when a restore from it began; 0: none did
//! 56  u32     under this generation
//! 60  u32     CRC-32C over 0..60
//! ```
//! A log that opens writes it, without the clean end, and syncs it before anything is acknowledged. Its pages reach the disk when the
//! kernel likes: after a power cut, headers and records of any age may be there. Within one boot the page cache has all of them, unless a
//! write-back failed meanwhile (fsync(2), errors), which no mark tells; and after a clean end the disk has.

use super::area::EVIDENCE_OFFSET;
use super::error::LogError;
use super::lsn::{Generation, Lsn};
use super::source::Source;
use crate::memory::Errno;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes it takes.
pub(super) const EVIDENCE_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"HFASTEVI";
const LAYOUT: u32 = 1;
const CLEAN: u32 = 1;
const PERSISTENT: u32 = 2;
const NOTED: u32 = 4;
const CHECKSUM_OFFSET: usize = EVIDENCE_BYTES - 4;

/// A machine, and one boot of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    machine: [u8; 16],
    boot: [u8; 16],
}

/// Why a ring may lack acknowledged records though it reads well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// The machine has started anew since the log was written, and the log had not ended in order.
    OtherBoot,
    /// Another machine wrote it, and the log had not ended in order.
    OtherMachine,
    /// The partner was seen to have more than is here, in a copy that was not whole, or that was not restored to its end.
    PartnerHadMore,
    /// The log was opened under a later generation since, by the state file: an older ring was brought back, or the log had another one.
    OpenedSince {
        /// That of this ring.
        here: Generation,
        /// The later one.
        since: Generation,
    },
    /// There is no readable mark: an earlier release wrote it, or it is damaged.
    NoMark,
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::OtherBoot => "the machine has started anew since it was written, and the log had not ended in order",
            Self::OtherMachine => "it was written on another machine, and the log had not ended in order",
            Self::PartnerHadMore => {
                "the partner was seen to have more, in a copy that was not whole, or that was not restored to its end"
            }
            Self::OpenedSince { here, since } => {
                return write!(
                    formatter,
                    "it is of generation {here}, and the log was opened under {since} since, by the state file: an older ring was brought back, or the log had another one"
                );
            }
            Self::NoMark => "it says nothing of how its log ended: an earlier release wrote it, or it is damaged",
        };
        formatter.write_str(words)
    }
}

impl Boot {
    /// The present one; read once.
    ///
    /// # Errors
    /// [`LogError::Read`]: it could not be read this time. It says nothing of a machine or a boot: a shortage of descriptors
    /// is no other machine.
    pub(super) fn here() -> Result<Self, LogError> {
        static HERE: OnceLock<Boot> = OnceLock::new();
        if let Some(here) = HERE.get() {
            return Ok(*here);
        }
        let here = Self::read_by(|path| std::fs::read(path))?;
        Ok(if here.is_known() { *HERE.get_or_init(|| here) } else { here })
    }

    fn read_by(read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Self, LogError> {
        let number_in = |path: &str| match read(Path::new(path)) {
            Ok(text) => Ok(number(&String::from_utf8_lossy(&text))),
            // A machine without a number, or one that does not show it: that stays so.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Ok([0; 16])
            }
            Err(error) => {
                let tried = format!("reading {path}, which tells on which boot of which machine a log was written");
                Err(LogError::Read { tried, errno: Errno::from(&error) })
            }
        };
        Ok(Self { machine: number_in("/etc/machine-id")?, boot: number_in("/proc/sys/kernel/random/boot_id")? })
    }

    fn is_known(&self) -> bool {
        self.boot != [0; 16]
    }

    pub(super) fn encode(self, standing: Standing, seen: Seen) -> [u8; EVIDENCE_BYTES] {
        let mut bytes = [0; EVIDENCE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[12..16].copy_from_slice(&standing.flags().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.machine);
        bytes[32..48].copy_from_slice(&self.boot);
        bytes[48..56].copy_from_slice(&seen.end.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&seen.generation.0.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// What is to be said against a ring up to `held` that bears this mark, here and now. `outlives`: it is kept where another boot finds it.
    fn doubt(&self, bytes: &[u8; EVIDENCE_BYTES], held: Seen, outlives: bool) -> Option<Doubt> {
        let Some(flags) = flags(bytes) else { return outlives.then_some(Doubt::NoMark) };
        if held < Seen::of(bytes) {
            return Some(Doubt::PartnerHadMore);
        }
        if flags & (CLEAN | PERSISTENT) != 0 || !outlives {
            return None;
        }
        // A machine without a number is not another one for that: its boot tells.
        let is_numbered = bytes[16..32] != [0; 16] && self.machine != [0; 16];
        if is_numbered && bytes[16..32] != self.machine {
            return Some(Doubt::OtherMachine);
        }
        // Where the kernel does not say which boot it is, any may be another.
        if bytes[32..48] != self.boot || !self.is_known() { Some(Doubt::OtherBoot) } else { None }
    }
}

impl Seen {
    fn of(bytes: &[u8; EVIDENCE_BYTES]) -> Self {
        let end = u64::from(word(bytes, 48)) | u64::from(word(bytes, 52)) << 32;
        Self { generation: Generation(word(bytes, 56)), end: Lsn(end) }
    }
}

/// What a file can be relied on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is written now, and may lack what was acknowledged meanwhile.
    InUse,
    /// Everything was brought to the disk at the end.
    Ended,
    /// What is acknowledged is on its disk before: of a copy, and of a ring whose log is alone.
    Persistent,
}

impl Standing {
    fn flags(self) -> u32 {
        match self {
            Self::InUse => 0,
            Self::Ended => CLEAN,
            Self::Persistent => PERSISTENT,
        }
    }
}

fn seal(bytes: &mut [u8; EVIDENCE_BYTES]) {
    let checksum = crc32c::crc32c(&bytes[..CHECKSUM_OFFSET]);
    bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
}

/// The same mark of a log that a state file names.
pub(super) fn noted(mut mark: [u8; EVIDENCE_BYTES]) -> [u8; EVIDENCE_BYTES] {
    mark[12] |= NOTED as u8;
    seal(&mut mark);
    mark
}

/// Whether the log in it had a state file when it was opened, as far as the mark tells: where there is none nothing was ever opened.
///
/// # Errors
/// What the source says.
pub(super) fn is_noted<S: Source + ?Sized>(source: &S) -> Result<bool, LogError> {
    let mut bytes = [0; EVIDENCE_BYTES];
    source.read(EVIDENCE_OFFSET, &mut bytes)?;
    Ok(flags(&bytes).is_none_or(|flags| flags & NOTED != 0))
}

/// Whether a file that keeps a copy may lack what was acknowledged: it says that it was in use, or nothing.
///
/// # Errors
/// What the source says.
pub(super) fn may_lack<S: Source + ?Sized>(source: &S) -> Result<bool, LogError> {
    let mut bytes = [0; EVIDENCE_BYTES];
    source.read(EVIDENCE_OFFSET, &mut bytes)?;
    Ok(flags(&bytes).is_none_or(|flags| flags & (CLEAN | PERSISTENT) == 0))
}

fn word(bytes: &[u8; EVIDENCE_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What a mark says; none where there is no readable one.
fn flags(bytes: &[u8; EVIDENCE_BYTES]) -> Option<u32> {
    let is_mark = bytes[..8] == MAGIC && word(bytes, 8) == LAYOUT;
    let is_sound = is_mark && word(bytes, CHECKSUM_OFFSET) == crc32c::crc32c(&bytes[..CHECKSUM_OFFSET]);
    is_sound.then(|| word(bytes, 12))
}

/// How far a log was seen to reach: within one history a later writer has all that an earlier one had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Seen {
    pub(super) generation: Generation,
    pub(super) end: Lsn,
}

/// How far the partner was seen to reach, by the mark.
///
/// # Errors
/// What the source says.
pub(super) fn seen<S: Source + ?Sized>(source: &S) -> Result<Seen, LogError> {
    let mut bytes = [0; EVIDENCE_BYTES];
    source.read(EVIDENCE_OFFSET, &mut bytes)?;
    Ok(flags(&bytes).map_or_else(Seen::default, |_| Seen::of(&bytes)))
}

/// Whether a mark is one that is only written where a log was open before: after a clean end, after a sync of what was
/// acknowledged, or beside a longer copy.
///
/// # Errors
/// What the source says.
pub(super) fn tells_of_records<S: Source + ?Sized>(source: &S) -> Result<bool, LogError> {
    let mut bytes = [0; EVIDENCE_BYTES];
    source.read(EVIDENCE_OFFSET, &mut bytes)?;
    Ok(flags(&bytes).is_some_and(|flags| flags & (CLEAN | PERSISTENT) != 0 || Seen::of(&bytes) != Seen::default()))
}

/// What is to be said against the ring in a file, or in shared memory, that reaches up to `held`.
///
/// # Errors
/// What the source says.
pub(super) fn doubt<S: Source + ?Sized>(source: &S, held: Seen, outlives: bool) -> Result<Option<Doubt>, LogError> {
    let mut bytes = [0; EVIDENCE_BYTES];
    source.read(EVIDENCE_OFFSET, &mut bytes)?;
    Ok(Boot::here()?.doubt(&bytes, held, outlives))
}

/// The first 32 hexadecimal digits of a text as a number; zero where there are fewer.
fn number(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    if digits.len() < 32 { [0; 16] } else { u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Seen = Seen { generation: Generation(0), end: Lsn(0) };
    const HERE: Boot = Boot { machine: [1; 16], boot: [2; 16] };

    #[test]
    fn only_this_boot_or_a_clean_end_is_beyond_doubt() {
        let next = Boot { boot: [3; 16], ..HERE };
        let other = Boot { machine: [9; 16], ..HERE };
        let unknown = Boot { boot: [0; 16], ..HERE };
        for (writer, wanted) in [
            (HERE, None),
            (next, Some(Doubt::OtherBoot)),
            (other, Some(Doubt::OtherMachine)),
            (unknown, Some(Doubt::OtherBoot)),
        ] {
            assert_eq!(HERE.doubt(&writer.encode(Standing::InUse, NONE), NONE, true), wanted);
            assert_eq!(HERE.doubt(&writer.encode(Standing::InUse, NONE), NONE, false), None, "it went with its boot");
            assert_eq!(HERE.doubt(&writer.encode(Standing::Ended, NONE), NONE, true), None);
        }
        assert_eq!(unknown.doubt(&unknown.encode(Standing::InUse, NONE), NONE, true), Some(Doubt::OtherBoot));
        assert_eq!(HERE.doubt(&[0; EVIDENCE_BYTES], NONE, true), Some(Doubt::NoMark));
        for index in 0..EVIDENCE_BYTES {
            let mut torn = HERE.encode(Standing::Ended, NONE);
            torn[index] ^= 0x40;
            assert_eq!(HERE.doubt(&torn, NONE, true), Some(Doubt::NoMark), "byte {index}");
        }
    }

    #[test]
    fn what_the_partner_had_more_is_remembered() {
        let reach = |generation, end| Seen { generation: Generation(generation), end: Lsn(end) };
        let seen = reach(3, 1 << 40);
        for (held, wanted) in [
            (reach(3, (1 << 40) - 32), Some(Doubt::PartnerHadMore)),
            (reach(2, 1 << 41), Some(Doubt::PartnerHadMore)),
            (seen, None),
            (reach(4, 64), None),
        ] {
            for (standing, outlives) in [(Standing::InUse, false), (Standing::InUse, true), (Standing::Ended, true)] {
                assert_eq!(HERE.doubt(&HERE.encode(standing, seen), held, outlives), wanted, "{held:?}");
            }
        }
    }

    #[test]
    fn a_copy_in_use_vouches_only_for_what_waits_for_its_disk() -> Result<(), LogError> {
        let copy = |mark: &[u8]| {
            let mut bytes = vec![0; EVIDENCE_OFFSET as usize + EVIDENCE_BYTES];
            bytes[EVIDENCE_OFFSET as usize..].copy_from_slice(mark);
            may_lack(&bytes)
        };
        assert!(copy(&[0; EVIDENCE_BYTES])?, "an earlier release wrote it");
        for (standing, wanted) in [(Standing::InUse, true), (Standing::Ended, false), (Standing::Persistent, false)] {
            let mark = HERE.encode(standing, NONE);
            assert_eq!(copy(&mark)?, wanted);
            for index in 0..EVIDENCE_BYTES {
                let mut torn = mark;
                torn[index] ^= 1;
                assert!(copy(&torn)?, "byte {index}");
            }
        }
        Ok(())
    }

    /// Neither a mark nor a doubt is made of it.
    #[test]
    fn what_cannot_be_read_this_time_is_no_other_machine_or_boot() -> Result<(), LogError> {
        let digits = |digit: u8| Ok(vec![digit; 32]);
        let (machine, boot) = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id");
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO] {
            for missed in [machine, boot] {
                let read = |path: &Path| match path == Path::new(missed) {
                    true => Err(io::Error::from_raw_os_error(number)),
                    false => digits(b'1'),
                };
                let found = Boot::read_by(read);
                let told = |tried: &str, errno: Errno| tried.contains(missed) && errno.number() == number;
                assert!(
                    matches!(&found, Err(LogError::Read { tried, errno }) if told(tried, *errno)),
                    "{missed}: {found:?}"
                );
            }
        }
        // A machine that has no number, now or when the mark was written, is not another one.
        let bare = |path: &Path| match path == Path::new(machine) {
            true => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            false => digits(b'2'),
        };
        let (bare, whole) = (Boot::read_by(bare)?, Boot::read_by(|_| digits(b'2'))?);
        assert_eq!((bare.machine, bare.is_known()), ([0; 16], true));
        for (writer, reader) in [(bare, bare), (bare, whole), (whole, bare), (whole, whole)] {
            assert_eq!(reader.doubt(&writer.encode(Standing::InUse, NONE), NONE, true), None);
        }
        assert_eq!(bare.doubt(&HERE.encode(Standing::InUse, NONE), NONE, true), Some(Doubt::OtherBoot));
        Ok(())
    }

    #[test]
    fn this_boot_is_known_and_the_same_twice() {
        let here = Boot::here();
        assert!(here.as_ref().is_ok_and(|here| here.is_known()) && here == Boot::here());
        assert_eq!(number("0123-4567"), [0; 16]);
        assert_eq!(number("000102030405060708090a0b0c0d0e0f\n")[..3], [0, 1, 2]);
    }
}
