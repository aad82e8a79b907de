//! What a small file says, and that it goes on saying it.

use super::super::lsn::NUMBER_MAX;
use super::*;
use crate::storage::simulated::{Fault, Simulated};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A file of this name on a disk where everything can fail.
fn on<N: Number>(disk: &Simulated) -> Result<Note<N>, LogError> {
    let owner = Some("the term of log wal of node a of cluster pair".to_owned());
    Note::take_on(Arc::new(disk.clone()), Path::new("/note"), owner, false)
}

fn content(disk: &Simulated) -> Option<String> {
    disk.content(Path::new("/note")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Such a look is always due.
fn look<N: Number>(note: &mut Note<N>) -> Result<Option<&'static str>, LogError> {
    note.next_look = Timestamp(0);
    Ok(note.look(Timestamp(1))?.map(|mended| mended.what))
}

#[test]
fn what_is_noted_comes_back() -> Outcome {
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let path = |name: &str| folder.path().join(name);
    for term in [1, 7, NUMBER_MAX] {
        let mut note = Note::<Term>::take(&path("term"), "the term".to_owned(), false)?;
        note.store(Term(term))?;
        for high in [NUMBER_MAX + 1, 1 << 63, u64::MAX] {
            assert_eq!(note.store(Term(high)), Err(LogError::Exhausted { what: "term", found: high }));
        }
        assert!(note.says(Term(term)));
        drop(note);
        assert_eq!(Note::take(&path("term"), "the term".to_owned(), false)?.value(), Some(Term(term)));
    }
    for (history, generation) in [(History(1), Generation(1)), (History(u128::MAX), Generation(u32::MAX))] {
        let begun = Begun { history, generation, lineages: [u64::MAX, 1] };
        Note::take(&path("state"), "the state".to_owned(), false)?.store(begun)?;
        assert_eq!(Note::beside(&path("state"))?.value(), Some(begun));
    }
    for taken in [(History(u128::MAX - 1), Term(9)), (History(1), Term(TAKEN_MAX))] {
        let mut note = Note::beside(&path("taken"))?;
        note.store(taken)?;
        assert!(note.store((History(1), Term(TAKEN_MAX + 1))).is_err());
        assert_eq!(Note::beside(&path("taken"))?.value(), Some(taken));
    }
    Ok(())
}

#[test]
fn a_file_of_an_earlier_release_is_read_and_gets_a_checksum() -> Outcome {
    let disk = Simulated::default();
    disk.put(Path::new("/note"), b"12\n");
    assert_eq!(on::<Term>(&disk)?.value(), Some(Term(12)));
    assert_eq!(content(&disk), Some(line_of(&Term(12))?));
    disk.put(Path::new("/note"), b"00000000000000000000000000c0ffee\n");
    let begun = Begun { history: History(0x00c0_ffee), generation: Generation(0), lineages: [0; 2] };
    assert_eq!(on::<Begun>(&disk)?.value(), Some(begun));
    assert_eq!(content(&disk), Some(line_of(&begun)?));
    disk.put(Path::new("/note"), b"00000000000000000000000000c0ffee 7\n");
    assert_eq!(on::<(History, Term)>(&disk)?.value(), Some((History(0x00c0_ffee), Term(7))));
    Ok(())
}

/// One bit, any prefix, a line of another kind: nothing of it passes for a number.
#[test]
fn a_damaged_file_is_told_by_name_and_given_up_by_a_person() -> Outcome {
    let (term, history) =
        (Term(0x7777), Begun { history: History(0x1234 << 100), generation: Generation(9), lineages: [3, 0] });
    let mut damaged = vec![line_of(&history)?.into_bytes(), b"seven\n".to_vec(), b"7".repeat(1 << 10)];
    let line = line_of(&term)?.into_bytes();
    damaged.extend((0..line.len()).map(|length| line[..length].to_vec()));
    for bit in 0..line.len() * 8 {
        let mut changed = line.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        damaged.push(changed);
    }
    damaged.push(vec![0; line.len()]);
    for bytes in damaged {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let disk = Simulated::default();
        disk.put(Path::new("/note"), &bytes);
        let refused = on::<Term>(&disk).err().ok_or(format!("{shown:?} passes"))?;
        assert!(matches!(&refused, LogError::NoteDamaged { .. }), "{shown:?}: {refused}");
        assert!(refused.to_string().contains("GiveUpMissing"), "{refused}");
        assert_eq!(disk.content(Path::new("/note.lock")), None, "nothing is left behind");
        let note = Note::<Term>::take_on(Arc::new(disk.clone()), Path::new("/note"), None, true)?;
        assert_eq!(
            (note.value(), disk.content(Path::new("/note"))),
            (None, Some(bytes)),
            "it stays until it is written"
        );
    }
    let state = line_of(&history)?.into_bytes();
    for bytes in (0..state.len()).map(|length| &state[..length]) {
        assert_eq!(parse::<Begun>(bytes), None);
    }
    Ok(())
}

#[test]
fn what_others_take_away_is_written_again_and_told_once() -> Outcome {
    let disk = Simulated::default();
    let mut note = on::<Term>(&disk)?;
    assert_eq!(look(&mut note)?, None, "there is nothing to look for yet");
    note.store(Term(3))?;
    let line = content(&disk);
    disk.remove(Path::new("/note"));
    assert_eq!(look(&mut note)?, Some("removed"));
    assert_eq!((content(&disk.boot(false)), look(&mut note)?), (line.clone(), None), "it is on the disk");
    for other in [&b""[..], b"2\n", b"4\n", line_of(&Term(2))?.as_bytes()] {
        // Into the very file, as `cp` does: an older line is as long.
        disk.put(Path::new("/note"), other);
        assert_eq!((look(&mut note)?, content(&disk)), (Some("replaced or written over"), line.clone()));
        disk.remove(Path::new("/note"));
        disk.put(Path::new("/note"), other);
        assert_eq!(look(&mut note)?, Some("replaced or written over"));
        assert_eq!((content(&disk), look(&mut note)?), (line.clone(), None));
    }
    disk.cut_short(Path::new("/note"), 1);
    assert_eq!((look(&mut note)?, content(&disk)), (Some("replaced or written over"), line.clone()));
    // What is no small file stays, and nothing counts as noted meanwhile.
    disk.remove(Path::new("/note"));
    disk.put(Path::new("/note"), b"a letter");
    assert!(matches!(look(&mut note), Err(LogError::Storage(StorageError::Foreign { .. }))));
    assert_eq!((look(&mut note)?, note.stands()), (None, false), "told once");
    disk.remove(Path::new("/note"));
    assert_eq!((look(&mut note)?, note.stands()), (Some("removed"), true));
    assert_eq!((content(&disk), note.next_look > Timestamp(1)), (line, true));
    disk.remove(Path::new("/note"));
    assert_eq!(note.look(Timestamp(2))?, None, "not due");
    Ok(())
}

#[test]
fn a_lock_that_others_remove_is_taken_again() -> Outcome {
    let disk = Simulated::default();
    let mut note = on::<Term>(&disk)?;
    note.store(Term(3))?;
    disk.remove(Path::new("/note.lock"));
    assert_eq!(look(&mut note)?, Some("deprived of its lock"));
    assert!(matches!(on::<Term>(&disk), Err(LogError::Storage(StorageError::InUse { .. }))));
    disk.remove(Path::new("/note.lock"));
    let other = on::<Term>(&disk)?;
    assert!(matches!(look(&mut note), Err(LogError::Storage(StorageError::InUse { .. }))));
    assert!(!note.stands(), "who has the lock may write the file");
    assert!(note.store(Term(4)).is_err() && !note.stands(), "nor is anything stored");
    drop(other);
    assert_eq!((look(&mut note)?, note.stands()), (Some("deprived of its lock"), true));
    Ok(())
}

/// Each call of a store fails in turn. Either may be in the file then, and whoever decides which one counts has it there.
#[test]
fn what_may_be_in_the_file_is_settled_by_who_goes_on() -> Outcome {
    for fault in [Fault::WriteFails(libc::ENOSPC), Fault::SyncFails, Fault::FolderSyncFails, Fault::Full] {
        for (call, adopts) in (0..12).flat_map(|call| [(call, true), (call, false)]) {
            for before in [None, Some(Term(6))] {
                let disk = Simulated::default();
                let mut note = on::<Term>(&disk)?;
                if let Some(before) = before {
                    note.store(before)?;
                }
                disk.fail_in(call, fault);
                if note.store(Term(7)).is_ok() {
                    continue;
                }
                assert!(!note.says(Term(7)) && note.value() == before, "{fault:?} at {call}");
                assert_eq!(look(&mut note)?, None, "who stores it tries it again");
                let (counts, adopted) = match adopts {
                    true => (Some(Term(7)), note.adopt()),
                    false => (before, None),
                };
                assert_eq!(adopted, Some(Term(7)).filter(|_| adopts));
                note.revert();
                assert_eq!(look(&mut note)?, None, "nobody took it away");
                drop(note);
                let disk = disk.boot(false);
                assert_eq!(on::<Term>(&disk)?.value(), counts, "{fault:?} at {call}, {before:?}, {adopts}");
            }
        }
    }
    Ok(())
}
