//! Regions of every backing: bounds, words, seals, and the errors people meet.

use super::*;
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
    let file = region.as_file().ok_or("file")?;
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
fn files_in_dev_shm_go_by_plain_names() -> Outcome {
    let name = format!("handfast-test-{}", std::process::id());
    Region::builder(4096).backing(Backing::SharedMemory(name.clone())).build()?.write(0, b"x")?;
    std::fs::remove_file(format!("/dev/shm/{name}"))?;
    for name in ["", ".hidden", "a/b", "../x"] {
        assert!(Region::builder(4096).backing(Backing::SharedMemory(name.to_owned())).build().is_err(), "{name}");
    }
    Ok(())
}

#[test]
fn huge_pages_fall_back_or_say_how_to_get_them() -> Outcome {
    let region = Region::builder(1000).huge_pages(HugePages::Prefer1GiB).pinned(false).build()?;
    assert!([4096, 2 << 20, 1 << 30].contains(&region.page_bytes()));
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
    assert!(matches!(Region::builder(4096).numa_node(1000).build(), Err(MemoryError::System { .. })));
    let node_0 = Region::builder(4096).numa_node(0).build();
    // A kernel without NUMA answers ENOSYS; anything else would be a fault of ours.
    assert!(matches!(&node_0, Ok(_) | Err(MemoryError::System { .. })), "{node_0:?}");
    Ok(())
}

#[test]
fn errors_of_the_system_keep_their_number() {
    let error = io::Error::from_raw_os_error(libc::ENOSPC);
    assert_eq!(crate::sys::Errno::new(error.raw_os_error().unwrap_or(0)).name(), "ENOSPC");
}
