//! The folder in which a partner keeps base images, and the side file that says how much of the log each holds.
//!
//! Imports `clients` for positions, and `storage`, which writes the files. The side file is 128 bytes, little-endian, replaced as a whole (written beside, then renamed):
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
//!
//! # What is on the disk
//!
//! Where everything is synced, this holds whatever call fails, and whenever the power is cut:
//!
//! - *What a claim on the disk says is on the disk.* A claim is written after the image was synced
//!   through the handle that wrote it, and that handle had not failed: one that has gives no sync any
//!   more (`storage`), and its follower makes no claim any more. A handle covers what it wrote itself.
//!   That is enough: it was opened on a claim of which the same was true, and writes everything after
//!   that claim from the log, also what an earlier handle had written there. Such pages may be in the
//!   page cache alone, clean since their write-back failed; being written again makes them dirty.
//! - *The name of an image is on the disk before a claim with it is written*: its folder is synced when
//!   the image is made.
//! - *An image goes after the claim that does not name it is on the disk.* Where the claim fails, it
//!   stays. The folder may then hold the claim before or the new one, since rename(2) was done and
//!   the folder's sync was not; both are true, for the bytes were synced before, and the images of
//!   both are there.
//! - *What is read when the folder is opened may be in the page cache alone*, the side file's name too.
//!   So it is claimed again, as it is, before an image goes that the one on the disk may name.
//!
//! What was claimed without syncs is on no disk for certain, and is not known from the rest.

use crate::clients::mirrored_log::{Generation, History, Lsn};
use crate::memory::Errno;
use crate::storage::{Disk, Durable, Folder, LOCK, Owner, Small, StorageError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"HFREDBIM";
const LAYOUT: u32 = 1;
const STATE_BYTES: usize = 128;
const CHECKSUM_OFFSET: usize = 124;
const STATE: &str = "state";
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
    /// The system has no thread to give.
    #[error("{tried}: {errno}")]
    NoThread {
        /// What was tried.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
    /// The side file is not one: its checksum is wrong, or another release wrote it.
    #[error("{} is damaged or of another release: remove the folder, and the partner sends its file anew", path.display())]
    State {
        /// The side file.
        path: PathBuf,
    },
    /// The side file names an image that is not there.
    #[error("{} is gone, and the folder's side file names it: remove the folder, and the partner sends its file anew", path.display())]
    Missing {
        /// The image.
        path: PathBuf,
    },
    /// Another follower works in this folder.
    #[error("{} is in use by {by}: end that, or give this follower a folder of its own", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, by the lock file's word.
        by: String,
    },
    /// A file could not be written or relied on.
    #[error(transparent)]
    Storage(StorageError),
    /// Something failed before, and this follower can claim nothing any more.
    #[error(
        "the images in {} are not kept any more since this failed: {cause}. Open the folder anew: what was applied since the last claim is applied again from the log",
        path.display()
    )]
    Failed {
        /// The folder.
        path: PathBuf,
        /// What failed.
        cause: Box<ImageError>,
    },
}

impl From<StorageError> for ImageError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::InUse { path, by } => Self::InUse { path, by },
            error => Self::Storage(error),
        }
    }
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

/// Whether these bytes are a side file's, or what a power cut left of one.
fn is_state(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes.iter().all(|byte| *byte == 0)
}

/// A folder of images. One process at a time has it open.
#[derive(Debug)]
pub(crate) struct Images {
    /// Held while it is open.
    folder: Folder,
    state: Small,
    /// Every step goes to the disk before the next.
    sync: bool,
}

impl Images {
    /// Opens a folder, or makes one; what it claims to hold. `user`: what the one who opens it is.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        sync: bool,
        user: &str,
    ) -> Result<(Self, Claims), ImageError> {
        let owner = Owner::new(format!("{user} of redb's images, process {}", std::process::id()));
        let folder = Folder::take(disk, folder, &owner, sync)?;
        let images = Self { state: folder.small(STATE, is_state), folder, sync };
        // One byte more than it has, so that a longer file is seen; no more, so that it costs nothing.
        let claims = match images.state.read(STATE_BYTES + 1)? {
            Some(bytes) => {
                Claims::decode(&bytes).ok_or_else(|| ImageError::State { path: images.path().join(STATE) })?
            }
            None => Claims::default(),
        };
        Ok((images, claims))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes images that these claims, which are the folder's, do not name. What has another name, or is no regular
    /// file, stays.
    pub(crate) fn remove_unnamed(&self, claims: &Claims) -> Result<(), ImageError> {
        let named: Vec<_> = [claims.whole, claims.incoming].iter().flatten().map(name).collect();
        let mut unnamed = self.folder.list()?;
        unnamed.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| is_image(name) && !named.iter().any(|named| named == name))
                && self.folder.is_file(path)
        });
        if self.sync && *claims != Claims::default() {
            // What was read may be in the page cache alone, and the disk's claims may name these.
            self.claim(claims)?;
        }
        unnamed.iter().try_for_each(|path| Ok(self.folder.remove(path)?))
    }

    /// Where the image of this claim lies.
    pub(crate) fn image_path(&self, claim: &Claim) -> PathBuf {
        self.path().join(name(claim))
    }

    /// A new and empty image of this length, in place of whatever has its name.
    pub(crate) fn create(&self, claim: &Claim, length: u64) -> Result<Durable, ImageError> {
        let image = self.folder.create(&name(claim), length)?;
        if self.sync {
            self.folder.sync()?;
        }
        Ok(image)
    }

    /// An image that the side file names.
    pub(crate) fn file(&self, claim: &Claim) -> Result<Durable, ImageError> {
        self.folder.open(&name(claim)).map_err(|error| match error {
            StorageError::System { errno, path, .. } if errno.number() == libc::ENOENT => ImageError::Missing { path },
            error => error.into(),
        })
    }

    /// Removes an image that the side file does not name any more.
    pub(crate) fn remove(&self, claim: &Claim) -> Result<(), ImageError> {
        Ok(self.folder.remove(&self.image_path(claim))?)
    }

    /// Brings an image's bytes to the disk, where that was asked for.
    pub(crate) fn sync(&self, claim: &Claim, file: &mut Durable) -> Result<(), ImageError> {
        if self.sync {
            // The length counts too: fdatasync brings it along where it changed.
            let _ = file.sync(claim.applied.0)?;
        }
        Ok(())
    }

    /// Claims this, as one step: whoever reads the folder finds the claims before, or these.
    pub(crate) fn claim(&self, claims: &Claims) -> Result<(), ImageError> {
        let bytes = claims.encode();
        Ok(if self.sync { self.state.replace(&bytes) } else { self.state.replace_in_cache(&bytes) }?)
    }
}

