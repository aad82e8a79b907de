//! A disk for tests: what is written is in a cache until it is synced, and every call can fail.
//!
//! A power cut keeps what was synced, names too; of the rest it keeps what the test says. A sync that
//! fails marks its pages clean all the same, as Linux does: the next one succeeds and brings nothing
//! to the disk.

use super::disk::{Disk, DiskFile, FileStat};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The sync fails, and its pages count as clean.
    SyncFails,
    /// The write, or the change of a length or a name, fails with this number.
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
    is_folder: bool,
}

/// What one call does to names: each means another file from there on, or none.
type NameChange = Vec<(PathBuf, Option<u64>)>;

#[derive(Debug, Default)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    names_on_disk: BTreeMap<PathBuf, u64>,
    /// Changes since the folder of each was synced.
    unsynced: Vec<NameChange>,
    next: u64,
    /// Calls that change something, counted.
    calls: u64,
    /// At which of them what goes wrong.
    faults: BTreeMap<u64, Fault>,
    is_cut: bool,
    /// This name goes when somebody locks its file, so many times.
    remove_when_locked: Option<(PathBuf, u32)>,
    /// No file can be opened, by this number.
    no_open: Option<i32>,
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

    pub(crate) fn refuse_opens(&self, number: Option<i32>) {
        self.inner().no_open = number;
    }

    /// Calls so far that change something.
    pub(crate) fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// The machine comes up again: what was synced is there. `names`: whether folders were written
    /// back all the same, which may be.
    pub(crate) fn boot(&self, names: bool) -> Self {
        self.boot_with(|_| names, false)
    }

    /// The same, name by name: of the changes of names that were not synced, in their order, those are
    /// there that `names` says. `bytes`: whether the dirty pages were written back all the same.
    pub(crate) fn boot_with(&self, names: impl Fn(usize) -> bool, bytes: bool) -> Self {
        let inner = self.inner();
        let mut next = Inner { next: inner.next, names: inner.names_on_disk.clone(), ..Inner::default() };
        let kept = inner.unsynced.iter().enumerate().filter(|(index, _)| names(*index));
        kept.for_each(|(_, change)| apply(&mut next.names, change));
        for (number, inode) in &inner.inodes {
            let mut inode = inode.clone();
            if bytes {
                inode.write_back();
            }
            let Inode { on_disk, is_folder, .. } = inode;
            next.inodes.insert(*number, Inode { cached: on_disk.clone(), on_disk, is_folder, ..Inode::default() });
        }
        // What lies in a folder that is gone is gone. Folders that nobody made are there.
        let folders: BTreeSet<_> = inner.folders().cloned().collect();
        let is_lost = |path: &Path| {
            path.ancestors().skip(1).any(|above| folders.contains(above) && !next.names.contains_key(above))
        };
        let lost: Vec<PathBuf> = next.names.keys().filter(|path| is_lost(path)).cloned().collect();
        next.names.retain(|path, _| !lost.contains(path));
        next.names_on_disk = next.names.clone();
        Self(Arc::new(Mutex::new(next)))
    }

    /// Changes of names that were not synced.
    #[cfg(feature = "redb")]
    pub(crate) fn unsynced_names(&self) -> usize {
        self.inner().unsynced.len()
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
        (next.inodes, next.unsynced) = (inner.inodes.clone(), inner.unsynced.clone());
        next.inodes.values_mut().for_each(|inode| inode.locked = false);
        Self(Arc::new(Mutex::new(next)))
    }

    /// As a reader finds it now.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner();
        Some(inner.inodes.get(inner.names.get(path)?)?.cached.clone())
    }

    /// Every file with its content, as a reader finds it now.
    #[cfg(feature = "redb")]
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.inner();
        let files = inner.names.iter().filter_map(|(path, number)| Some((path, inner.inodes.get(number)?)));
        files.filter(|(_, inode)| !inode.is_folder).map(|(path, inode)| (path.clone(), inode.cached.clone())).collect()
    }

    /// What somebody else does to the file.
    pub(crate) fn remove(&self, path: &Path) {
        let mut inner = self.inner();
        inner.unsynced.iter_mut().for_each(|change| change.retain(|(changed, _)| changed != path));
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

/// Changes names.
fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    for (path, number) in change {
        match number {
            Some(number) => names.insert(path.clone(), *number),
            None => names.remove(path),
        };
    }
}

