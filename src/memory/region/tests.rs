//! Regions of every backing: bounds, words, seals, and the errors people meet.

use super::*;
use crate::sys::ending::Wait;
use std::io;
use std::os::fd::AsRawFd;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SHARED: Backing = Backing::Shared { read_only_elsewhere: false };

#[test]
fn a_region_reads_what_was_written_and_nothing_past_its_end() -> Outcome {
    for backing in [Backing::Private, SHARED, Backing::Shared { read_only_elsewhere: true }] {
        let region = Region::builder(5000).backing(backing).pinned(false).build()?;
        assert_eq!((region.len(), region.page_bytes()), (8192, 4096));
        region.write(8190, b"ab")?;
        let mut bytes = [0; 2];
        region.read(8190, &mut bytes)?;
        assert_eq!(&bytes, b"ab");
        assert!(matches!(
            region.write(8191, b"ab"),
            Err(MemoryError::OutOfRange { offset: 8191, length: 2, region: 8192 })
        ));
        assert!(region.read(usize::MAX, &mut bytes).is_err());
        assert!(region.read(8192, &mut []).is_ok());
    }
    Ok(())
}

#[test]
fn every_short_write_and_read_does_what_a_plain_copy_does() -> Outcome {
    let region = Region::builder(4096).pinned(false).build()?;
    let mut model = vec![0u8; 4096];
    let mut next = 1u8;
    for offset in (0..40).chain(4040..=4096) {
        for length in 0..=40 {
            let bytes: Vec<u8> = (0..length).map(|index| next.wrapping_add(index as u8)).collect();
            next = next.wrapping_mul(5).wrapping_add(length as u8 | 1);
            let fits = offset + length <= 4096;
            assert_eq!(region.write(offset, &bytes).is_ok(), fits, "{offset} {length}");
            if fits {
                model[offset..offset + length].copy_from_slice(&bytes);
            }
            let mut part = vec![0xaa; length];
            assert_eq!(region.read(offset, &mut part).is_ok(), fits);
            assert_eq!(part, if fits { bytes } else { vec![0xaa; length] });
        }
    }
    let mut all = vec![0; 4096];
    region.read(0, &mut all)?;
    assert!(all == model);
    Ok(())
}

#[test]
fn a_release_store_publishes_what_was_copied_before_it() -> Outcome {
    let region = Region::builder(8192).backing(SHARED).pinned(false).build()?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), MemoryError> {
            for turn in 1..=200u64 {
                region.write(64, &[turn as u8; 3000])?;
                region.store(0, turn, Ordering::Release)?;
                let mut wait = Wait::new("the reader");
                while region.load(8, Ordering::Acquire)? != turn {
                    wait.turn();
                    std::thread::yield_now();
                }
            }
            Ok(())
        });
        for turn in 1..=200u64 {
            let mut wait = Wait::new("the writer");
            while region.load(0, Ordering::Acquire)? != turn {
                wait.turn();
                std::thread::yield_now();
            }
            let mut bytes = [0; 3000];
            region.read(64, &mut bytes)?;
            assert!(bytes.iter().all(|byte| *byte == turn as u8), "{turn}");
            region.store(8, turn, Ordering::Release)?;
        }
        writer.join().map_err(|_| "the writer panicked")??;
        Ok(())
    })
}

#[test]
fn words_are_aligned_and_atomic() -> Outcome {
    let region = Region::builder(4096).build()?;
    region.store(8, 5, Ordering::Release)?;
    assert_eq!(region.fetch_add(8, u64::MAX, Ordering::SeqCst)?, 5);
    assert_eq!(region.compare_exchange(8, 4, 9)?, 4);
    assert_eq!(region.compare_exchange(8, 4, 1)?, 9);
    assert_eq!(region.load(8, Ordering::Acquire)?, 9);
    for offset in [4, 4089, 4096, usize::MAX - 7] {
        assert!(region.load(offset, Ordering::Relaxed).is_err(), "{offset}");
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).map(|_| region.fetch_add(16, 1, Ordering::Relaxed)).all(|one| one.is_ok()));
        }
    });
    assert_eq!(region.load(16, Ordering::Relaxed)?, 4000);
    Ok(())
}

#[test]
fn impossible_lengths_are_told_apart_from_failures() {
    for bytes in [0, usize::MAX, isize::MAX as usize + 1] {
        assert!(matches!(Region::builder(bytes).build(), Err(MemoryError::Length { .. })), "{bytes}");
    }
    let huge = Region::builder(1 << 46).backing(SHARED).pinned(false).build();
    assert!(matches!(huge, Err(MemoryError::NoRoom { .. } | MemoryError::System { .. })), "{huge:?}");
}