/// The name of an image.
fn name(claim: &Claim) -> String {
    format!("image-{}-{:016x}-{}", claim.history, claim.begun.0, claim.number)
}

/// Whether a file of this name may be an image: the name is as [`name`] makes it.
fn is_image(name: &str) -> bool {
    let is_hex =
        |text: &str, digits| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = name.split('-').collect();
    let [_, history, begun, number] = parts[..] else { return false };
    let is_number = number.parse::<u32>().is_ok_and(|parsed| parsed.to_string() == number);
    parts[0] == "image" && is_hex(history, 32) && is_hex(begun, 16) && is_number
}

/// Whether a folder with these names in it is one of images, however far it came, and of nothing else.
pub(crate) fn is_of_images(names: &[String]) -> bool {
    let is_ours = |name: &String| [LOCK, STATE, "state.new"].contains(&name.as_str()) || is_image(name);
    names.iter().all(is_ours) && (names.is_empty() || names.iter().any(|name| name == LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::System;

    #[test]
    fn what_is_no_image_is_not_removed() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (images, claims) = Images::open(Arc::new(System), folder.path(), false, "the test")?;
        drop(images.create(&WHOLE, 64)?);
        let in_a_folder = folder.path().join(name(&INCOMING));
        std::fs::create_dir(&in_a_folder)?;
        let mut others = vec!["image-of-my-house".to_owned(), "image-1.png".to_owned(), "image-".to_owned()];
        others.push(format!("{}.png", name(&WHOLE)));
        others.push(name(&WHOLE).replace("a0b1", "A0B1"));
        others.push(name(&WHOLE).replace("-0000", "-000"));
        others.push(format!("{}-1", name(&WHOLE)));
        others.push(name(&WHOLE).replace("-0", "-+0"));
        for other in &others {
            assert!(!is_image(other), "{other}");
            std::fs::write(folder.path().join(other), b"a picture")?;
        }
        images.remove_unnamed(&claims)?;
        assert!(!images.image_path(&WHOLE).exists() && in_a_folder.is_dir());
        for other in &others {
            assert!(folder.path().join(other).exists(), "{other}");
        }
        Ok(())
    }

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
        let open = |sync| Images::open(Arc::new(System), &path, sync, "the test");
        let (images, claims) = open(true)?;
        assert_eq!(claims, Claims::default());
        let by = format!("`the test of redb's images, process {}`", std::process::id());
        assert_eq!(open(false).err(), Some(ImageError::InUse { path: path.clone(), by }));
        assert_eq!(images.create(&WHOLE, 4096)?.length()?, 4096);
        images.create(&INCOMING, 0)?;
        let kept = Claims { whole: Some(WHOLE), incoming: None };
        images.claim(&kept)?;
        drop(images);
        let (images, claims) = open(false)?;
        assert_eq!(claims, kept);
        images.remove_unnamed(&claims)?;
        assert!(images.file(&WHOLE).is_ok() && images.file(&INCOMING).is_err(), "the unnamed one is gone");
        let missing = ImageError::Missing { path: images.image_path(&INCOMING) };
        assert_eq!(images.file(&INCOMING).err(), Some(missing));
        drop(images);
        let longer = [kept.encode().as_slice(), &[0; 1 << 20]].concat();
        std::fs::write(path.join(STATE), longer)?;
        assert_eq!(open(false).err(), Some(ImageError::State { path: path.join(STATE) }));
        std::fs::write(path.join(STATE), b"nonsense")?;
        assert_eq!(open(false).err(), Some(ImageError::State { path: path.join(STATE) }));
        Ok(())
    }
}