impl Inode {
    /// Brings the cache to the disk: the pages that are dirty, and the length.
    fn write_back(&mut self) {
        self.on_disk.resize(self.cached.len(), 0);
        for (start, end) in std::mem::take(&mut self.dirty) {
            let end = end.min(self.cached.len());
            if start < end {
                self.on_disk[start..end].copy_from_slice(&self.cached[start..end]);
            }
        }
    }

    /// Another length; what comes anew is dirty, since it is zero and the disk may have other bytes there.
    fn set_length(&mut self, bytes: usize) {
        let before = self.cached.len();
        self.cached.resize(bytes, 0);
        if before < bytes {
            self.dirty.push((before, bytes));
        }
    }
}

impl Inner {
    /// Every folder that was made, whatever became of its name.
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        let names = self.names.iter().filter(|(_, number)| self.inodes.get(number).is_some_and(|it| it.is_folder));
        names.map(|(path, _)| path)
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }

    /// Counts a call that changes a file or a name; an error where it goes wrong.
    fn changes(&mut self) -> io::Result<()> {
        match self.call()? {
            Some(Fault::WriteFails(number)) => Err(error(number)),
            _ => Ok(()),
        }
    }

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
        inner.changes()?;
        let inode = inner.inode(self.inode)?;
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        inode.set_length(end.max(inode.cached.len()));
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
        if fault == Some(Fault::SyncFails) {
            inode.dirty.clear();
            return Err(error(libc::EIO));
        }
        inode.write_back();
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        if inner.call()? == Some(Fault::Full) {
            return Err(error(libc::ENOSPC));
        }
        let inode = inner.inode(self.inode)?;
        inode.set_length(inode.cached.len().max(bytes as usize));
        Ok(())
    }

    fn set_length(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.changes()?;
        inner.inode(self.inode)?.set_length(bytes as usize);
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
        let inner = self.inner();
        inner.no_open.map_or(Ok(()), |number| Err(error(number)))?;
        let inode = *inner.names.get(path).ok_or_else(|| error(libc::ENOENT))?;
        drop(inner);
        Ok(Box::new(self.handle(inode)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.changes()?;
        let inode = match inner.names.get(path).copied() {
            Some(inode) => inode,
            None => {
                let number = inner.next;
                inner.next += 1;
                inner.inodes.insert(number, Inode::default());
                inner.change(vec![(path.to_owned(), Some(number))]);
                number
            }
        };
        drop(inner);
        Ok(Box::new(self.handle(inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.changes()?;
        let inode = *inner.names.get(from).ok_or_else(|| error(libc::ENOENT))?;
        inner.change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.call()? == Some(Fault::FolderSyncFails) {
            return Err(error(libc::EIO));
        }
        let is_here = |change: &NameChange| change.iter().all(|(path, _)| super::place::folder_of(path) == folder);
        let (here, elsewhere): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.unsynced).into_iter().partition(is_here);
        inner.unsynced = elsewhere;
        here.iter().for_each(|change| apply(&mut inner.names_on_disk, change));
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let inner = self.inner();
        if path == Path::new("/") {
            return Ok(FileStat { device: 1, inode: u64::MAX, length: 0, is_regular: false, is_mount_point: false });
        }
        let number = *inner.names.get(path).ok_or_else(|| error(libc::ENOENT))?;
        let inode = inner.inodes.get(&number).ok_or_else(|| error(libc::ENOENT))?;
        let (length, is_regular) = (inode.cached.len() as u64, !inode.is_folder);
        Ok(FileStat { device: 1, inode: number, length, is_regular, is_mount_point: false })
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

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.changes()?;
        if !inner.names.contains_key(path) {
            let number = inner.next;
            inner.next += 1;
            inner.inodes.insert(number, Inode { is_folder: true, ..Inode::default() });
            inner.change(vec![(path.to_owned(), Some(number))]);
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner();
        Ok(inner.names.keys().filter(|path| super::place::folder_of(path) == folder).cloned().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.changes()?;
        if !inner.names.contains_key(path) {
            return Err(error(libc::ENOENT));
        }
        inner.change(vec![(path.to_owned(), None)]);
        Ok(())
    }
}
