//! Runs of the built program: `handfast demo` on every kind of input, judged by what it prints.

use crate::counts::Counts;
use crate::json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest a run may take: the largest input needs seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// The large input.
const LARGE_BYTES: u64 = 1 << 30;
/// What goes through the pipe.
const PIPED_BYTES: u64 = 3_000_001;
/// The blake3 digest of no bytes at all.
const DIGEST_OF_NOTHING: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// What one run is given, and how long that is.
struct Input {
    name: &'static str,
    argument: Option<PathBuf>,
    piped: bool,
    bytes: u64,
}

/// Runs the demo on each input; with `quick`, not on the large one. The second value tells whether all went well.
pub(crate) fn run(program: &Path, quick: bool) -> io::Result<(Counts, bool)> {
    let folder = Folder::new()?;
    let mut inputs = vec![
        Input { name: "its own executable", argument: None, piped: false, bytes: program.metadata()?.len() },
        Input { name: "an empty file", argument: Some(folder.file("empty", 0)?), piped: false, bytes: 0 },
        Input { name: "a pipe", argument: Some("-".into()), piped: true, bytes: PIPED_BYTES },
    ];
    let mut counts = Counts::default();
    if quick {
        println!("SKIPPED: demo of 1 GiB of random bytes: --quick");
        counts.add(Counts::SKIPPED);
    } else {
        let argument = Some(folder.file("large", LARGE_BYTES)?);
        inputs.push(Input { name: "1 GiB of random bytes", argument, piped: false, bytes: LARGE_BYTES });
    }
    for input in &inputs {
        let began = Instant::now();
        let verdict = demo(program, input);
        let seconds = began.elapsed().as_secs_f64();
        match verdict {
            Ok(summary) => {
                println!("demo of {} ... ok, {seconds:.1} s, {summary}", input.name);
                counts.add(Counts::PASSED);
            }
            Err(reason) => {
                println!("demo of {} ... FAILED, {seconds:.1} s: {reason}", input.name);
                counts.add(Counts::FAILED);
            }
        }
    }
    Ok((counts, counts.failed == 0))
}

/// One run; a line about it, or what was wrong.
fn demo(program: &Path, input: &Input) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("demo").args(&input.argument).arg("--json");
    command.stdin(if input.piped { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // The program may end before it has read all: its own words about that count, not ours.
        let _ = write_random(&mut pipe, input.bytes);
    }
    let printed = finish(child)?;
    judge(&printed, input.bytes)
}

/// Waits for its end, within patience; what it printed, if it ended well.
fn finish(mut child: Child) -> Result<String, String> {
    let pipe = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text)).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("no end after {} s; killed", PATIENCE.as_secs()));
            }
            Err(error) => return Err(format!("cannot wait for it: {error}")),
        }
    };
    let Ok(Ok(text)) = reader.join() else { return Err("what it printed is no text".to_owned()) };
    if status.success() { Ok(text) } else { Err(format!("{status}: {}", text.trim_end())) }
}

/// Whether the object it printed says what it must.
fn judge(printed: &str, bytes: u64) -> Result<String, String> {
    let value = Value::parse(printed)?;
    let expect = |name: &str, wanted: Value| match value.member(name) {
        Some(found) if *found == wanted => Ok(()),
        found => Err(format!("`{name}` is {found:?}, expected {wanted:?}: {}", printed.trim_end())),
    };
    expect("established", Value::Bool(true))?;
    expect("bytes", Value::Number(bytes.to_string()))?;
    expect("restarts", Value::Number("1".to_owned()))?;
    expect("resumed", Value::Bool(true))?;
    let Some(Value::List(steps)) = value.member("steps") else { return Err("no list of steps".to_owned()) };
    if steps.len() != 4 || !steps.iter().all(|step| step.text("name").is_some() && step.member("ns").is_some()) {
        return Err(format!("the steps are {steps:?}, expected four with name and ns"));
    }
    let sent = value.text("digest_sent").ok_or("no digest_sent")?;
    expect("digest_received", Value::Text(sent.to_owned()))?;
    if sent.len() != 64 || (bytes == 0) != (sent == DIGEST_OF_NOTHING) {
        return Err(format!("the digest of {bytes} bytes is said to be {sent}"));
    }
    let id = value.text("session_id").unwrap_or_default();
    match value.member("gigabytes_per_second") {
        Some(Value::Number(rate)) if !id.is_empty() => Ok(format!("{rate:.5} GB/s")),
        _ => Err(format!("no session_id or gigabytes_per_second: {}", printed.trim_end())),
    }
}

/// Random bytes of the system's own.
fn write_random(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let copied = io::copy(&mut File::open("/dev/urandom")?.take(bytes), to)?;
    if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A folder for inputs, gone with its value.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("handfast-xtask-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    fn file(&self, name: &str, bytes: u64) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        write_random(&mut File::create(&path)?, bytes)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &str = r#"[{"name":"a","ns":1},{"name":"b","ns":1},{"name":"c","ns":1},{"name":"d","ns":1}]"#;

    fn object(bytes: u64, sent: &str, received: &str, steps: &str) -> String {
        format!(
            r#"{{"established":true,"bytes":{bytes},"restarts":1,"resumed":true,"steps":{steps},"session_id":"s",
                "digest_sent":"{sent}","digest_received":"{received}","gigabytes_per_second":1.5}}"#
        )
    }

    #[test]
    fn judges_what_was_printed() {
        let digest = "a".repeat(64);
        assert!(judge(&object(7, &digest, &digest, STEPS), 7).is_ok());
        assert!(judge(&object(0, DIGEST_OF_NOTHING, DIGEST_OF_NOTHING, STEPS), 0).is_ok());
        assert!(judge(&object(7, &digest, &"b".repeat(64), STEPS), 7).is_err(), "digests differ");
        assert!(judge(&object(8, &digest, &digest, STEPS), 7).is_err(), "bytes are missing");
        assert!(judge(&object(0, &digest, &digest, STEPS), 0).is_err(), "no digest of nothing");
        assert!(judge(&object(7, &digest, &digest, "[]"), 7).is_err(), "no steps");
        assert!(judge(&object(7, &digest, &digest, STEPS).replace("resumed", "r"), 7).is_err(), "a field is missing");
        assert!(judge("two partners", 7).is_err(), "no JSON");
    }
}
