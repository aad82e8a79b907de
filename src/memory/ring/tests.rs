//! Claims, publication and lending, on rings of a few laps.

use super::*;
use crate::memory::LocalKey;

const BASE: usize = 4096;

fn ring(bytes: u64, at: u64) -> Result<(Arc<Ring>, RingReader), MemoryError> {
    let region = Region::builder(BASE + bytes as usize).pinned(false).build()?;
    Ring::new(region, BASE, bytes, (at, at), None)
}

fn put(ring: &Ring, bytes: u64, fill: u8) -> Result<(u64, u64), RingFull> {
    let (gap, mut span) = ring.claim(bytes, 7)?;
    let length = (span.end() - span.start()) as usize;
    span.write(0, &vec![fill; length]).map_err(|_| RingFull)?;
    if let Some(mut gap) = gap {
        let length = (gap.end() - gap.start()) as usize;
        gap.write(0, &vec![0; length]).map_err(|_| RingFull)?;
        gap.publish();
    }
    let taken = (span.start(), span.end());
    span.publish();
    Ok(taken)
}

#[test]
fn spans_follow_each_other_and_never_cross_the_end() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(1024, 0)?;
    assert_eq!(put(&ring, 1, 1)?, (0, 64));
    assert_eq!(put(&ring, 200, 2)?, (64, 288));
    assert_eq!(put(&ring, 256, 3)?, (288, 544));
    assert_eq!(put(&ring, 256, 4)?, (544, 800));
    // 224 bytes are left of this lap, and all before 256 is needed still.
    assert_eq!(ring.claim(256, 7).err(), Some(RingFull));
    assert_eq!(reader.collect(0, 100, u64::MAX), 800);
    reader.free(288);
    assert_eq!(put(&ring, 256, 5)?, (1024, 1280));
    assert_eq!(reader.collect(800, 1, u64::MAX), 1024, "the gap is a span of its own");
    assert_eq!(reader.collect(1024, 1, 1), 1280);
    let mut bytes = [9; 1024];
    assert!(reader.copy_out(BASE, &mut bytes));
    // Position 1024 lies at place 0; what is before 288 is freed, 800 to 1024 is a gap.
    assert_eq!((&bytes[..256], &bytes[256..288]), (&[5; 256][..], &[0; 32][..]));
    assert_eq!((&bytes[288..544], &bytes[544..800], &bytes[800..]), (&[3; 256][..], &[4; 256][..], &[0; 224][..]));
    assert!(
        reader.copy_out(BASE - 8, &mut bytes[..16]) && bytes[..16] == [0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5, 5]
    );
    assert!(!reader.copy_out(BASE + 8, &mut bytes), "past the end");
    Ok(())
}

#[test]
fn what_is_not_published_is_not_collected_and_has_a_name() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(4096, 1 << 20)?;
    let (_, first) = ring.claim(64, 1)?;
    let (_, second) = ring.claim(64, 2)?;
    second.publish();
    assert_eq!(reader.collect(1 << 20, 100, u64::MAX), 1 << 20);
    assert_eq!(ring.claimant(1 << 20), Some(1));
    first.publish();
    assert_eq!(reader.collect(1 << 20, 100, u64::MAX), (1 << 20) + 128);
    assert_eq!(ring.claimant(1 << 20), None);
    assert_eq!(ring.claimant((1 << 20) + 128), None);
    let starts: Vec<u64> = (0..4096).map(|at| (1 << 20) + at).filter(|at| ring.is_start(*at)).collect();
    assert_eq!(starts, [1 << 20, (1 << 20) + 64]);
    Ok(())
}

#[test]
fn many_laps_leave_nothing_behind_that_looks_published() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(4096, 0)?;
    let mut state = 7_u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (gap, span) = match ring.claim(64 + (state >> 33) % 900, 3) {
            Ok(claimed) => claimed,
            Err(RingFull) => {
                let (tail, collected) = (ring.tail(), reader.collected());
                reader.free(tail + ((state >> 20) % (collected - tail + 1)));
                continue;
            }
        };
        let before = gap.as_ref().map_or(span.start(), RingSpan::start);
        assert_eq!(
            reader.collect(reader.collected(), 1000, u64::MAX),
            before,
            "nothing of this claim is collected before it is published"
        );
        let end = span.end();
        if let Some(gap) = gap {
            gap.publish();
        }
        span.publish();
        assert_eq!(reader.collect(reader.collected(), 1000, u64::MAX), end);
    }
    Ok(())
}

fn source(ring: &Arc<Ring>) -> RingSource {
    RingSource::new(Arc::clone(ring), 1, LocalKey(0), None)
}

