//! The folder in which a partner keeps base images, and the side file that says how much of the log each holds.
//!
//! Imports `clients` for positions, and the locks of `sys`. The side file is 128 bytes, little-endian, replaced as a whole (written beside, then renamed):
//!
//! ```text
//!   0  [u8;8] magic "HFREDBIM"
//!   8  u32    layout 1
//!  12  u32    bit 0: there is a whole image, bit 1: there is one that is coming in
//!  16  the whole image, 40 bytes: u128 history, u64 where it began, u64 applied, u32 generation, u32 zero
//!  56  the one that is coming in, likewise
//!  96  zero to 124
//! 124  u32    CRC-32C over 0..124
//! ```
//! It never claims more than was applied: bytes go to the image first (and to its disk, where that is asked for), then the claim is made.

use crate::clients::mirrored_log::{Generation, History, Lsn};
use crate::memory::Errno;
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"HFREDBIM";
const LAYOUT: u32 = 1;
const STATE_BYTES: usize = 128;
const CHECKSUM_OFFSET: usize = 124;
const STATE: &str = "state";
const STATE_NEW: &str = "state.new";
const LOCK: &str = "lock";
const WHOLE: u32 = 1;
const INCOMING: u32 = 2;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Default)]
#[repr(C)]
struct ClaimBytes {
    history: U128,
    begun: U64,
    applied: U64,
    generation: U32,
    number: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct StateBytes {
    magic: [u8; 8],
    layout: U32,
    flags: U32,
    whole: ClaimBytes,
    incoming: ClaimBytes,
    zero: [u8; 28],
    checksum: U32,
}

const _: () = assert!(size_of::<StateBytes>() == STATE_BYTES);

/// How much of which log an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Of which log.
    pub history: History,
    /// The record with which the image began.
    pub begun: Lsn,
    /// Every record before this is applied.
    pub applied: Lsn,
    /// The generation of the last record that was applied.
    pub generation: Generation,
    /// Tells images apart that two writers began at the same record.
    pub number: u32,
}

/// What the side file says: the image that can be built from, and one that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Claims {
    pub(crate) whole: Option<Claim>,
    pub(crate) incoming: Option<Claim>,
}

/// A folder of images could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The system refused something.
    #[error("{tried} {}: {errno}", path.display())]
    System {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        errno: Errno,
    },
    /// The side file is not one: its checksum is wrong, or another release wrote it.
    #[error("{} is damaged or of another release: remove the folder, and the partner sends its file anew", path.display())]
    State {
        /// The side file.
        path: PathBuf,
    },
    /// Another follower works in this folder.
    #[error("{} is in use: another follower works in it", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// Makes an error of the system one of ours.
pub(crate) fn failed<'a>(tried: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ImageError + 'a {
    move |error| ImageError::System { tried, path: path.to_owned(), errno: Errno::from(&error) }
}

impl Claims {
    fn encode(&self) -> [u8; STATE_BYTES] {
        let bytes = |claim: Option<Claim>| {
            claim.map_or_else(ClaimBytes::default, |claim| ClaimBytes {
                history: claim.history.0.into(),
                begun: claim.begun.0.into(),
                applied: claim.applied.0.into(),
                generation: claim.generation.0.into(),
                number: claim.number.into(),
            })
        };
        let flag = |claim: Option<Claim>, bit| if claim.is_some() { bit } else { 0 };
        let mut fields = StateBytes {
            magic: MAGIC,
            layout: LAYOUT.into(),
            flags: (flag(self.whole, WHOLE) | flag(self.incoming, INCOMING)).into(),
            whole: bytes(self.whole),
            incoming: bytes(self.incoming),
            zero: [0; 28],
            checksum: 0.into(),
        };
        fields.checksum = crc32c::crc32c(&fields.as_bytes()[..CHECKSUM_OFFSET]).into();
        zerocopy::transmute!(fields)
    }

