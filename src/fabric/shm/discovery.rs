//! How an endpoint is found: one small file in /dev/shm, owned and locked by the process that listens.
//!
//! Imports `sys`. The file is read and written, never mapped, so whatever happens to it is an error and
//! no signal. It says where in its owner's process the endpoint's memory is; that memory proves by its own numbers that it is the one meant.

use crate::fabric::descriptor::{PORT_ADDRESS_BYTES, REMOTE_DESCRIPTOR_BYTES};
use crate::fabric::{Address, FabricError, PortAddress, RemoteDescriptor};
use crate::memory::{Errno, MemoryError};
use crate::sys::file::{is_locked, try_lock, write_all_at};
use crate::sys::process::{Process, effective_user, namespace};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIRECTORY: &str = "/dev/shm";
const MAGIC: [u8; 8] = *b"handfast";
const VERSION: u32 = 1;
const DOOR_AT: usize = 16;
const OBSERVED_AT: usize = 32;
const STATUS_AT: usize = OBSERVED_AT + PORT_ADDRESS_BYTES;
const CHECKSUM_AT: usize = STATUS_AT + REMOTE_DESCRIPTOR_BYTES;
const RECORD_BYTES: usize = CHECKSUM_AT + 4;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The process that listens.
    pub(crate) process: u32,
    /// The PID namespace in which that is its number; 0 where it did not say.
    pub(crate) namespace: u32,
    /// Descriptor of its door.
    pub(crate) door_file: i32,
    /// The door's number.
    pub(crate) door_token: u64,
    /// The port that stands for the endpoint on links that only observe.
    pub(crate) observed: PortAddress,
    /// The status block.
    pub(crate) status: RemoteDescriptor,
}

/// Why a file's bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not (yet) whole.
    Unfinished,
    /// Something else altogether.
    Foreign,
    /// Of another version.
    Version(u32),
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Record {
    /// Whether its process number is one of another PID namespace than this process's.
    fn is_of_another_namespace(&self) -> bool {
        let ours = namespace();
        self.namespace != 0 && ours != 0 && self.namespace != ours
    }

    /// The error of an address that it stands for.
    fn holds(&self, address: &Address, path: &Path) -> FabricError {
        let (address, process) = (address.clone(), self.process);
        match self.is_alive_here() {
            true => FabricError::AddressInUse { address, process: Some(process) },
            false => FabricError::AddressHeld { address, process, file: path.display().to_string() },
        }
    }

    /// Whether its process lives, and its number means here what it says.
    fn is_alive_here(&self) -> bool {
        let is_gone = || matches!(Process::open(self.process), Err(errno) if errno.number() == libc::ESRCH);
        !self.is_of_another_namespace() && !is_gone()
    }

    /// As bytes.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.process.to_le_bytes());
        bytes[DOOR_AT..DOOR_AT + 4].copy_from_slice(&self.door_file.to_le_bytes());
        bytes[DOOR_AT + 4..DOOR_AT + 8].copy_from_slice(&self.namespace.to_le_bytes());
        bytes[DOOR_AT + 8..DOOR_AT + 16].copy_from_slice(&self.door_token.to_le_bytes());
        bytes[OBSERVED_AT..STATUS_AT].copy_from_slice(&self.observed.0);
        bytes[STATUS_AT..CHECKSUM_AT].copy_from_slice(&self.status.encode());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// From a file's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let short = Unreadable::Unfinished;
        if field(bytes, 0).ok_or(short)? != MAGIC {
            return Err(Unreadable::Foreign);
        }
        let version = u32::from_le_bytes(field(bytes, 8).ok_or(short)?);
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let checksum = u32::from_le_bytes(field(bytes, CHECKSUM_AT).ok_or(short)?);
        if crc32c::crc32c(bytes.get(..CHECKSUM_AT).ok_or(short)?) != checksum {
            return Err(Unreadable::Unfinished);
        }
        Ok(Self {
            process: u32::from_le_bytes(field(bytes, 12).ok_or(short)?),
            door_file: i32::from_le_bytes(field(bytes, DOOR_AT).ok_or(short)?),
            namespace: u32::from_le_bytes(field(bytes, DOOR_AT + 4).ok_or(short)?),
            door_token: u64::from_le_bytes(field(bytes, DOOR_AT + 8).ok_or(short)?),
            observed: PortAddress(field(bytes, OBSERVED_AT).ok_or(short)?),
            status: RemoteDescriptor::decode(&field(bytes, STATUS_AT).ok_or(short)?),
        })
    }
}