#[test]
fn nobody_can_shrink_sealed_memory() -> Outcome {
    let region = Region::builder(8192).backing(SHARED).build()?;
    let number = region.file().ok_or("file")?.as_raw_fd();
    let again = std::fs::OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{number}"))?;
    for length in [0, 4096, 1 << 20] {
        let error = again.set_len(length).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(libc::EPERM), "{length}");
    }
    Ok(())
}

#[test]
fn memory_that_is_read_only_elsewhere_cannot_be_mapped_to_write() -> Outcome {
    let region = Region::builder(4096).backing(Backing::Shared { read_only_elsewhere: true }).build()?;
    region.write(0, b"we can")?;
    let file = &std::fs::File::from(region.file().ok_or("file")?.try_clone_to_owned()?);
    let refused = memmap2::MmapOptions::new().map_raw(file).err().and_then(|error| error.raw_os_error());
    assert_eq!(refused, Some(libc::EPERM));
    let mut bytes = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    assert_eq!(&bytes, b"we can");
    Ok(())
}

#[test]
fn files_keep_their_bytes_and_others_files_are_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ring");
    Region::builder(4096).backing(Backing::File(path.clone())).build()?.write(10, b"kept")?;
    let again = Region::builder(100).backing(Backing::File(path.clone())).build()?;
    let mut bytes = [0; 4];
    again.read(10, &mut bytes)?;
    assert_eq!(&bytes, b"kept");
    let mut permissions = std::fs::metadata(&path)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o666);
    std::fs::set_permissions(&path, permissions)?;
    let refused = Region::builder(100).backing(Backing::File(path)).build();
    assert!(matches!(&refused, Err(MemoryError::System { tried, .. }) if tried.contains("writable by nobody else")));
    let missing = Region::builder(100).backing(Backing::File(folder.path().join("no/such"))).build();
    assert!(matches!(missing, Err(MemoryError::System { errno, .. }) if errno.number() == libc::ENOENT));
    Ok(())
}

#[test]
fn links_and_pipes_and_folders_are_no_files() -> Outcome {
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("target");
    std::fs::write(&target, b"bytes")?;
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&target, &link)?;
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
    for (path, number) in [(link, libc::ELOOP), (pipe, libc::EACCES), (folder.path().to_owned(), libc::EISDIR)] {
        let refused = Region::builder(100).backing(Backing::File(path.clone())).build();
        assert!(matches!(&refused, Err(MemoryError::System { errno, .. }) if errno.number() == number), "{refused:?}");
    }
    assert_eq!(std::fs::read(target)?, b"bytes");
    Ok(())
}

#[test]
fn a_longer_file_keeps_its_length() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ring");
    std::fs::write(&path, vec![7; 10_000])?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let region = Region::builder(4096).backing(Backing::File(path.clone())).pinned(false).build()?;
    assert_eq!((region.len(), std::fs::metadata(&path)?.len()), (4096, 10_000));
    let long = Region::builder(12_288).backing(Backing::File(path.clone())).pinned(false).build()?;
    assert_eq!((long.len(), std::fs::metadata(&path)?.len()), (12_288, 12_288));
    let mut bytes = [0; 2];
    long.read(9_999, &mut bytes)?;
    assert_eq!(bytes, [7, 0]);
    Ok(())
}

#[test]
fn files_in_dev_shm_go_by_plain_names() -> Outcome {
    let name = format!("handfast-test-{}", std::process::id());
    let path = std::path::Path::new("/dev/shm").join(&name);
    Region::builder(4096).backing(Backing::SharedMemory(name.clone())).build()?.write(0, b"x")?;
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path)?) & 0o777, 0o600);
    std::fs::remove_file(&path)?;
    for name in ["", ".hidden", "a/b", "../x", "a\0b"] {
        let refused = Region::builder(4096).backing(Backing::SharedMemory(name.to_owned())).build();
        assert!(matches!(&refused, Err(MemoryError::System { errno, .. }) if errno.number() == libc::EINVAL), "{name}");
    }
    Ok(())
}

#[test]
fn no_room_is_an_error_that_leaves_no_file() -> Outcome {
    // More than any machine has, in memory and on disk: one is refused by us, the other by the file system.
    let folder = tempfile::tempdir()?;
    let in_folder = folder.path().join("ring");
    let name = format!("handfast-full-{}", std::process::id());
    let in_memory = std::path::Path::new("/dev/shm").join(&name);
    for (backing, path) in [(Backing::SharedMemory(name), in_memory), (Backing::File(in_folder.clone()), in_folder)] {
        let refused = Region::builder(1 << 45).backing(backing).pinned(false).build();
        let place = path.display().to_string();
        // A file system may have no files so long, which free space does not help.
        let is_told = |error: &MemoryError| match error {
            MemoryError::NoRoom { place: told, .. } => *told == place,
            MemoryError::System { tried, errno } => tried.ends_with(&place) && errno.number() == libc::EFBIG,
            _ => false,
        };
        assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
        assert!(!path.exists(), "{place} was left behind");
    }
    // What is there already is not taken away.
    let kept = folder.path().join("kept");
    Region::builder(4096).backing(Backing::File(kept.clone())).pinned(false).build()?.write(0, b"kept")?;
    assert!(Region::builder(1 << 45).backing(Backing::File(kept.clone())).pinned(false).build().is_err());
    assert_eq!(std::fs::read(&kept)?[..4], *b"kept");
    Ok(())
}

