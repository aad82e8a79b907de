//! A file says that it has all that was acknowledged only where it has.

use super::super::super::evidence;
use super::*;

/// The copy is filled anew, and between its header and the first byte lies what another writer of the same log left.
#[test]
fn what_another_writer_left_is_not_taken_for_the_refilled_log() -> Outcome {
    let disk = Simulated::default();
    let (mut process, mut log) = Process::settled(&disk)?;
    (0..5).try_for_each(|_| log.append())?;
    process.step();
    let (end, old) = (log.end, log.records.clone());
    // The next session's header is there, and nothing else of it.
    (log.header.lineage, log.header.generation) = (2, Generation(2));
    log.tell(HeaderState::Refilling)?;
    process.next_session(&log);
    process.step();
    // Then everything is emptied and filled; its records begin elsewhere, and are others.
    log.copy.region().write(RING_OFFSET as usize, &vec![0; end.0 as usize])?;
    (log.end, log.records) = (Lsn::ZERO, Vec::new());
    for byte in 100..103 {
        let size = size_of_record(PAYLOAD as u32);
        let mut span = vec![byte; size as usize];
        assert!(record::seal(&mut span, log.end, Generation(2), HISTORY, PAYLOAD as u32));
        log.records.push((log.end, byte));
        log.put(&span)?;
        process.step();
    }
    assert!(log.end < end && log.records[0] != old[0]);
    log.tell(HeaderState::Whole)?;
    process.step();
    process.step();
    assert_eq!(process.keeping.told.to.load(Ordering::Acquire), log.end.0);
    log.expect(disk.boot(false).content(path()), log.end.0, "filled anew");
    Ok(())
}

/// Sessions whose acknowledgements wait for the file and such whose do not, one after the other; then the process ends in order, or is killed
/// after so many records. How far the log was acknowledged.
fn acknowledged(disk: &Simulated, log: &mut Log, mut left: u32) -> Result<Lsn, Box<dyn std::error::Error>> {
    let mut acknowledged = Lsn::ZERO;
    let Ok(mut process) = Process::start(disk, log) else { return Ok(acknowledged) };
    for persistent in [false, true, false, true, true, false] {
        process.shared.replace(log.copy.clone(), Some(log.header.sequence));
        process.keeping.told.to.store(0, Ordering::Release);
        let epoch = process.shared.epoch();
        process.keeping.told.epoch.store(epoch, Ordering::Release);
        if let Err(error) = process.keeping.begin(epoch) {
            process.keeping.failed(error);
            process.keeping.retry = Duration::ZERO;
            process.keeping.wait_to_retry();
            if process.keeping.begin(epoch).is_err() {
                // The partner hears nothing of this session.
                continue;
            }
        }
        // What was carried over is not this session's word.
        process.step();
        log.header.persistent = persistent;
        log.tell(HeaderState::Whole)?;
        process.step();
        if !persistent && process.keeping.standing != Some(Standing::InUse) {
            // The one gap: the log waits no more for the file, and that could not be told so yet.
            continue;
        }
        for number in 0..6 {
            if left == 0 {
                return Ok(acknowledged);
            }
            left -= 1;
            log.append()?;
            if !persistent {
                acknowledged = log.end;
            }
            if persistent || number % 4 == 1 {
                process.step();
            }
            let persisted = Lsn(process.keeping.told.to.load(Ordering::Acquire));
            acknowledged = if persistent { acknowledged.max(persisted) } else { acknowledged };
        }
    }
    let _ = process.keeping.end();
    Ok(acknowledged)
}

/// Each call in turn goes wrong; then both processes are gone, or the machine was. A file that says that it lacks nothing has all that was
/// acknowledged: above all where that did not wait for it.
#[test]
fn a_file_that_vouches_has_all_that_was_acknowledged() -> Outcome {
    let calls = {
        let disk = Simulated::default();
        let mut log = Log::new()?;
        assert_eq!(acknowledged(&disk, &mut log, u32::MAX)?, log.end);
        let content = disk.boot(false).content(path()).ok_or("a file")?;
        assert!(!evidence::may_lack(&content)?, "it ended in order");
        log.expect(Some(content), log.end.0, "and all of it is there");
        disk.calls()
    };
    let (mut runs, mut vouching) = (0, 0);
    for fault in [Fault::SyncFails, Fault::WriteFails(libc::EIO), Fault::FolderSyncFails, Fault::PowerCut] {
        for (call, killed) in
            (0..calls).flat_map(|call| [(call, u32::MAX), (call, 5), (call, 11), (call, 16), (call, 23)])
        {
            let disk = Simulated::default();
            disk.fail_in(call, fault);
            let mut log = Log::new()?;
            let acknowledged = acknowledged(&disk, &mut log, killed)?;
            for (left, how) in [(disk.boot(false), "power"), (disk.boot(true), "power, names"), (disk.kill(), "killed")]
            {
                runs += 1;
                let Some(content) = left.content(path()) else { continue };
                let Ok(header) = LogHeader::read(&content) else { continue };
                if header.state == HeaderState::Whole && !evidence::may_lack(&content)? {
                    vouching += 1;
                    log.expect(
                        Some(content),
                        acknowledged.0,
                        &format!("{fault:?} at call {call}, killed after {killed}, {how}"),
                    );
                }
            }
        }
    }
    assert!(runs > 4000 && vouching > 1000 && vouching < runs - 1000, "{vouching} of {runs} vouched");
    Ok(())
}
