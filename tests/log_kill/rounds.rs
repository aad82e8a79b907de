//! What befalls a pair, as the seed chooses it.

use super::content::Recipe;
use super::node::Settings;
use super::pair::{Figures, Hand, Kind, Pair};
use crate::process::random::Random;
use handfast::clients::mirrored_log::Acknowledge;
use std::path::PathBuf;
use std::time::Duration;

/// Kills of one pair of logs, about.
const KILLS_OF_A_PAIR: u64 = 12;

fn settings(random: &mut Random, kind: Kind, index: usize) -> Settings {
    let ring_bytes = [64 << 10, 256 << 10, 256 << 10, 1 << 20][random.below(4) as usize];
    let bytes_max = [200, 4000, ring_bytes / 5][random.below(3) as usize];
    let acknowledge = match kind {
        Kind::Kept => Acknowledge::Persistent,
        _ if random.chance(2) => Acknowledge::Received,
        _ => Acknowledge::Placed,
    };
    // The second node's own log is idle as a rule.
    let loaded = index == 0 || random.chance(3);
    Settings {
        recipe: Recipe { seed: random.next(), bytes_max },
        life: 0,
        producers: if loaded { 1 + random.below(3) as u8 } else { 0 },
        ring_bytes,
        acknowledge,
        batch_bytes_max: [4096, 65536, 1 << 20][random.below(3) as usize],
        batches_max: [1, 4, 16][random.below(3) as usize],
        truncate_us: random.spread(200, 20_000),
        polls: [1, 4, 64][random.below(3) as usize],
        shared: None,
        keep: None,
        restored: PathBuf::new(),
        die: None,
    }
}

fn rest(random: &mut Random) {
    std::thread::sleep(Duration::from_micros(random.spread(100, 40_000)));
}

/// A restart that itself is cut short, now and then.
fn restart(pair: &mut Pair, random: &mut Random, index: usize) -> Result<(), String> {
    while random.chance(4) {
        let line = ["start", "booted", "opened", "mirrored", "copy", "restoring"][random.below(6) as usize];
        // A ring this small is restored before there is progress to tell.
        let line = if line == "restoring" { "start" } else { line };
        let most = if line == "start" { 30_000 } else { 2_000 };
        pair.start(index, Some((line, random.spread(1, most))));
        pair.figures.at_start += 1;
        pair.fell(&[index], Hand::Own)?;
    }
    pair.start(index, None);
    Ok(())
}

/// Both are up, and nothing of theirs hangs on one of them alone where only one may be killed.
fn ready(pair: &mut Pair) -> Result<(), String> {
    for index in 0..2 {
        pair.until_opened(index)?;
    }
    if pair.kind == Kind::Private {
        for index in 0..2 {
            pair.until_whole(index)?;
        }
    }
    Ok(())
}

/// Has both append. Who is to kill the victim: now, or the victim itself the moment that something is acknowledged.
fn go(pair: &mut Pair, random: &mut Random, victim: usize) -> Result<Hand, String> {
    let by_itself = pair.settings[victim].producers != 0 && random.chance(2);
    if by_itself {
        pair.arm(victim, "acknowledged", random.spread(1, 3000))?;
    }
    pair.go();
    if by_itself {
        return Ok(Hand::OwnSoon);
    }
    std::thread::sleep(Duration::from_micros(random.spread(300, 120_000)));
    Ok(Hand::Ours)
}

/// One killed, and started again.
fn one(pair: &mut Pair, random: &mut Random, victim: usize, load: bool) -> Result<(), String> {
    if pair.kind == Kind::Private || random.chance(2) {
        ready(pair)?;
    }
    let hand = if load { go(pair, random, victim)? } else { Hand::Ours };
    pair.fell(&[victim], hand)?;
    if random.chance(2) {
        rest(random);
    }
    restart(pair, random, victim)
}

/// The partner is killed; the moment its copy is whole again, or a little later, so is the owner of the log.
fn in_turn(pair: &mut Pair, random: &mut Random) -> Result<(), String> {
    ready(pair)?;
    if random.chance(2) {
        pair.load(random.spread(300, 120_000));
    }
    pair.figures.in_turn += 2;
    pair.fell(&[1], Hand::Ours)?;
    let us = if random.chance(2) { 0 } else { random.spread(1, 20_000) };
    pair.arm(0, "mirrored", us)?;
    pair.start(1, None);
    pair.fell(&[0], Hand::Own)?;
    restart(pair, random, 0)
}

fn both(pair: &mut Pair, random: &mut Random) -> Result<(), String> {
    let first = random.below(2) as usize;
    let hand = if random.chance(4) {
        rest(random);
        Hand::Ours
    } else {
        ready(pair)?;
        go(pair, random, first)?
    };
    pair.figures.of_both += 2;
    pair.fell(&[first, 1 - first], hand)?;
    pair.start(1 - first, None);
    if random.chance(2) {
        rest(random);
    }
    if random.chance(2) {
        // What was acknowledged before is to be in both places by the time that the copy is said to be whole.
        pair.start(first, Some(("mirrored", random.below(2) * random.spread(1, 300))));
        pair.figures.at_start += 1;
        pair.fell(&[first], Hand::Own)?;
    }
    pair.start(first, None);
    Ok(())
}

fn live(pair: &mut Pair, random: &mut Random, kills_max: u64) -> Result<(), String> {
    let first = random.below(2) as usize;
    pair.start(first, None);
    pair.start(1 - first, None);
    while pair.figures.kills < kills_max {
        let alone = pair.settings[1].producers == 0;
        match random.below(8) {
            0..=2 => one(pair, random, 0, true)?,
            3 => one(pair, random, 1, true)?,
            4 => {
                let victim = random.below(2) as usize;
                one(pair, random, victim, false)?;
            }
            // Its own log's second place dies before its first is back: not for two loaded logs that live in memory alone.
            5 | 6 if alone || pair.kind != Kind::Private => in_turn(pair, random)?,
            _ if pair.kind != Kind::Private => both(pair, random)?,
            _ => one(pair, random, 0, true)?,
        }
    }
    ready(pair)?;
    pair.load(random.spread(300, 120_000));
    pair.end()
}

/// The life of a pair, number `number`.
pub(crate) fn run(number: u64, seed: u64, kills_left: u64) -> Result<(Kind, Figures), String> {
    let random = &mut Random::new(seed.wrapping_add(number));
    let kind = [Kind::Private, Kind::Shared, Kind::Kept][(number % 3) as usize];
    let both = [settings(random, kind, 0), settings(random, kind, 1)];
    let mut pair = Pair::new(format!("log-kill-{}-{number}", std::process::id()), kind, both);
    let about = format!("pair {number}, {kind:?}, {} producers", pair.producers());
    let outcome = live(&mut pair, random, kills_left.min(KILLS_OF_A_PAIR));
    let figures = pair.figures;
    outcome.map(|()| (kind, figures)).map_err(|why| format!("{about}, after {} kills: {why}", figures.kills))
}
