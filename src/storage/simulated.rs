//! A disk for tests: what is written is in a cache until it is synced, and every call can fail.
//!
//! A power cut keeps what was synced, names too, and nothing else. A sync that fails marks its pages
//! clean all the same, as Linux does: the next one succeeds and brings nothing to the disk.

use super::disk::{Disk, DiskFile, FileStat};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sync fails, and its pages count as clean.
    SyncFails,
    /// The write fails with this number.
    WriteFails(i32),
    /// Room cannot be reserved: the disk is full.
    Full,
    /// The folder's sync fails.
    FolderSyncFails,
    /// From here on nothing reaches the disk, and every call fails: the power is gone.
    PowerCut,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    /// Whether the cache holds something that a sync would bring to the disk.
    dirty: Vec<(usize, usize)>,
    locked: bool,
}

#[derive(Debug, Default)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    names_on_disk: BTreeMap<PathBuf, u64>,
    next: u64,
    /// Calls that change something, counted.
    calls: u64,
    /// At which of them what goes wrong.
    faults: BTreeMap<u64, Fault>,
    is_cut: bool,
    /// This name goes when somebody locks its file, so many times.
    remove_when_locked: Option<(PathBuf, u32)>,
    /// Where it is none.
    memory: Option<&'static str>,
}

/// The disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Simulated(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Open {
    disk: Simulated,
    inode: u64,
    lock: Arc<Holder>,
}

/// An open file description: all handles of it have its lock.
#[derive(Debug)]
struct Holder {
    disk: Simulated,
    inode: u64,
    holds: AtomicBool,
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.holds.load(Ordering::Relaxed)
            && let Ok(inode) = self.disk.inner().inode(self.inode)
        {
            inode.locked = false;
        }
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Simulated {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, inode: u64) -> Open {
        let lock = Arc::new(Holder { disk: self.clone(), inode, holds: false.into() });
        Open { disk: self.clone(), inode, lock }
    }

    /// A second name for the file.
    pub(crate) fn link(&self, from: &Path, to: &Path) {
        let mut inner = self.inner();
        if let Some(number) = inner.names.get(from).copied() {
            inner.names.insert(to.to_owned(), number);
            inner.names_on_disk.insert(to.to_owned(), number);
        }
    }

    /// Somebody removes the name each time just after its file was locked, so many times.
    pub(crate) fn remove_when_locked(&self, path: &Path, times: u32) {
        self.inner().remove_when_locked = Some((path.to_owned(), times));
    }

    /// The call of this number, counted from now, goes wrong.
    pub(crate) fn fail_in(&self, calls: u64, fault: Fault) {
        let mut inner = self.inner();
        let at = inner.calls + calls;
        inner.faults.insert(at, fault);
    }

    /// Calls so far that change something.
    pub(crate) fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// The machine comes up again: what was synced is there. `names`: whether folders were written
    /// back all the same, which may be.
    pub(crate) fn boot(&self, names: bool) -> Self {
        let inner = self.inner();
        let mut next = Inner { next: inner.next, ..Inner::default() };
        next.names = if names { inner.names.clone() } else { inner.names_on_disk.clone() };
        next.names_on_disk = next.names.clone();
        for (number, inode) in &inner.inodes {
            let on_disk = inode.on_disk.clone();
            next.inodes.insert(*number, Inode { cached: on_disk.clone(), on_disk, ..Inode::default() });
        }
        Self(Arc::new(Mutex::new(next)))
    }

    /// From here on all of it is memory.
    pub(crate) fn become_memory(&self, file_system: &'static str) {
        self.inner().memory = Some(file_system);
    }

    /// The process is gone, the machine is not: the cache stays.
    pub(crate) fn kill(&self) -> Self {
        let inner = self.inner();
        let mut next = Inner { next: inner.next, is_cut: false, ..Inner::default() };
        (next.names, next.names_on_disk) = (inner.names.clone(), inner.names_on_disk.clone());
        next.inodes = inner.inodes.clone();
        next.inodes.values_mut().for_each(|inode| inode.locked = false);
        Self(Arc::new(Mutex::new(next)))
    }

    /// As a reader finds it now.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner();
        Some(inner.inodes.get(inner.names.get(path)?)?.cached.clone())
    }

    /// What somebody else does to the file.
    pub(crate) fn remove(&self, path: &Path) {
        let mut inner = self.inner();
        inner.names.remove(path);
        inner.names_on_disk.remove(path);
    }

    pub(crate) fn cut_short(&self, path: &Path, bytes: usize) {
        let mut inner = self.inner();
        if let Some(number) = inner.names.get(path).copied()
            && let Some(inode) = inner.inodes.get_mut(&number)
        {
            inode.cached.truncate(bytes);
            inode.on_disk.truncate(bytes);
        }
    }

    /// Another file comes to be there, of this content.
    pub(crate) fn put(&self, path: &Path, content: &[u8]) {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        let inode = Inode { cached: content.to_vec(), on_disk: content.to_vec(), ..Inode::default() };
        inner.inodes.insert(number, inode);
        inner.names.insert(path.to_owned(), number);
        inner.names_on_disk.insert(path.to_owned(), number);
    }
}