    /// None where the bytes are no side file of this release.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STATE_BYTES] = bytes.try_into().ok()?;
        let fields: StateBytes = zerocopy::transmute!(*bytes);
        let good = fields.magic == MAGIC
            && fields.layout.get() == LAYOUT
            && fields.checksum.get() == crc32c::crc32c(&bytes[..CHECKSUM_OFFSET]);
        let claim = |bit, claim: ClaimBytes| {
            (fields.flags.get() & bit != 0).then(|| Claim {
                history: History(claim.history.get()),
                begun: Lsn(claim.begun.get()),
                applied: Lsn(claim.applied.get()),
                generation: Generation(claim.generation.get()),
                number: claim.number.get(),
            })
        };
        good.then(|| Self { whole: claim(WHOLE, fields.whole), incoming: claim(INCOMING, fields.incoming) })
    }
}

/// A folder of images. One process at a time has it open.
#[derive(Debug)]
pub(crate) struct Images {
    folder: PathBuf,
    /// Every step goes to the disk before the next.
    sync: bool,
    /// Held while it is open.
    _lock: File,
}

impl Images {
    /// Opens a folder, or makes one; what it claims to hold. Images that it does not name are removed.
    pub(crate) fn open(folder: &Path, sync: bool) -> Result<(Self, Claims), ImageError> {
        std::fs::create_dir_all(folder).map_err(failed("making", folder))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(failed("opening", &path))?;
        match sys::file::try_lock(lock.as_fd()) {
            Ok(true) => {}
            Ok(false) => return Err(ImageError::InUse { path: folder.to_owned() }),
            Err(errno) => return Err(ImageError::System { tried: "locking", path, errno }),
        }
        let images = Self { folder: folder.to_owned(), sync, _lock: lock };
        let claims = images.read()?;
        images.remove_unnamed(&claims)?;
        Ok((images, claims))
    }

    fn read(&self) -> Result<Claims, ImageError> {
        let path = self.folder.join(STATE);
        let mut bytes = Vec::with_capacity(STATE_BYTES + 1);
        // One byte more than it has, so that a longer file is seen; no more, so that it costs nothing.
        let read = File::open(&path).and_then(|file| file.take(STATE_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Claims::decode(&bytes).ok_or(ImageError::State { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Claims::default()),
            Err(error) => Err(failed("reading", &path)(error)),
        }
    }

    fn remove_unnamed(&self, claims: &Claims) -> Result<(), ImageError> {
        let named: Vec<_> = [claims.whole, claims.incoming].iter().flatten().map(|claim| self.path(claim)).collect();
        let reading = failed("reading", &self.folder);
        for entry in std::fs::read_dir(&self.folder).map_err(&reading)? {
            let path = entry.map_err(&reading)?.path();
            let is_image = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"image-"));
            if is_image && !named.contains(&path) {
                std::fs::remove_file(&path).map_err(failed("removing", &path))?;
            }
        }
        Ok(())
    }

    /// Where the image of this claim lies.
    pub(crate) fn path(&self, claim: &Claim) -> PathBuf {
        self.folder.join(format!("image-{}-{:016x}-{}", claim.history, claim.begun.0, claim.number))
    }

