use super::*;
use crate::fabric::AccessFlags;

fn record() -> Record {
    let status =
        RemoteDescriptor { address: 1, length: 2, key: 3, access: AccessFlags::REMOTE_READ, context: u64::MAX - 1 };
    let observed = PortAddress([7; PORT_ADDRESS_BYTES]);
    Record { process: 42, door_file: 9, door_token: 0x0123_4567_89ab_cdef, observed, status }
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
    listing.publish(&record())?;
    assert_eq!(find(&address)?, record());
    let busy = FabricError::AddressInUse { address: address.clone(), process: 42 };
    assert_eq!(Listing::take(&address).err(), Some(busy));
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
        let busy = FabricError::AddressInUse { address: address.clone(), process: 42 };
        assert_eq!(Listing::take(&address).err(), Some(busy), "the lock is held");
    }
    // Another process has the address by now: it keeps it, to the end of this one.
    removed()?;
    let other = Listing::take(&address)?;
    other.publish(&Record { process: 43, ..record() })?;
    assert!(!listing.mend(&address, &record())?);
    drop(listing);
    assert_eq!(find(&address)?.process, 43);
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
    for junk in [&b"short"[..], b"something else of some other program, long enough to be a record and a bit more"] {
        std::fs::write(path(&address)?, junk)?;
        assert!(find(&address).is_err());
        drop(Listing::take(&address)?);
    }
    assert!(!path(&address)?.exists());
    Ok(())
}

#[test]
fn a_file_that_was_removed_under_its_owner_is_not_removed_again() -> Result<(), Box<dyn std::error::Error>> {
    let address = address("removed")?;
    let first = Listing::take(&address)?;
    std::fs::remove_file(path(&address)?)?;
    let second = Listing::take(&address)?;
    second.publish(&record())?;
    drop(first);
    assert_eq!(find(&address)?, record());
    drop(second);
    assert!(!path(&address)?.exists());
    Ok(())
}

#[test]
fn links_and_folders_in_its_place_are_refused() -> Result<(), Box<dyn std::error::Error>> {
    let address = address("odd")?;
    let path = path(&address)?;
    std::os::unix::fs::symlink("/etc/passwd", &path)?;
    assert!(matches!(find(&address), Err(FabricError::System { errno, .. }) if errno.number() == libc::ELOOP));
    assert!(matches!(Listing::take(&address), Err(FabricError::System { errno, .. }) if errno.number() == libc::ELOOP));
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