impl Inner {
    /// Counts a call that changes something; what goes wrong with it.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.is_cut {
            return Err(error(libc::EIO));
        }
        let fault = self.faults.get(&self.calls).copied();
        self.calls += 1;
        if fault == Some(Fault::PowerCut) {
            self.is_cut = true;
            return Err(error(libc::EIO));
        }
        Ok(fault)
    }

    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| error(libc::EBADF))
    }
}

impl DiskFile for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        if let Some(Fault::WriteFails(number)) = inner.call()? {
            return Err(error(number));
        }
        let inode = inner.inode(self.inode)?;
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if inode.cached.len() < end {
            inode.cached.resize(end, 0);
        }
        inode.cached[start..end].copy_from_slice(bytes);
        inode.dirty.push((start, end));
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let inode = inner.inode(self.inode)?;
        let from = inode.cached.get(offset as usize..offset as usize + into.len());
        into.copy_from_slice(from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let fault = inner.call()?;
        let inode = inner.inode(self.inode)?;
        let dirty = std::mem::take(&mut inode.dirty);
        if fault == Some(Fault::SyncFails) {
            return Err(error(libc::EIO));
        }
        inode.on_disk.resize(inode.cached.len(), 0);
        for (start, end) in dirty {
            let end = end.min(inode.cached.len());
            if start < end {
                inode.on_disk[start..end].copy_from_slice(&inode.cached[start..end]);
            }
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        if inner.call()? == Some(Fault::Full) {
            return Err(error(libc::ENOSPC));
        }
        let inode = inner.inode(self.inode)?;
        if inode.cached.len() < bytes as usize {
            inode.cached.resize(bytes as usize, 0);
        }
        Ok(())
    }

    fn stat(&self) -> io::Result<FileStat> {
        let mut inner = self.disk.inner();
        let length = inner.inode(self.inode)?.cached.len() as u64;
        Ok(FileStat { device: 1, inode: self.inode, length, is_regular: true, is_mount_point: false })
    }

    fn is_locked(&self) -> io::Result<bool> {
        let mut inner = self.disk.inner();
        Ok(inner.inode(self.inode)?.locked && !self.lock.holds.load(Ordering::Relaxed))
    }

    fn clear(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.call()?;
        let inode = inner.inode(self.inode)?;
        // What was cut off is gone from the disk at any time from here on: the worst is at once.
        *inode = Inode { locked: inode.locked, ..Inode::default() };
        Ok(())
    }

    fn again(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Open { disk: self.disk.clone(), inode: self.inode, lock: Arc::clone(&self.lock) }))
    }

    fn memory(&self) -> io::Result<Option<&'static str>> {
        Ok(self.disk.inner().memory)
    }

    fn lock(&self) -> io::Result<bool> {
        let mut inner = self.disk.inner();
        let inode = inner.inode(self.inode)?;
        if inode.locked && !self.lock.holds.load(Ordering::Relaxed) {
            return Ok(false);
        }
        inode.locked = true;
        self.lock.holds.store(true, Ordering::Relaxed);
        if let Some((path, times)) = inner.remove_when_locked.take()
            && times > 0
        {
            if inner.names.get(&path) == Some(&self.inode) {
                inner.names.remove(&path);
            }
            inner.remove_when_locked = Some((path, times - 1));
        }
        Ok(true)
    }
}

impl Disk for Simulated {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = *self.inner().names.get(path).ok_or_else(|| error(libc::ENOENT))?;
        Ok(Box::new(self.handle(inode)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.call()?;
        let inode = match inner.names.get(path).copied() {
            Some(inode) => inode,
            None => {
                let number = inner.next;
                inner.next += 1;
                inner.inodes.insert(number, Inode::default());
                inner.names.insert(path.to_owned(), number);
                number
            }
        };
        drop(inner);
        Ok(Box::new(self.handle(inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call()?;
        let inode = inner.names.remove(from).ok_or_else(|| error(libc::ENOENT))?;
        inner.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.call()? == Some(Fault::FolderSyncFails) {
            return Err(error(libc::EIO));
        }
        inner.names_on_disk = inner.names.clone();
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let inner = self.inner();
        let inode = *inner.names.get(path).ok_or_else(|| error(libc::ENOENT))?;
        let length = inner.inodes.get(&inode).map_or(0, |inode| inode.cached.len() as u64);
        Ok(FileStat { device: 1, inode, length, is_regular: true, is_mount_point: false })
    }

    fn may_write(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn memory_of(&self, _: &Path) -> io::Result<Option<&'static str>> {
        Ok(self.inner().memory)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }
}
