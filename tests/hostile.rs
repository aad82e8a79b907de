//! A partner that turns on us: it truncates, fills up and scribbles over everything it can reach, while our node and its client go on.
//!
//! Ours must survive: no signal, no panic, no hang; operations may fail and sessions may be lost. And when the hostile one is gone a well-behaved
//! partner must have a session within ten seconds. Three seconds of each, all three at once; a minute each with `HANDFAST_LONG=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hostile/attack.rs"]
mod attack;
#[path = "process/mod.rs"]
mod process;
#[path = "process/on_shm.rs"]
mod under_test;

use process::child::{Child, command};
use process::role::{asked, say, variable};
use process::{files_of, is_long};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn duration() -> Duration {
    Duration::from_secs(if is_long() { 60 } else { 3 })
}

#[test]
fn role() {
    match asked().as_deref() {
        Some("node") => process::role::run_node(),
        Some("worker") => process::worker::run_worker(),
        Some("attacker") => attack::run_attacker(&variable("HANDFAST_TEST_WAY").expect("HANDFAST_TEST_WAY")),
        Some("scene") => match scene(&variable("HANDFAST_TEST_WAY").expect("HANDFAST_TEST_WAY")) {
            Ok(()) => say("survived"),
            Err(problem) => say(&format!("failed {}", problem.replace('\n', " | "))),
        },
        _ => {}
    }
}

fn start(role: &str, name: &str, index: usize, more: &[(&'static str, String)]) -> Child {
    let mut variables = vec![("HANDFAST_TEST_NAME", name.to_owned()), ("HANDFAST_TEST_INDEX", index.to_string())];
    variables.extend_from_slice(more);
    Child::start(role, &variables)
}

/// One hostile partner from its beginning to its end, and what comes after it.
fn scene(way: &str) -> Result<(), String> {
    let name = format!("hostile-{way}-{}", std::process::id());
    let mut victim = start("worker", &name, 0, &[]);
    victim.wait_for(0, "listening", Instant::now() + PATIENCE)?;
    let (sessions, attackers) = endure(way, &name, &mut victim)?;
    let tally = victim.ask("count", PATIENCE)?;
    eprintln!("{way}: {attackers} hostile processes, {sessions} sessions, operations well and not: {tally}");
    if sessions == 0 || tally.starts_with("0 ") {
        return Err(victim.story("never had a session with the hostile one: nothing was proven"));
    }
    recover(way, &name, victim)
}

/// The attack; how many sessions there were in it, and how many attackers.
fn endure(way: &str, name: &str, victim: &mut Child) -> Result<(usize, u32), String> {
    let more = [("HANDFAST_TEST_WAY", way.to_owned()), ("HANDFAST_TEST_VICTIM", victim.process.id().to_string())];
    let until = Instant::now() + duration();
    let mut attackers = 0;
    while Instant::now() < until {
        attackers += 1;
        let mut attacker = start("attacker", name, 1, &more);
        // Its own doings may well be the end of it: then another comes. Each new one opens a session first.
        let this_one = (Instant::now() + Duration::from_millis(700)).min(until);
        while Instant::now() < this_one && attacker.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(50));
            victim.ask("ping", PATIENCE)?;
        }
        if way == "fill" && attackers == 1 {
            attacker.wait_for(0, "full", Instant::now() + PATIENCE)?;
            no_room_for_another(name)?;
        }
        attacker.kill();
    }
    victim.listen();
    Ok((victim.lines.iter().filter(|line| line.starts_with("ready")).count(), attackers))
}

/// With /dev/shm full a further node is told so.
fn no_room_for_another(name: &str) -> Result<(), String> {
    let mut third = start("node", &format!("{name}-third"), 0, &[]);
    let refused = third.wait_for(0, "refused", Instant::now() + PATIENCE)?;
    if !refused.contains("/dev/shm") {
        return Err(format!("a full /dev/shm is told as `{refused}`"));
    }
    third.end_well(PATIENCE)?;
    let left = files_of(&format!("{name}-third"));
    if left.is_empty() { Ok(()) } else { Err(format!("left of a node that had no room: {left:?}")) }
}

