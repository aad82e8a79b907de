//! `handfast log`: what it says of logs that are whole, damaged, cut short, being written, or none at all.

use crate::ending::StopOnDrop;
use crate::image::{Image, Written, thousand, write_round};
use crate::run::{program, unique};
use handfast::clients::mirrored_log::area::{HEADER_OFFSETS, PERSISTED_OFFSET, REPORT_OFFSET};
use handfast::clients::mirrored_log::header::{HEADER_BYTES, HeaderState};
use handfast::clients::mirrored_log::record::Kind;
use handfast::clients::mirrored_log::report::{CopyReport, REPORT_BYTES, ReportState};
use handfast::clients::mirrored_log::{LogHeader, Lsn, Term};
use handfast::memory::{Backing, Region};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A file with a log, in a folder of its own.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    std::fs::write(&path, bytes).expect("written");
    File { _folder: folder, path }
}

fn log(command: &str, path: &Path, more: &[&str]) -> Output {
    program().args(["log", command]).arg(path).args(more).output().expect("it runs")
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

/// A small log: two records, a hole, a record of a second generation.
fn small() -> Image {
    let mut image = Image::new(64 << 10, 65536 - 256);
    assert!(image.data(b"hello, log\n") && image.data(&[0, 1, 2]) && image.abort(40));
    image.next_generation();
    assert!(image.data(&[b'x'; 100]));
    image.header.acknowledged = image.head;
    image.write_headers();
    image
}

fn damaged(mut image: Image, number: usize) -> (Image, Written) {
    let hit = image.written[number].clone();
    let place = image.place(hit.lsn) + hit.covered() - 1;
    image.area[place] ^= 4;
    (image, hit)
}

#[test]
fn a_whole_log_is_dumped_verified_and_counted() {
    let image = small();
    let file = file(&image.area);
    let (status, text, complaint) = texts(&log("dump", &file.path, &[]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((status, complaint.as_str(), lines.len()), (Some(0), "", 7), "{text}");
    assert!(
        lines[1].contains("65280      1 data            11  68656c6c6f2c206c6f670a")
            && lines[1].ends_with("hello, log.")
    );
    assert!(lines[3].ends_with("65408      1 abort           40") && lines[4].contains("padding"), "{text}");
    assert!(lines[5].contains("65536      2 data           100") && lines[5].ends_with("xxxxxxxxxxxxxxxx"), "{text}");
    assert_eq!(lines[6], "end at lsn 65696: no record was written there");

    let (status, text, complaint) = texts(&log("verify", &file.path, &[]));
    assert_eq!((status, complaint.as_str()), (Some(0), ""), "{text}");
    assert!(
        text.contains("all is there that was known to be acknowledged")
            && text.contains("up to lsn 65696: nothing before that is missing")
    );
    assert!(
        text.contains("lsn 65280 to 65696, 416 bytes: 3 records with 114 bytes of payload, 1 hole, 1 padding"),
        "{text}"
    );

    let (status, text, complaint) = texts(&log("stat", &file.path, &[]));
    assert_eq!((status, complaint.as_str()), (Some(0), ""), "{text}");
    for wanted in [
        "history 11112222333344445555666677778888",
        "sequence 8: whole, term 3, generation 2, tail 65280",
        "header copy 1  sequence 7",
        "65536 bytes, 416 of them taken (0 %)",
        "generations 1 to 2",
        "8 to 15 bytes: 1 record",
        "64 to 127 bytes: 1 record",
        "has reported nothing here",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing from:\n{text}");
    }
    assert_eq!(std::fs::read(&file.path).expect("it is there"), image.area, "nothing was changed");
}

#[test]
fn the_same_as_objects() {
    let image = thousand();
    let file = file(&image.area);
    let output = log("dump", &file.path, &["--json"]);
    let objects_ = objects(&output);
    assert_eq!((output.status.code(), objects_.len()), (Some(0), 1001));
    for (object, record) in objects_.iter().zip(&image.written) {
        assert_eq!((&object["lsn"], &object["end"]), (&record.lsn.0.into(), &record.end.0.into()));
        assert_eq!((&object["kind"], &object["length"]), (&record.kind.name().into(), &record.length.into()));
        assert_eq!(object["generation"], record.generation.0);
        let digits: String = record.payload.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(object["first_bytes"], digits);
    }
    assert_eq!(objects_[1000]["end"]["reason"], "nothing-there");
    let verified = &objects(&log("verify", &file.path, &["--json"]))[0];
    assert_eq!((&verified["end"]["lsn"], &verified["error"]), (&image.head.0.into(), &Value::Null));
    assert_eq!((&verified["counts"]["records"], &verified["header"]["generation"]), (&1000.into(), &3.into()));
    let stat = &objects(&log("stat", &file.path, &["--json"]))[0];
    assert_eq!((&stat["copies"][0]["sequence"], &stat["copies"][1]["sequence"]), (&8.into(), &7.into()));
    let sizes = stat["sizes"].as_array().expect("classes of sizes");
    let sum: u64 = sizes.iter().filter_map(|class| class["records"].as_u64()).sum();
    assert_eq!((Some(sum), &stat["generations"][1]), (stat["counts"]["data"].as_u64(), &3.into()));
    assert_eq!((&stat["acknowledged_missing_bytes"], &stat["partner"]), (&0.into(), &Value::Null));
}

#[test]
fn damage_before_what_was_acknowledged_is_told_and_the_rest_is_given() {
    let (image, hit) = damaged(thousand(), 600);
    let file = file(&image.area);
    let missing = image.head.0 - hit.lsn.0;
    for command in ["verify", "dump"] {
        let (status, text, complaint) = texts(&log(command, &file.path, &[]));
        assert_eq!(status, Some(1));
        assert!(
            complaint.contains(&format!("ends {missing} bytes before that, at lsn {}: the record's checksum", hit.lsn))
        );
        assert!(
            complaint.contains("look into the partner's copy") && complaint.contains(&file.path.display().to_string())
        );
        assert!(text.contains(if command == "verify" { "DAMAGED" } else { "end at lsn" }), "{text}");
        let output = log(command, &file.path, &["--json"]);
        let objects = objects(&output);
        let last = objects.last().expect("an object");
        assert_eq!((output.status.code(), &last["end"]["reason"]), (Some(1), &"checksum".into()));
        assert!(last["error"].as_str().is_some_and(|error| error.contains("acknowledged records are missing")));
        assert_eq!(objects.len(), if command == "verify" { 1 } else { 601 });
    }
    let raw = log("dump", &file.path, &["--payload", "raw"]);
    let whole: Vec<u8> = image.written[..600].iter().flat_map(|record| record.payload.clone()).collect();
    assert!(
        raw.stdout == whole && raw.status.code() == Some(1),
        "all before it, and a status that says that it is not all"
    );
    let (status, text, _) = texts(&log("stat", &file.path, &[]));
    assert!(status == Some(0) && text.contains("MISSING"), "{text}");
    // Not yet acknowledged, it is no damage.
    let mut image = image;
    image.header.acknowledged = hit.lsn;
    image.write_headers();
    std::fs::write(&file.path, &image.area).expect("written");
    assert_eq!(log("verify", &file.path, &[]).status.code(), Some(0));
    assert_eq!(log("dump", &file.path, &[]).status.code(), Some(0));
}

#[test]
fn a_part_of_it_is_dumped_on_request() {
    let image = thousand();
    let file = file(&image.area);
    let data: Vec<&Written> = image.written.iter().filter(|record| record.kind == Kind::Data).collect();
    // A place within a record: the next one is the first.
    let from = (data[100].lsn.0 + 1).to_string();
    let output = log("dump", &file.path, &["--payload", "raw", "--from", &from, "--limit", "5"]);
    let wanted: Vec<u8> = data[101..106].iter().flat_map(|record| record.payload.clone()).collect();
    assert!(output.status.success() && output.stdout == wanted);
    let (status, text, complaint) = texts(&log("dump", &file.path, &["--from", "1", "--limit", "2"]));
    assert!(status == Some(0) && text.lines().count() == 3 && !text.contains("end at"), "{text}");
    assert!(complaint.contains(&format!("begins at lsn {}", image.header.tail)), "{complaint}");
    let past = (image.head.0 + 1).to_string();
    let (status, text, _) = texts(&log("dump", &file.path, &["--from", &past]));
    assert!(status == Some(0) && text.lines().count() == 2 && text.contains("end at"), "{text}");
    for wrong in [&["--limit", "0"][..], &["--from", "x"], &["--json", "--payload", "raw"]] {
        assert_eq!(log("dump", &file.path, wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn what_is_no_log_is_told_with_its_remedy() {
    let image = small();
    let mut lost = image.area.clone();
    let mut torn = image.area.clone();
    for (copy, offset) in HEADER_OFFSETS.map(|offset| offset as usize).into_iter().enumerate() {
        lost[offset..offset + HEADER_BYTES].fill(0xff);
        torn[offset + [60, 8][copy]] = 9;
    }
    let (lost, torn, cut, empty) =
        (file(&lost), file(&torn), file(&image.area[..image.place(image.written[2].lsn)]), file(&[]));
    let folder = lost.path.parent().expect("a folder").to_owned();
    let (absent, fifo) = (folder.join("absent"), folder.join("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let truncate = format!("truncate --size={} COPY", image.area.len());
    let cases: [(&Path, &str); 7] = [
        (&lost.path, "copy 0 does not begin as it should, copy 1 does not"),
        (&torn.path, "copy 0 has a wrong checksum, copy 1 has layout 9"),
        (&cut.path, &truncate),
        (&empty.path, "0 bytes are no log: its headers alone take 8192"),
        (&absent, "No such file"),
        (&folder, "not a regular file"),
        (&fifo, "not a regular file"),
    ];
    for (path, wanted) in cases {
        for command in ["dump", "verify", "stat"] {
            let (status, _, complaint) = texts(&log(command, path, &[]));
            assert!(
                status == Some(1) && complaint.contains(wanted),
                "{command}: {wanted} is missing from: {complaint}"
            );
            assert!(complaint.contains(&path.display().to_string()), "{complaint}");
            let object = &objects(&log(command, path, &["--json"]))[0];
            assert!(object["error"].as_str().is_some_and(|error| error.contains(wanted)), "{object}");
        }
    }
    // The remedy is one.
    let copy = std::fs::OpenOptions::new().write(true).open(&cut.path).expect("it is there");
    copy.set_len(image.area.len() as u64).expect("longer");
    let (status, text, _) = texts(&log("dump", &cut.path, &[]));
    assert!(status == Some(1) && text.contains("hello, log.") && text.contains("end at lsn 65408"), "{text}");
}

#[test]
fn a_copy_that_is_refilled_and_a_partner_that_reports_are_shown() {
    let mut image = small();
    image.header.state = HeaderState::Refilling;
    image.write_headers();
    let report = CopyReport {
        state: ReportState::Outdated,
        session: 1,
        history: image.header.history,
        term: Term(2),
        generation: image.header.generation,
        persists: true,
        applies: false,
        needs_base: false,
        tail: Lsn(65280),
        end: Lsn(65344),
        applied: Lsn(0),
        sequence: 1,
        ring_bytes: 64 << 10,
        applied_history: 0,
        writer: 1,
        lineage: 1,
        taken: false,
        vouches: false,
    };
    let (reported, persisted) = (REPORT_OFFSET as usize, PERSISTED_OFFSET as usize);
    image.area[reported..reported + REPORT_BYTES].copy_from_slice(&report.encode());
    image.area[persisted..persisted + 8].copy_from_slice(&65344u64.to_le_bytes());
    let file = file(&image.area);
    let (status, text, _) = texts(&log("verify", &file.path, &[]));
    assert!(status == Some(0) && text.contains("refilling") && text.contains("not to be taken over"), "{text}");
    let (_, text, _) = texts(&log("stat", &file.path, &[]));
    assert!(text.contains("outdated, lsn 65280 to 65344, term 2") && text.contains("up to lsn 65344"), "{text}");
    let stat = &objects(&log("stat", &file.path, &["--json"]))[0];
    assert_eq!((&stat["partner"]["persisted"], &stat["partner"]["applied"]), (&65344.into(), &Value::Null));
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is() {
    let file = file(&thousand().area);
    for command in ["dump", "verify", "stat"] {
        for more in [&[][..], &["--json"]] {
            crate::streams::check(&[&["log", command, &file.path.display().to_string()], more].concat());
        }
    }
    crate::streams::check(&["log", "dump", "--payload", "raw", &file.path.display().to_string()]);
}

#[test]
fn a_log_that_is_being_written_is_never_called_damaged() {
    let image = Image::new(1 << 20, 0);
    let name = unique("handfast-test-log");
    let backing = Backing::SharedMemory(name.clone());
    let region = Region::builder(image.area.len()).backing(backing).pinned(false).build().expect("memory");
    region.write(0, &image.area).expect("within it");
    let path = Path::new("/dev/shm").join(&name);
    let stop = AtomicBool::new(false);
    let head = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_round(&region, image.header, u64::MAX, &stop));
        let stopping = StopOnDrop(&stop);
        // So often, and until the writer was seen to go round: on a busy machine it may be slow.
        let (mut outputs, began) = (Vec::new(), Instant::now());
        let is_round = || LogHeader::read(&region).is_ok_and(|header| header.tail.0 > 4 << 20);
        while outputs.len() < 30 || (!is_round() && began.elapsed() < Duration::from_secs(60)) {
            outputs.push(texts(&log("verify", &path, &[])));
        }
        drop(stopping);
        for (status, text, complaint) in outputs {
            assert!(status == Some(0) || complaint.contains("faster than they can be read"), "{text}\n{complaint}");
        }
        writer.join().expect("it ended")
    });
    let (status, text, complaint) = texts(&log("verify", &path, &[]));
    std::fs::remove_file(&path).expect("it is there");
    assert!(status == Some(0) && text.contains(&format!("to {head}")), "{text}\n{complaint}");
    assert!(head.0 > 4 << 20, "it went round: {head}");
}