#[test]
fn more_than_the_machine_has_is_not_pinned_at_the_price_of_the_process() {
    let available = crate::sys::memory::available().unwrap_or(0) as usize;
    for backing in [Backing::Private, SHARED] {
        let refused = Region::builder(available + (1 << 30)).backing(backing).build();
        assert!(matches!(refused, Err(MemoryError::NoRoom { .. })), "{refused:?}");
    }
}

/// Takes the right to lock memory past the limit from the calling thread, where it has it (`capset(2)` works on one thread).
fn drop_the_right_to_lock() -> Result<(), io::Error> {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_IPC_LOCK: u32 = 14;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable: the low 32 bits, then the high ones.
    let mut sets = [0u32; 6];
    // SAFETY:
    // - live: both arrays outlive the call.
    // - bounds: version 3 has a header of two words and sets of six.
    // - alias: `sets` is ours alone while the kernel writes it.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    sets[0] &= !(1 << CAP_IPC_LOCK);
    // SAFETY:
    // - live: both arrays outlive the call.
    // - bounds: version 3 has a header of two words and sets of six.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[test]
fn the_limit_of_locked_memory_is_named_in_the_error() -> Outcome {
    let Some(limit) = crate::sys::memory::lock_limit() else {
        eprintln!("SKIPPED: locked memory is unlimited here (ulimit -l)");
        return Ok(());
    };
    let past = usize::try_from(limit)?.next_multiple_of(4096) + 4096;
    let refused = std::thread::spawn(move || {
        drop_the_right_to_lock().map(|()| (Region::builder(past).build(), Region::builder(past).pinned(false).build()))
    });
    let (refused, unpinned) = refused.join().map_err(|_| "the thread panicked")??;
    let Err(error @ MemoryError::LockLimit { .. }) = &refused else { return Err(format!("{refused:?}").into()) };
    let text = error.to_string();
    assert!(text.contains(&past.to_string()) && text.contains(&limit.to_string()), "{text}");
    assert!(text.contains("ulimit -l") && error.recovery() == crate::Recovery::Fatal, "{text}");
    assert!(!unpinned?.is_pinned());
    Ok(())
}

#[test]
fn huge_pages_fall_back_or_say_how_to_get_them() -> Outcome {
    let region = Region::builder(1000).huge_pages(HugePages::Prefer1GiB).pinned(false).build()?;
    assert!([crate::sys::memory::page_bytes(), 2 << 20, 1 << 30].contains(&region.page_bytes()));
    assert_eq!(region.len() % region.page_bytes(), 0);
    // Files have ordinary pages: preferring others is no error, needing them is.
    let folder = tempfile::tempdir()?;
    let file = Region::builder(1000).backing(Backing::File(folder.path().join("ring"))).pinned(false);
    assert_eq!(file.clone().huge_pages(HugePages::Prefer2MiB).build()?.page_bytes(), crate::sys::memory::page_bytes());
    assert!(matches!(file.huge_pages(HugePages::Need2MiB).build(), Err(MemoryError::Backing { .. })));
    // More than any machine has: an error that names the remedy.
    for backing in [Backing::Private, SHARED] {
        let needed = Region::builder(1 << 45).backing(backing).huge_pages(HugePages::Need2MiB).pinned(false).build();
        let text = needed.err().ok_or("no machine has so many huge pages")?.to_string();
        assert!(text.contains("hugepages-2048kB"), "{text}");
    }
    Ok(())
}

#[test]
fn a_numa_node_that_does_not_exist_is_an_error() -> Outcome {
    for backing in [Backing::Private, SHARED] {
        for node in [1000, 5000] {
            let refused = Region::builder(4096).backing(backing.clone()).numa_node(node).build();
            let text = refused.err().ok_or("no machine has so many nodes")?.to_string();
            assert!(text.contains(&format!("NUMA node {node}")), "{text}");
        }
        let node_0 = Region::builder(4096).backing(backing).numa_node(0).build();
        match &node_0 {
            Err(MemoryError::System { errno, .. }) if errno.number() == libc::ENOSYS => {
                eprintln!("SKIPPED: this kernel has no NUMA");
            }
            made => assert!(made.is_ok(), "{made:?}"),
        }
    }
    Ok(())
}

#[test]
fn regions_go_between_threads() {
    fn both<T: Send + Sync>() {}
    both::<Region>();
    both::<crate::memory::Buffer>();
}
