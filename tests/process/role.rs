//! The plain role of a child: a node that polls, says what happens, and obeys commands.
//!
//! Says: `listening`, `linked`, `established ID`, `ready ID`, `lost WHY`, `state WHERE`, and answers, which begin with `= `. Commands: `write TEXT`
//! (answer `wrote` or `failed WHY`), `text` (answer: the text that lies here), `ping` (answer `pong`), `leave` (says `left`, and ends).

use crate::process::child::{MARK, ROLE};
use crate::process::node::{Node, config, key, text_here, write_through};
use crate::process::sys::kill_self;
use handfast::manager::{Event, NodeConfig};
use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// The role this process was started for.
pub(crate) fn asked() -> Option<String> {
    std::env::var(ROLE).ok()
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

/// One line, in one write.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(format!("{MARK}{line}\n").as_bytes());
    let _ = stdout.flush();
}

/// The lines of stdin as they come; the process ends with them.
pub(crate) fn commands() -> Receiver<String> {
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    heard
}

/// The configuration that the variables ask for: `HANDFAST_TEST_NAME`, `_INDEX`, `_KEY`.
pub(crate) fn config_asked() -> NodeConfig {
    let name = variable("HANDFAST_TEST_NAME").expect("HANDFAST_TEST_NAME");
    let config = config(&name, number("HANDFAST_TEST_INDEX").expect("HANDFAST_TEST_INDEX") as usize);
    match number("HANDFAST_TEST_KEY") {
        Some(byte) => config.key(key(byte as u8)),
        None => config,
    }
}

/// Where the node is on its way, in one word.
pub(crate) fn place(node: &Node) -> &'static str {
    use handfast::handshake::Phase;
    let handshake = node.manager.connection().handshake();
    match (handshake.phase(), handshake.established()) {
        (_, Some(_)) if node.is_ready() => "ready",
        (_, Some(_)) => "exchange",
        (None, None) => "no-link",
        (Some(Phase::Look), None) => "look",
        (Some(Phase::Greet), None) => "greet",
        (Some(Phase::Check), None) => "check",
        (Some(Phase::Confirm), None) => "confirm",
        (Some(Phase::Watch), None) => "confirmed",
    }
}

/// Ends this process by SIGKILL so many microseconds from now, whatever it does by then (`HANDFAST_TEST_DIE_US`).
pub(crate) fn arm_death() {
    let Some(us) = number("HANDFAST_TEST_DIE_US") else { return };
    let die_at = Instant::now() + Duration::from_micros(us);
    std::thread::spawn(move || {
        while Instant::now() < die_at {
            let left = die_at.saturating_duration_since(Instant::now());
            if left > Duration::from_millis(1) {
                std::thread::sleep(left - Duration::from_millis(1));
            }
            std::hint::spin_loop();
        }
        kill_self();
    });
}

pub(crate) fn say_event(node: &Node, event: &Event) {
    match event {
        Event::Listening { .. } => say("listening"),
        Event::Linked { .. } => say("linked"),
        Event::Established { session, .. } => say(&format!("established {session}")),
        // The manager may have moved on since the event: a session that is gone by now is not ready.
        Event::Ready { session, .. } if node.manager.session() == Some(*session) => say(&format!("ready {session}")),
        Event::Ready { session, .. } => say(&format!("passed {session}")),
        Event::Lost { reason, .. } => say(&format!("lost {reason}")),
        other => say(&format!("note {other}")),
    }
}

/// Answers one command; whether it was `leave`.
pub(crate) fn obey(node: &Node, command: &str) -> bool {
    match command.split_once(' ') {
        Some(("write", text)) => match write_through(&node.clients[0], text) {
            Ok(()) => say("= wrote"),
            Err(why) => say(&format!("= failed {why}")),
        },
        None if command == "text" => match text_here(&node.clients[0]) {
            Ok(text) => say(&format!("= {text}")),
            Err(why) => say(&format!("= failed {why}")),
        },
        None if command == "ping" => say("= pong"),
        None if command == "leave" => return true,
        _ => say(&format!("= failed: `{command}` is no command")),
    }
    false
}

/// Runs until `leave`, or until nobody commands any more. `HANDFAST_TEST_PACE_US`: sleeps so long between two polls.
pub(crate) fn run_node() {
    arm_death();
    let pace = number("HANDFAST_TEST_PACE_US").map(Duration::from_micros);
    let mut node = match Node::boot(config_asked()) {
        Ok(node) => node,
        Err(error) => return say(&format!("refused {error}")),
    };
    let heard = commands();
    let mut said = "";
    loop {
        for event in node.poll() {
            say_event(&node, &event);
        }
        let now = place(&node);
        if now != said {
            say(&format!("state {now}"));
            said = now;
        }
        match heard.try_recv() {
            Ok(command) if obey(&node, &command) => break,
            Ok(_) => {}
            Err(TryRecvError::Empty) => wait(&node, pace),
            Err(TryRecvError::Disconnected) => break,
        }
    }
    let wrong = node.wrong();
    node.manager.shut_down();
    if wrong.is_empty() { say("left") } else { say(&format!("wrong {}", wrong.join(", "))) }
}

fn wait(node: &Node, pace: Option<Duration>) {
    match pace {
        Some(pace) => std::thread::sleep(pace),
        None if node.manager.idle_for().is_zero() => std::thread::yield_now(),
        None => std::thread::sleep(node.manager.idle_for().min(Duration::from_micros(200))),
    }
}