/// Where the file of an address is. An address is looked at as if it were typed, so that one built by hand cannot lead elsewhere.
fn path(address: &Address) -> Result<PathBuf, FabricError> {
    match address.to_string().parse()? {
        Address::Shm { name, port } => Ok(PathBuf::from(format!("{DIRECTORY}/handfast.{name}.{port}"))),
        _ => Err(FabricError::Scheme { address: address.clone(), fabric: "shm" }),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Checks an address without touching anything.
pub(crate) fn check(address: &Address) -> Result<(), FabricError> {
    path(address).map(|_| ())
}

/// Reads up to a record's bytes, from the file's start.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; RECORD_BYTES];
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(got);
    Ok(bytes)
}

/// What is known of the endpoint at an address.
pub(crate) fn find(address: &Address) -> Result<Record, FabricError> {
    let path = path(address)?;
    let absent = |detail: String| FabricError::NotListening { address: address.clone(), detail };
    let system = |tried: &str, error: &io::Error| FabricError::System {
        tried: format!("{tried} {}", path.display()),
        errno: errno_of(error),
    };
    let opened =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent(String::new())),
        Err(error) => return Err(system("opening (as the user that listens there, or as root)", &error)),
    };
    let metadata = file.metadata().map_err(|error| system("looking at", &error))?;
    let foreign = |detail: String| FabricError::Protocol { address: address.clone(), detail };
    let user = effective_user();
    if user != 0 && user != metadata.uid() {
        let owner = format!("{} belongs to user {}", path.display(), metadata.uid());
        let tried = format!("looking for the endpoint at {address}: {owner}; run as that user, or as root");
        return Err(FabricError::System { tried, errno: Errno::new(libc::EACCES) });
    }
    if !metadata.is_file() {
        return Err(foreign(format!("{} is no file", path.display())));
    }
    let bytes = read(&file).map_err(|error| system("reading", &error))?;
    match Record::decode(&bytes) {
        Ok(record) if record.is_of_another_namespace() => Err(absent(format!(
            ": process {} listens there in another PID namespace, where it cannot be reached from here. Run both in one (docker: --pid, podman: the same)",
            record.process
        ))),
        Ok(record) => Ok(record),
        Err(Unreadable::Unfinished) if is_locked(file.as_fd()) == Ok(false) => {
            Err(absent(": what is left there is not whole, and nobody holds it".to_owned()))
        }
        Err(Unreadable::Unfinished) => Err(absent(": its owner is just starting".to_owned())),
        Err(Unreadable::Foreign) => Err(foreign(format!("{} is no endpoint's file", path.display()))),
        Err(Unreadable::Version(version)) => {
            Err(foreign(format!("its file is of version {version}, this is version {VERSION}")))
        }
    }
}

/// Our hold on an address: the locked file. Dropping it takes the file away.
#[derive(Debug)]
pub(crate) struct Listing {
    file: File,
    path: PathBuf,
    /// Device and number: whether the path still stands for this very file.
    inode: (u64, u64),
}

impl Listing {
    /// Takes an address, from nobody or from a dead process. Waits a few milliseconds where another process is just starting there.
    pub(crate) fn take(address: &Address) -> Result<Self, FabricError> {
        let path = path(address)?;
        let system = |tried: &str, errno| FabricError::System { tried: format!("{tried} {}", path.display()), errno };
        // A round that fails lost a race against a process that starts or ends; so many in a row are no race any more.
        for _ in 0..50 {
            let file = open(address, &path)?;
            if !try_lock(file.as_fd()).map_err(|errno| system("locking", errno))? {
                match read(&file).map(|bytes| Record::decode(&bytes)) {
                    Ok(Ok(record)) => return Err(record.holds(address, &path)),
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
                continue;
            }
            // Locked. It counts only if the name still stands for this very file: its last owner may just have removed it.
            let ours = file.metadata().map_err(|error| system("looking at", errno_of(&error)))?;
            let inode = (ours.dev(), ours.ino());
            if named(&path) == Some(inode) {
                let listing = Self { file, path, inode };
                listing.clean(address)?;
                return Ok(listing);
            }
        }
        Err(system("taking over", Errno::new(libc::EAGAIN)))
    }

    /// Empties what a dead process left.
    fn clean(&self, address: &Address) -> Result<(), FabricError> {
        let system = |error: io::Error| self.failed("reading", &error);
        if let Ok(record) = Record::decode(&read(&self.file).map_err(system)?) {
            tracing::info!(%address, "cleaned leftovers of dead process {}", record.process);
        }
        self.file.set_len(0).map_err(|error| self.failed("emptying", &error))
    }

    /// Publishes the record. From its return on others find the endpoint.
    pub(crate) fn publish(&self, record: &Record) -> Result<(), FabricError> {
        let written = write_all_at(&self.file, &record.encode(), 0);
        written.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => {
                let (place, bytes) = (DIRECTORY.to_owned(), RECORD_BYTES as u64);
                MemoryError::NoRoom { place, bytes, errno: errno_of(&error) }.into()
            }
            _ => self.failed("writing", &error),
        })
    }

    /// Puts back what somebody did to the file (emptied it, wrote over it, took its name away); whether that was needed. Two system calls and
    /// no allocation where it was not.
    pub(crate) fn mend(&mut self, address: &Address, record: &Record) -> Result<bool, FabricError> {
        match named(&self.path) {
            Some(inode) if inode == self.inode => {}
            // Somebody took our file away, and somebody holds the address by now: nobody finds us.
            Some(_) if is_held(&self.path) => {
                let held = File::open(&self.path).and_then(|file| read(&file)).map(|bytes| Record::decode(&bytes));
                return match held {
                    Ok(Ok(record)) => Err(record.holds(address, &self.path)),
                    // It is just starting, or ends.
                    _ => Ok(false),
                };
            }
            _ => {
                *self = Self::take(address)?;
                return self.publish(record).map(|()| true);
            }
        }
        let (mut found, wanted) = ([0; RECORD_BYTES + 1], record.encode());
        let whole = self.file.read_at(&mut found, 0).is_ok_and(|bytes| bytes == RECORD_BYTES);
        if whole && found[..RECORD_BYTES] == wanted {
            return Ok(false);
        }
        self.publish(record)?;
        self.file.set_len(RECORD_BYTES as u64).map_err(|error| self.failed("cutting", &error))?;
        Ok(true)
    }

    fn failed(&self, tried: &str, error: &io::Error) -> FabricError {
        FabricError::System { tried: format!("{tried} {}", self.path.display()), errno: errno_of(error) }
    }
}

