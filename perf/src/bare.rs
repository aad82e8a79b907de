//! Bare shared memory, with nothing of handfast in it: what the limits are measured on, and how the two processes talk meanwhile.
//!
//! A memory file mapped by both. Unsafe: mapping it, and forming references to its words.
#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a cache line.
pub(crate) const LINE_WORDS: usize = 8;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// One cache line.
pub(crate) type Line = [AtomicU64; LINE_WORDS];

/// A mapped memory file.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapRaw,
    file: File,
}

impl Arena {
    /// Makes one of zeroes, all its pages present.
    pub(crate) fn create(bytes: usize) -> io::Result<Self> {
        // SAFETY:
        // - bounds: the name is a string with its end.
        let number = unsafe { libc::memfd_create(c"handfast-perf".as_ptr(), libc::MFD_CLOEXEC) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY:
        // - live: the descriptor was just made, and nobody else has it.
        let file = unsafe { File::from_raw_fd(number) };
        file.set_len(bytes as u64)?;
        Self::map(file)
    }

    /// Maps that of another process, by its descriptor there.
    pub(crate) fn open(process: u32, descriptor: i32) -> io::Result<Self> {
        Self::map(OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/fd/{descriptor}"))?)
    }

    fn map(file: File) -> io::Result<Self> {
        let map = MmapOptions::new().populate().map_raw(&file)?;
        Ok(Self { map, file })
    }

    /// Its descriptor in this process.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// The line of this number.
    pub(crate) fn line(&self, number: usize) -> io::Result<&Line> {
        let place = self.place(number * size_of::<Line>(), size_of::<Line>())?;
        // SAFETY:
        // - live: the mapping lives as long as `self`; nobody shrinks the file: only this program has it.
        // - bounds: checked by `place`; a multiple of a line from the start of a page is aligned.
        // - alias: lines are touched as atomics only.
        Ok(unsafe { place.cast::<Line>().as_ref() })
    }

    /// The block of this number.
    pub(crate) fn block(&self, number: usize) -> io::Result<Block<'_>> {
        let place = self.place(number * BLOCK_BYTES, BLOCK_BYTES)?;
        Ok(Block { place, _arena: self })
    }

    fn place(&self, offset: usize, bytes: usize) -> io::Result<NonNull<u8>> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.map.len());
        let place = NonNull::new(self.map.as_mut_ptr().wrapping_add(offset)).filter(|_| inside);
        place.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// A block that one process fills and the other does not read before it is told to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    place: NonNull<u8>,
    _arena: &'a Arena,
}

impl Block<'_> {
    /// Fills it: what the C library's `memcpy` needs for it is the limit.
    #[inline(always)]
    pub(crate) fn fill(&self, from: &[u8; BLOCK_BYTES]) {
        // SAFETY:
        // - live: the arena is borrowed.
        // - bounds: both sides hold a block.
        // - alias: private memory and a mapping never overlap; no reference to the block is ever formed.
        // - device: the other process neither reads nor writes it before it sees the flag that is stored behind this.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.place.as_ptr(), BLOCK_BYTES) };
    }
}

/// Copies a line out word by word.
#[inline(always)]
pub(crate) fn load_line(line: &Line) -> [u64; LINE_WORDS] {
    let mut words = [0; LINE_WORDS];
    for (word, from) in words.iter_mut().zip(line) {
        *word = from.load(Ordering::Relaxed);
    }
    std::sync::atomic::fence(Ordering::Acquire);
    words
}

/// Writes a line word by word; its first word last, so that whoever sees that one sees all.
#[inline(always)]
pub(crate) fn store_line(line: &Line, words: &[u64; LINE_WORDS]) {
    for (into, word) in line.iter().zip(words).skip(1) {
        into.store(*word, Ordering::Relaxed);
    }
    if let (Some(into), Some(word)) = (line.first(), words.first()) {
        into.store(*word, Ordering::Release);
    }
}
