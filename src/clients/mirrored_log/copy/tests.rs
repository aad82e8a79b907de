//! Which copy counts, and who may take it over.

use super::super::RingBytes;
use super::super::lsn::NUMBER_MAX;
use super::*;
use crate::memory::MemoryError;

fn copy(state: HeaderState, term: u64) -> Result<CopySource, Box<dyn std::error::Error>> {
    let ring_bytes = RingBytes::new(64 << 10)?;
    let header = LogHeader {
        state,
        sequence: term,
        history: History(7),
        term: Term(term),
        generation: Generation(1),
        tail: Lsn::ZERO,
        ring_bytes,
        acknowledged: Lsn::ZERO,
        writer: 1,
        lineage: 1,
        persistent: false,
    };
    let region = Region::builder(ring_bytes.area_bytes() as usize).pinned(false).build()?;
    let write =
        |region: &Region| -> Result<(), MemoryError> { region.write(header.offset() as usize, &header.encode()) };
    write(&region)?;
    Ok(CopySource::loaded(region))
}

#[test]
fn an_outdated_copy_stays_so_from_session_to_session() -> Result<(), Box<dyn std::error::Error>> {
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 1)?, false)), None, None);
    let log = LogCopy::new(Arc::clone(&shared));
    assert_eq!(log.status().state, CopyState::Whole);
    shared.replace(copy(HeaderState::Refilling, 2)?, None);
    assert_eq!((log.status().state, log.status().term), (CopyState::Outdated, Term(1)));
    // That session was lost; the next one's memory begins with what is held.
    shared.replace(copy(HeaderState::Whole, 1)?, None);
    assert_eq!(log.status().state, CopyState::Outdated);
    assert_eq!(shared.settle(), None);
    let refused = log.take_over(Term(1), false).map(|records| *records.header());
    assert!(matches!(refused, Err(TakeoverError::Refused(TakeoverRefused::NotWorthy { .. }))), "{refused:?}");
    shared.replace(copy(HeaderState::Whole, 2)?, None);
    assert_eq!(log.status().state, CopyState::Whole);
    Ok(())
}

/// Until its writer has said in a session that it is whole; a session in between changes nothing.
#[test]
fn a_copy_from_a_file_in_use_may_lack_records() -> Result<(), Box<dyn std::error::Error>> {
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 1)?, true)), None, None);
    let log = LogCopy::new(Arc::clone(&shared));
    assert_eq!(log.status().state, CopyState::MayLack);
    let refused = log.take_over(Term(1), false).map(|records| *records.header());
    assert!(matches!(refused, Err(TakeoverError::Refused(TakeoverRefused::NotWorthy { .. }))), "{refused:?}");
    for _ in 0..2 {
        shared.replace(copy(HeaderState::Whole, 1)?, Some(1));
        assert_eq!((log.status().state, shared.settle()), (CopyState::MayLack, None));
    }
    // Its writer says so; the session is lost before anybody looks.
    shared.replace(copy(HeaderState::Whole, 2)?, Some(1));
    shared.replace(copy(HeaderState::Whole, 2)?, Some(2));
    assert_eq!(log.status().state, CopyState::Whole);
    Ok(())
}

#[test]
fn what_was_carried_over_does_not_stand_for_what_it_was_carried_from() -> Result<(), Box<dyn std::error::Error>> {
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 1)?, false)), None, None);
    // Of sequence 1, as it was carried over: its owner may be about to empty it.
    shared.replace(copy(HeaderState::Whole, 1)?, Some(1));
    assert_eq!(shared.settle(), None);
    let next = copy(HeaderState::Whole, 2)?;
    shared.replace(next, Some(1));
    assert_eq!(shared.settle().map(|header| header.sequence), Some(2));
    Ok(())
}

#[test]
fn a_header_that_speaks_of_more_than_there_is_does_not_count() -> Result<(), Box<dyn std::error::Error>> {
    let source = copy(HeaderState::Whole, 1)?;
    let header = LogHeader { ring_bytes: RingBytes::new(1 << 30)?, sequence: 9, ..LogHeader::read(&source)? };
    source.region().write(header.offset() as usize, &header.encode())?;
    let shared = CopyShared::new(None, None, None);
    shared.replace(source, None);
    assert_eq!(LogCopy::new(shared).status().state, CopyState::Nothing);
    Ok(())
}

#[test]
fn a_takeover_is_remembered_where_there_is_a_file() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let file = folder.path().join("log.taken");
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 4)?, false)), None, Some(Note::beside(&file)?));
    let log = LogCopy::new(Arc::clone(&shared));
    assert_eq!(
        log.take_over(Term(6), false).map(|_| ()),
        Err(TakeoverRefused::Outdated { ours: Term(4), known: Term(6) }.into())
    );
    shared.set_in_session(true);
    assert_eq!(log.take_over(Term(4), false).map(|_| ()), Err(TakeoverRefused::PartnerThere.into()));
    shared.set_in_session(false);
    assert_eq!(log.take_over(Term(4), false)?.count(), 0);
    assert_eq!(
        (shared.taken(), Note::<(History, Term)>::beside(&file)?.value()),
        (Some((History(7), Term(5))), Some((History(7), Term(5))))
    );
    Ok(())
}

#[test]
fn a_takeover_under_a_term_that_cannot_be_is_refused_and_fences_nobody() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let file = folder.path().join("log.taken");
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 4)?, false)), None, Some(Note::beside(&file)?));
    let log = LogCopy::new(Arc::clone(&shared));
    for known in [NUMBER_MAX + 1, 1 << 63, u64::MAX].map(Term) {
        for force in [false, true] {
            let refused = log.take_over(known, force).map(|_| ());
            assert_eq!(refused, Err(TakeoverRefused::Term { known }.into()));
            assert_eq!(
                (shared.taken(), Note::<(History, Term)>::beside(&file)?.value(), file.exists()),
                (None, None, false)
            );
        }
    }
    for known in [0, 1, 1 << 61, NUMBER_MAX - 1, NUMBER_MAX].map(Term) {
        log.take_over(known, true)?;
        let taken = shared.taken();
        assert!(taken.is_some_and(|(_, term)| term > known && term > Term(4)), "{taken:?}");
        assert_eq!(Note::<(History, Term)>::beside(&file)?.value(), taken, "a restart reads it again");
    }
    Ok(())
}

/// While a session begins a takeover waits, and then finds the partner there: else the partner could go on, and have records acknowledged, in
/// memory that the taker is not given.
#[test]
fn a_takeover_waits_for_a_session_that_begins() -> Result<(), Box<dyn std::error::Error>> {
    let shared = CopyShared::new(Some((copy(HeaderState::Whole, 1)?, false)), None, None);
    let log = LogCopy::new(Arc::clone(&shared));
    let (tell, told) = std::sync::mpsc::channel();
    let mut session = shared.session();
    let taker = std::thread::spawn(move || {
        let refused = log.take_over(Term(1), false).map(|_| ());
        let _ = tell.send(());
        refused
    });
    assert!(told.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "it did not wait");
    *session = true;
    drop(session);
    let refused = taker.join().map_err(|_| "it panicked")?;
    assert_eq!(refused, Err(TakeoverRefused::PartnerThere.into()));
    assert_eq!(shared.taken(), None);
    Ok(())
}