/// Device and number of the file that a path stands for.
fn named(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|named| (named.dev(), named.ino()))
}

/// Whether somebody holds the file of an address.
pub(crate) fn is_held_at(address: &Address) -> bool {
    path(address).is_ok_and(|path| is_held(&path))
}

/// Whether a file, as far as it can be seen, belongs to a process that lives.
fn is_held(path: &Path) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.is_ok_and(|file| is_locked(file.as_fd()) != Ok(false))
}

impl Drop for Listing {
    fn drop(&mut self) {
        // Only our own: somebody may have taken the file away, and another process the name.
        if named(&self.path) != Some(self.inode) {
            return;
        }
        // While the lock is held: whoever takes the address next makes a file of its own.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the file of an endpoint could not be removed");
        }
    }
}

fn open(address: &Address, path: &Path) -> Result<File, FabricError> {
    let failed = |tried: &str, errno| FabricError::System { tried: format!("{tried} {}", path.display()), errno };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            let (place, bytes) = (DIRECTORY.to_owned(), RECORD_BYTES as u64);
            MemoryError::NoRoom { place, bytes, errno: errno_of(&error) }.into()
        }
        Some(libc::EACCES) => {
            failed("listening: the address may be another user's; choose another port. Opening", errno_of(&error))
        }
        _ => failed("creating", errno_of(&error)),
    })?;
    let metadata = file.metadata().map_err(|error| failed("looking at", errno_of(&error)))?;
    if !metadata.is_file() || metadata.uid() != effective_user() {
        let tried = format!(
            "listening at {address}: {} belongs to user {}; choose another port, or have that user remove it",
            path.display(),
            metadata.uid()
        );
        return Err(FabricError::System { tried, errno: Errno::new(libc::EACCES) });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::AccessFlags;

    /// Past the highest number of a process (proc(5), pid_max).
    const NO_PROCESS: u32 = 1 << 23;

    fn record() -> Record {
        let status =
            RemoteDescriptor { address: 1, length: 2, key: 3, access: AccessFlags::REMOTE_READ, context: u64::MAX - 1 };
        let observed = PortAddress([7; PORT_ADDRESS_BYTES]);
        Record {
            process: NO_PROCESS,
            namespace: namespace(),
            door_file: 9,
            door_token: 0x0123_4567_89ab_cdef,
            observed,
            status,
        }
    }

    fn address(test: &str) -> Result<Address, FabricError> {
        Ok(format!("shm://{test}.{}:1", std::process::id()).parse()?)
    }

    #[test]
    fn a_record_round_trips_and_no_other_bytes_pass() {
        let bytes = record().encode();
        assert_eq!(Record::decode(&bytes), Ok(record()));
        for length in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..length]), Err(Unreadable::Unfinished), "{length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut broken = bytes;
                broken[at] ^= 1 << bit;
                assert!(Record::decode(&broken).is_err(), "{at}.{bit}");
            }
        }
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Record::decode(&newer), Err(Unreadable::Version(2)));
    }

    #[test]
    fn one_holder_at_a_time_and_nothing_left_behind() -> Result<(), FabricError> {
        let address = address("listing")?;
        let absent = |found| matches!(found, Err(FabricError::NotListening { .. }));
        assert!(absent(find(&address)));
        let listing = Listing::take(&address)?;
        assert!(absent(find(&address)));
        let own = Record { process: std::process::id(), ..record() };
        listing.publish(&own)?;
        assert_eq!(find(&address)?, own);
        let busy = FabricError::AddressInUse { address: address.clone(), process: Some(own.process) };
        assert_eq!(Listing::take(&address).err(), Some(busy));
        // Its number is another process's here, or nobody's.
        let elsewhere = Record { namespace: own.namespace.wrapping_add(1).max(1), ..own };
        listing.publish(&elsewhere)?;
        let told = find(&address).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("in another PID namespace"), "{told}");
        assert!(matches!(Listing::take(&address), Err(FabricError::AddressHeld { .. })));
        let unsaid = Record { namespace: 0, ..own };
        listing.publish(&unsaid)?;
        assert_eq!(find(&address)?, unsaid);
        let path = path(&address)?;
        assert_eq!(std::fs::metadata(&path).map(|file| file.mode() & 0o777).ok(), Some(0o600));
        drop(listing);
        assert!(!path.exists() && absent(find(&address)));
        Ok(())
    }

    #[test]
    fn a_file_that_was_emptied_scribbled_over_or_removed_is_mended() -> Result<(), Box<dyn std::error::Error>> {
        let address = address("mended")?;
        let path = path(&address)?;
        let mut listing = Listing::take(&address)?;
        listing.publish(&record())?;
        assert!(!listing.mend(&address, &record())?);
        let emptied = || File::create(&path).map(drop);
        let scribbled = || std::fs::write(&path, [9; 1000]);
        let removed = || std::fs::remove_file(&path);
        let replaced = || removed().and_then(|()| scribbled());
        for damage in [&emptied as &dyn Fn() -> io::Result<()>, &scribbled, &removed, &replaced] {
            damage()?;
            assert!(find(&address).is_err());
            assert!(listing.mend(&address, &record())?);
            assert_eq!(find(&address)?, record());
            assert_eq!(std::fs::metadata(&path)?.len(), RECORD_BYTES as u64);
            let busy = Listing::take(&address).err();
            // No process has this number.
            let file = path.display().to_string();
            let held = FabricError::AddressHeld { address: address.clone(), process: NO_PROCESS, file };
            assert_eq!(busy, Some(held), "the lock is held");
        }
        let other_record = Record { process: std::process::id(), ..record() };
        // Another process has the address by now: it keeps it, to the end of this one.
        removed()?;
        let other = Listing::take(&address)?;
        assert!(!listing.mend(&address, &record())?, "it is just starting");
        other.publish(&other_record)?;
        let taken = FabricError::AddressInUse { address: address.clone(), process: Some(std::process::id()) };
        assert_eq!(listing.mend(&address, &record()).err(), Some(taken));
        drop(listing);
        assert_eq!(find(&address)?, other_record);
        drop(other);
        assert!(!path.exists());
        Ok(())
    }

    #[test]
    fn what_a_dead_process_left_is_taken_over() -> Result<(), Box<dyn std::error::Error>> {
        let address = address("leftover")?;
        std::fs::write(path(&address)?, record().encode())?;
        assert_eq!(find(&address)?, record());
        let listing = Listing::take(&address)?;
        assert!(find(&address).is_err());
        drop(listing);
        for junk in [&b"short"[..], b"something else of some other program, long enough to be a record and a bit more"]
        {
            std::fs::write(path(&address)?, junk)?;
            assert!(find(&address).is_err());
            drop(Listing::take(&address)?);
        }
        assert!(!path(&address)?.exists());
        Ok(())
    }

    #[test]
    fn links_and_folders_in_its_place_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let address = address("odd")?;
        let path = path(&address)?;
        std::os::unix::fs::symlink("/etc/passwd", &path)?;
        assert!(matches!(find(&address), Err(FabricError::System { errno, .. }) if errno.number() == libc::ELOOP));
        assert!(
            matches!(Listing::take(&address), Err(FabricError::System { errno, .. }) if errno.number() == libc::ELOOP)
        );
        std::fs::remove_file(&path)?;
        std::fs::create_dir(&path)?;
        assert!(find(&address).is_err() && Listing::take(&address).is_err());
        std::fs::remove_dir(&path)?;
        Ok(())
    }

    #[test]
    fn an_address_built_by_hand_leads_nowhere_else() {
        for name in ["../../etc/passwd", "a/b", "", ".x"] {
            let address = Address::Shm { name: name.to_owned(), port: 1 };
            assert!(matches!(path(&address), Err(FabricError::Syntax(_))), "{name}");
        }
        let other = Address::Sim { name: "a".to_owned(), port: 1 };
        assert!(matches!(check(&other), Err(FabricError::Scheme { fabric: "shm", .. })));
    }
}
