//! What a hostile partner does: a real node that has opened its session properly, and then turns on everything it can reach.

use crate::process::files_of;
use crate::process::random::Random;
use crate::process::role::{say, variable};
use crate::process::sys::punch_hole;
use crate::process::worker::run_worker;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Opens a session as an honest node does, and attacks from a second thread in the way named, from the start.
pub(crate) fn run_attacker(way: &str) {
    let victim = variable("HANDFAST_TEST_VICTIM").expect("HANDFAST_TEST_VICTIM");
    let name = variable("HANDFAST_TEST_NAME").expect("HANDFAST_TEST_NAME");
    let mut random = Random::new(u64::from(std::process::id()));
    let attack: Box<dyn FnMut() + Send> = match way {
        "truncate" => Box::new(move || truncate(&victim, &name)),
        "scribble" => Box::new(move || scribble(&victim, &mut random)),
        "fill" => Box::new(fill),
        other => panic!("there is no attack `{other}`"),
    };
    std::thread::spawn(move || {
        let mut attack = attack;
        // Time for the session, and then some more for its ports.
        std::thread::sleep(Duration::from_millis(100));
        loop {
            attack();
        }
    });
    run_worker();
}

/// The memory files among a process's descriptors. Nothing else of it is touched: pipes to the test are none of the partner's.
fn memory_files(process: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let is_memory =
        |path: &PathBuf| std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_memory).collect()
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).open(path).ok()
}

fn truncate(victim: &str, name: &str) {
    let files = [memory_files(victim), memory_files("self"), files_of(name)].concat();
    for path in files {
        let Some(file) = open(&path) else { continue };
        for length in [0, 1, 4096, 1 << 30] {
            let _ = file.set_len(length);
        }
        let _ = file.set_len(0);
        let _ = punch_hole(&file, 1 << 20);
    }
    std::thread::sleep(Duration::from_millis(1));
}

/// Bytes that are more than chance: words that look like states, lengths, keys.
fn poison(random: &mut Random, bytes: &mut [u8]) {
    random.fill(bytes);
    if random.chance(2) {
        for word in bytes.chunks_mut(8) {
            let tempting = [0, 1, 2, 3, 4, u64::MAX, u64::MAX - 1, 1 << 31, 1 << 63, random.below(4096)];
            let value = tempting[random.below(tempting.len() as u64) as usize].to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
    }
}

fn scribble(victim: &str, random: &mut Random) {
    for path in memory_files(victim) {
        let Some(file) = open(&path) else { continue };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = [0; 512];
        for _ in 0..8 {
            let at = random.below(length.max(1)) & !7;
            let part = &mut bytes[..(8 << random.below(7)).min((length - at) as usize)];
            poison(random, part);
            let _ = file.write_at(part, at);
        }
        // Its first lines, where the words that matter are.
        let part = &mut bytes[..length.min(512) as usize];
        poison(random, part);
        let _ = file.write_at(part, 0);
    }
    scribble_mappings(random);
}

/// Through this process's own shared mappings, by way of its memory as a file: what has no descriptor any more is reached too.
fn scribble_mappings(random: &mut Random) {
    let (Ok(maps), Some(memory)) = (File::open("/proc/self/maps"), open(Path::new("/proc/self/mem"))) else { return };
    for line in BufReader::new(maps).lines().map_while(Result::ok) {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        if !line.contains("/memfd:") || !rights.starts_with("rw-s") {
            continue;
        }
        let ends = range.split_once('-').map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
        let Some((Ok(from), Ok(to))) = ends else { continue };
        let mut bytes = [0; 256];
        poison(random, &mut bytes);
        let _ = memory.write_at(&bytes, from + (random.below(to - from - 256) & !7));
        let _ = memory.write_at(&bytes[..64], from);
    }
}

/// Fills /dev/shm to its last byte, and keeps it full.
fn fill() {
    let mut file = OpenOptions::new().append(true).create(true).open("/dev/shm/fill-0").expect("a file in /dev/shm");
    let (mut written, mut step) = (0usize, 1 << 20);
    while step > 0 {
        match file.write(&vec![1; step]) {
            Ok(0) | Err(_) => step /= 2,
            Ok(more) => written += more,
        }
        assert!(written <= 64 << 20, "this is no small /dev/shm: filling it is not for this test");
    }
    say("full");
    std::thread::sleep(Duration::from_millis(200));
}