fn bytes_of(loan: &Loan) -> Result<Vec<u8>, MemoryError> {
    let mut bytes = vec![0; loan.len()];
    loan.copy_to(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_loan_is_what_was_published_and_no_more() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(4096, 0)?;
    let source = source(&ring);
    put(&ring, 64, 9)?;
    assert!(reader.lend(&source, 0, 64).is_none(), "not collected");
    assert_eq!(reader.collect(0, 10, u64::MAX), 64);
    let loan = reader.lend(&source, 0, 4096).ok_or("no loan")?;
    assert_eq!(bytes_of(&loan)?, [9; 64]);
    assert!(loan.copy_to(&mut [0; 63]).is_err() && loan.copy_to(&mut [0; 65]).is_err());
    drop(loan);
    assert_eq!(reader.free(64), 64);
    assert!(reader.lend(&source, 0, 64).is_none(), "freed");
    Ok(())
}

#[test]
fn room_is_freed_up_to_the_oldest_loan_that_is_out() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(1024, 0)?;
    let source = source(&ring);
    for fill in 1..=16 {
        put(&ring, 64, fill)?;
    }
    assert_eq!(reader.collect(0, 100, u64::MAX), 1024);
    let mut loans: Vec<Loan> = [128, 64, 192, 64].iter().filter_map(|at| reader.lend(&source, *at, at + 64)).collect();
    assert_eq!((loans.len(), reader.free(1024)), (4, 64));
    assert_eq!(put(&ring, 64, 99)?, (1024, 1088));
    assert_eq!(ring.claim(64, 7).err(), Some(RingFull), "what is lent stays");
    drop(loans.remove(1));
    assert_eq!(reader.free(1024), 64, "lent a second time");
    drop(loans.remove(2));
    assert_eq!(reader.free(1024), 128);
    assert_eq!(loans.iter().map(bytes_of).collect::<Result<Vec<_>, _>>()?, [[3; 64], [4; 64]]);
    drop(loans);
    assert_eq!((reader.free(1024), ring.tail()), (1024, 1024));
    Ok(())
}

#[test]
fn forgotten_loans_keep_their_room_and_the_table_is_bounded() -> Result<(), Box<dyn std::error::Error>> {
    use crate::memory::loan::LOANS_MAX;
    let (ring, mut reader) = ring(1024, 0)?;
    let source = source(&ring);
    put(&ring, 64, 1)?;
    put(&ring, 64, 2)?;
    reader.collect(0, 100, u64::MAX);
    std::mem::forget(reader.lend(&source, 64, 128));
    for _ in 0..5 {
        let loans: Vec<Loan> = std::iter::from_fn(|| reader.lend(&source, 0, 64)).collect();
        assert!(!loans.is_empty() && loans.len() < LOANS_MAX, "{}", loans.len());
        assert_eq!(reader.free(128), 0);
    }
    assert_eq!(reader.free(128), 64);
    Ok(())
}

#[test]
fn nothing_is_collected_past_what_is_not_published() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(1024, 0)?;
    let (_, first) = ring.claim(64, 1)?;
    put(&ring, 64, 2)?;
    assert_eq!(reader.collect(64, 10, u64::MAX), 64, "behind a span that is its producer's");
    assert_eq!(reader.collected(), 0);
    first.publish();
    assert_eq!(reader.collect(0, 10, u64::MAX), 128);
    Ok(())
}

#[test]
fn memory_with_a_name_gives_no_slices_unless_somebody_vouches() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ring");
    let region = || Region::builder(BASE + 4096).pinned(false).backing(Backing::File(path.clone())).build();
    {
        let (ring, mut reader) = Ring::new(region()?, BASE, 4096, (0, 0), None)?;
        let (_, mut span) = ring.claim(64, 1)?;
        assert!(!ring.is_in_place() && span.bytes().is_none() && span.bytes_mut().is_none());
        assert!(span.write(60, &[1; 5]).is_err() && span.write(usize::MAX, &[1]).is_err());
        span.write(0, &[5; 64])?;
        span.publish();
        reader.collect(0, 1, 64);
        assert!(reader.bytes(0, 64).is_none());
        let loan = reader.lend(&source(&ring), 0, 64).ok_or("no loan")?;
        // Another mapping of the file writes under the loan: what is read of it then is that.
        region()?.write(BASE, &[6; 64])?;
        assert_eq!(bytes_of(&loan)?, [6; 64]);
    }
    // SAFETY:
    // - alias: the file is this test's alone, and the mapping above is gone.
    let promise = unsafe { InPlace::promise() };
    let (ring, _reader) = Ring::new(region()?, BASE, 4096, (0, 0), Some(promise))?;
    let (_, mut span) = ring.claim(64, 1)?;
    assert_eq!(span.bytes_mut().map(|bytes| bytes.len()), Some(64));
    Ok(())
}

#[test]
fn what_does_not_fit_together_is_refused() -> Result<(), MemoryError> {
    let region = || Region::builder(BASE + 4096).pinned(false).build();
    for (bytes, held) in
        [(8192, (0, 0)), (4095, (0, 0)), (4096, (0, 4128)), (4096, (64, 0)), (4096, (1, 1)), (128, (0, 0))]
    {
        assert!(Ring::new(region()?, BASE, bytes, held, None).is_err(), "{bytes} {held:?}");
    }
    assert!(Ring::new(region()?, BASE, 4096, (u64::MAX - 63, u64::MAX - 63), None).is_err());
    let shared = Region::builder(BASE + 4096).backing(Backing::Shared { read_only_elsewhere: true }).build()?;
    assert!(Ring::new(shared, BASE, 4096, (0, 0), None).is_err());
    Ok(())
}
