//! Claims, publication and lending, on rings of a few laps.

use super::*;

const BASE: usize = 4096;

fn ring(bytes: u64, at: u64) -> Result<(Arc<Ring>, RingReader), MemoryError> {
    let region = Region::builder(BASE + bytes as usize).pinned(false).build()?;
    Ring::new(region, BASE, bytes, (at, at))
}

fn put(ring: &Ring, bytes: u64, fill: u8) -> Result<(u64, u64), RingFull> {
    let (gap, mut span) = ring.claim(bytes, 7)?;
    span.bytes_mut().fill(fill);
    if let Some(mut gap) = gap {
        gap.bytes_mut().fill(0);
        gap.publish();
    }
    let taken = (span.start(), span.start() + span.bytes().len() as u64);
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
        let before = gap.as_ref().map_or(span.start(), Span::start);
        assert_eq!(
            reader.collect(reader.collected(), 1000, u64::MAX),
            before,
            "nothing of this claim is collected before it is published"
        );
        let end = span.start() + span.bytes().len() as u64;
        if let Some(gap) = gap {
            gap.publish();
        }
        span.publish();
        assert_eq!(reader.collect(reader.collected(), 1000, u64::MAX), end);
    }
    Ok(())
}

#[test]
fn loans_show_no_bytes_to_their_holder_and_all_to_a_port() -> Result<(), Box<dyn std::error::Error>> {
    let (ring, mut reader) = ring(4096, 0)?;
    let source = RingSource::new(Arc::clone(&ring), 1, LocalKey(0), None);
    put(&ring, 64, 9)?;
    assert!(reader.lend(&source, 0, 64).is_none(), "not collected");
    assert_eq!(reader.collect(0, 10, u64::MAX), 64);
    let mut loan = reader.lend(&source, 0, 4096).ok_or("no loan")?;
    assert_eq!((loan.len(), loan.to_send()), (64, &[9; 64][..]));
    assert!(loan.is_loan() && loan.as_slice().is_empty() && loan.as_mut_slice().is_empty());
    reader.free(64);
    assert!(reader.lend(&source, 0, 64).is_none(), "freed");
    Ok(())
}

#[test]
fn what_does_not_fit_together_is_refused() -> Result<(), MemoryError> {
    let region = || Region::builder(BASE + 4096).pinned(false).build();
    for (bytes, held) in
        [(8192, (0, 0)), (4095, (0, 0)), (4096, (0, 4128)), (4096, (64, 0)), (4096, (1, 1)), (128, (0, 0))]
    {
        assert!(Ring::new(region()?, BASE, bytes, held).is_err(), "{bytes} {held:?}");
    }
    assert!(Ring::new(region()?, BASE, 4096, (u64::MAX - 63, u64::MAX - 63)).is_err());
    let shared = Region::builder(BASE + 4096).backing(Backing::Shared { read_only_elsewhere: true }).build()?;
    assert!(Ring::new(shared, BASE, 4096, (0, 0)).is_err());
    Ok(())
}