    /// A new and empty image of this length, in place of whatever has its name.
    pub(crate) fn create(&self, claim: &Claim, length: u64) -> Result<File, ImageError> {
        let path = self.path(claim);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path);
        let file = file.map_err(failed("making", &path))?;
        file.set_len(length).map_err(failed("growing", &path))?;
        Ok(file)
    }

    /// An image that is there.
    pub(crate) fn file(&self, claim: &Claim) -> Result<File, ImageError> {
        let path = self.path(claim);
        OpenOptions::new().read(true).write(true).open(&path).map_err(failed("opening", &path))
    }

    /// Removes an image that the side file does not name any more.
    pub(crate) fn remove(&self, claim: &Claim) -> Result<(), ImageError> {
        let path = self.path(claim);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Brings an image's bytes to the disk, where that was asked for.
    pub(crate) fn sync(&self, claim: &Claim, file: &File) -> Result<(), ImageError> {
        if self.sync {
            // The length counts too: fdatasync brings it along where it changed.
            file.sync_data().map_err(failed("syncing", &self.path(claim)))?;
        }
        Ok(())
    }

    /// Claims this, as one step: whoever reads the folder finds the claims before, or these.
    pub(crate) fn claim(&self, claims: &Claims) -> Result<(), ImageError> {
        let (path, new) = (self.folder.join(STATE), self.folder.join(STATE_NEW));
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&new);
        let file = file.map_err(failed("making", &new))?;
        file.write_all_at(&claims.encode(), 0).map_err(failed("writing", &new))?;
        if self.sync {
            file.sync_data().map_err(failed("syncing", &new))?;
        }
        std::fs::rename(&new, &path).map_err(failed("renaming", &new))?;
        if self.sync {
            let syncing = failed("syncing", &self.folder);
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(syncing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Claim =
        Claim { history: History(0xa0b1), begun: Lsn(64), applied: Lsn(4096), generation: Generation(3), number: 0 };
    const INCOMING: Claim =
        Claim { history: History(0xc2), begun: Lsn(8192), applied: Lsn(9000), generation: Generation(4), number: 7 };

    /// The bytes are the format: they may never change.
    #[test]
    fn claims_have_these_bytes() {
        let bytes = Claims { whole: Some(WHOLE), incoming: Some(INCOMING) }.encode();
        let mut wanted = [0; STATE_BYTES];
        wanted[..8].copy_from_slice(b"HFREDBIM");
        let set = [(8, 1), (12, 3), (16, 0xb1), (17, 0xa0), (32, 64), (41, 16), (48, 3), (56, 0xc2), (73, 32)];
        for (offset, byte) in set.into_iter().chain([(80, 0x28), (81, 0x23), (88, 4), (92, 7)]) {
            wanted[offset] = byte;
        }
        let checksum = crc32c::crc32c(&wanted[..124]);
        wanted[124..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn claims_come_back_and_damage_is_seen() {
        for claims in [
            Claims::default(),
            Claims { whole: Some(WHOLE), incoming: None },
            Claims { whole: None, incoming: Some(INCOMING) },
        ] {
            let bytes = claims.encode();
            assert_eq!(Claims::decode(&bytes), Some(claims));
            for index in 0..STATE_BYTES {
                let mut torn = bytes;
                torn[index] ^= 0x10;
                assert_eq!(Claims::decode(&torn), None, "byte {index}");
            }
            assert_eq!(Claims::decode(&bytes[..127]), None);
        }
    }

    #[test]
    fn a_folder_keeps_what_it_names_and_belongs_to_one() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("images");
        let (images, claims) = Images::open(&path, true)?;
        assert_eq!(claims, Claims::default());
        assert_eq!(Images::open(&path, false).err(), Some(ImageError::InUse { path: path.clone() }));
        assert_eq!(images.create(&WHOLE, 4096)?.metadata()?.len(), 4096);
        images.create(&INCOMING, 0)?;
        let kept = Claims { whole: Some(WHOLE), incoming: None };
        images.claim(&kept)?;
        drop(images);
        let (images, claims) = Images::open(&path, false)?;
        assert_eq!(claims, kept);
        assert!(images.file(&WHOLE).is_ok() && images.file(&INCOMING).is_err(), "the unnamed one is gone");
        drop(images);
        let longer = [kept.encode().as_slice(), &[0; 1 << 20]].concat();
        std::fs::write(path.join(STATE), longer)?;
        assert_eq!(Images::open(&path, false).err(), Some(ImageError::State { path: path.join(STATE) }));
        std::fs::write(path.join(STATE), b"nonsense")?;
        assert_eq!(Images::open(&path, false).err(), Some(ImageError::State { path: path.join(STATE) }));
        Ok(())
    }
}