/// The hostile one is gone: a well-behaved partner comes.
fn recover(way: &str, name: &str, mut victim: Child) -> Result<(), String> {
    if way == "fill" {
        for entry in std::fs::read_dir("/dev/shm").map_err(|error| error.to_string())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("fill-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
    let began = Instant::now();
    let mut partner = start("worker", name, 1, &[]);
    until_ready(&mut victim, &mut partner, began + PATIENCE)?;
    eprintln!("{way}: a well-behaved partner has a session after {} ms", began.elapsed().as_millis());
    for (index, word) in [(0, "one"), (1, "two")] {
        let (writer, reader) = if index == 0 { (&mut victim, &mut partner) } else { (&mut partner, &mut victim) };
        let wrote = writer.ask(&format!("write {word}"), PATIENCE)?;
        let read = reader.ask("text", PATIENCE)?;
        if wrote != "wrote" || read != word {
            return Err(format!("{wrote}, and the partner read `{read}`: {}", victim.story("is the victim")));
        }
    }
    check_frugal(&victim)?;
    victim.leave(PATIENCE)?;
    partner.leave(PATIENCE)?;
    let left = files_of(name);
    if left.is_empty() { Ok(()) } else { Err(format!("left in /dev/shm: {left:?}")) }
}

fn until_ready(victim: &mut Child, partner: &mut Child, until: Instant) -> Result<(), String> {
    let session = |child: &mut Child| {
        child.listen();
        child.last_of(&["ready", "lost"]).and_then(|line| line.strip_prefix("ready ")).map(str::to_owned)
    };
    loop {
        let (here, there) = (session(victim), session(partner));
        if here.is_some() && here == there {
            return Ok(());
        }
        if Instant::now() > until {
            return Err([victim.story("has no session"), partner.story("has none either")].join("\n"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the hostile one made us open and keep is given back by now.
fn check_frugal(victim: &Child) -> Result<(), String> {
    let process = victim.process.id();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let resident_kib: u64 = resident.unwrap_or(0);
    if files > 100 || resident_kib > 256 << 10 {
        return Err(format!("after the attack the node holds {files} files and {resident_kib} KiB"));
    }
    Ok(())
}

/// The scene that fills /dev/shm gets a small one of its own, in a mount namespace of its own.
fn scene_with_a_small_shm() -> Result<(), String> {
    let role = command("scene", &[("HANDFAST_TEST_WAY", "fill".to_owned())]);
    let small = "mount -t tmpfs -o size=16m,mode=1777 tmpfs /dev/shm && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", small, "sh"]);
    unshare.arg(role.get_program()).args(role.get_args());
    for (name, value) in role.get_envs() {
        unshare.env(name, value.unwrap_or_default());
    }
    let mut child = Child::run("the scene with a small /dev/shm", unshare);
    let survived = child.wait_for(0, "survived", Instant::now() + duration() + 4 * PATIENCE);
    let (status, complaints) = child.end(PATIENCE)?;
    if survived.is_ok() && status.success() {
        eprint!("{complaints}");
        return Ok(());
    }
    Err(format!("{}; {status}; {complaints}", survived.unwrap_or_else(|problem| problem)))
}

/// Whether this process may mount in a namespace of its own: root may, mostly.
fn may_mount() -> bool {
    let tried =
        Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /dev/shm"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_hostile_partner_is_survived_and_a_good_one_served_after_it() {
    let fill = may_mount();
    if !fill {
        eprintln!("SKIPPED: filling /dev/shm needs a mount namespace (root, and unshare(1))");
    }
    let outcomes: Vec<(&str, Result<(), String>)> = std::thread::scope(|scope| {
        let mut scenes =
            vec![("truncate", scope.spawn(|| scene("truncate"))), ("scribble", scope.spawn(|| scene("scribble")))];
        if fill {
            scenes.push(("fill", scope.spawn(scene_with_a_small_shm)));
        }
        scenes.into_iter().map(|(way, thread)| (way, thread.join().expect("a scene's thread"))).collect()
    });
    let problems: Vec<String> =
        outcomes.into_iter().filter_map(|(way, outcome)| Some(format!("{way}: {}", outcome.err()?))).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}
