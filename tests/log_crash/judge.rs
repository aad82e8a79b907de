//! Whether what two nodes make of what is left keeps what was acknowledged: all of it is there, or a node says why it does not go on, and that
//! only where no node has all of it.

use crate::ledger::{Row, StoodOn};
use crate::node::Ring;
use crate::play::{Death, Outcome, PRIMARY, REPLICA, Scene, Stage};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a death left elsewhere.
#[derive(Debug)]
pub(crate) struct Left {
    /// The primary had opened its log in that life.
    pub(crate) was_open: bool,
    /// What the replica says of its copy, where it lives.
    pub(crate) copied: Option<String>,
    pub(crate) is_primary_alive: bool,
    /// The primary has taken a term, to go on alone under, that the replica's file knows nothing of.
    pub(crate) is_superseded: bool,
}

/// Whether records of these lives are all that was acknowledged, and none that nobody wrote.
fn check(lives: &str, rows: &[Row], whose: &str) -> Result<(), String> {
    let lives: Vec<u8> = lives.split(' ').filter_map(|life| life.parse().ok()).collect();
    for (number, row) in rows.iter().enumerate() {
        match (row.acknowledged, lives.get(number)) {
            (Some((life, on)), None) => {
                return Err(format!(
                    "LOST: {whose}: record {number} of life {life}, acknowledged by {on:?}, of {lives:?}"
                ));
            }
            (Some((life, _)), Some(found)) if life != *found => {
                return Err(format!("WRONG: {whose}: record {number} is of life {found}, acknowledged of {life}"));
            }
            (_, Some(found)) if *found == 0 || *found > row.begun => {
                return Err(format!("WRONG: {whose}: record {number} is of life {found}, which did not write it"));
            }
            _ => {}
        }
    }
    if lives.len() > rows.len() {
        return Err(format!("WRONG: {whose}: {} records, of which {} were written", lives.len(), rows.len()));
    }
    Ok(())
}

/// Whether the node that goes on, or begins again, must have everything that was acknowledged.
fn must_be_there(stage: &Stage, left: &Left, rows: &[Row]) -> bool {
    let (play, backings) = (stage.play, stage.play.backings);
    let Some((_, last)) = rows.iter().rev().find_map(|row| row.acknowledged) else { return false };
    if left.is_primary_alive && left.was_open {
        return true;
    }
    let is_primary_dead = !left.is_primary_alive;
    let power = play.death.cuts_power() && (play.victim == PRIMARY || play.death == Death::PowerBoth);
    let by_ring = match backings.ring {
        Ring::Anonymous => false,
        // It was lost before.
        _ if play.scene == Scene::Restore && !left.was_open => false,
        Ring::SharedMemory => !power,
        // One that was brought to the disk before, record by record.
        Ring::File => !power || (last == StoodOn::Alone && backings.persistent),
    };
    let by_copy = left.copied.as_ref().is_some_and(|copied| {
        copied.strip_prefix("Whole").is_some_and(|lives| check(lives, rows, "the replica").is_ok())
    });
    // One under which nothing is acknowledged yet counts like one under which something was: nobody is told which.
    let by_file = last == StoodOn::PartnersDisk && backings.keeps && !left.is_superseded;
    (is_primary_dead && by_ring) || by_copy || by_file
}

/// What was acknowledged then, and written until now: the primary may go on meanwhile.
fn since(rows: &[Row], now: Vec<Row>) -> Vec<Row> {
    let then = |number: usize| rows.get(number).and_then(|row| row.acknowledged);
    now.into_iter().enumerate().map(|(number, row)| Row { acknowledged: then(number), ..row }).collect()
}

/// What the primary comes to.
enum End {
    Mirrored,
    Over(String),
}

/// Waits until it is mirrored, counted from the line `from`, or says that it is not going to be.
fn wait(stage: &mut Stage, from: usize) -> Result<End, String> {
    let began = Instant::now();
    loop {
        for node in stage.nodes.iter_mut().flatten() {
            node.listen();
        }
        if let Some(line) = stage.nodes.iter().flatten().find_map(|node| node.last_of(&["wrong"])).map(str::to_owned) {
            return Err(stage.stories(&line));
        }
        let lines = stage.nodes[PRIMARY].as_ref().map_or(&[][..], |node| &node.lines);
        let is_open = lines.iter().any(|line| line.starts_with("opened"));
        if let Some(line) = lines.iter().find(|line| line.starts_with("over") || line.starts_with("refused")) {
            return Ok(End::Over(line.clone()));
        }
        let since = lines.get(from..).unwrap_or_default();
        let last = since.iter().rev().find(|line| matches!(line.as_str(), "mirrored" | "lost"));
        if is_open && last.is_some_and(|line| line == "mirrored") {
            return Ok(End::Mirrored);
        }
        if began.elapsed() > PATIENCE {
            return Err(stage.stories("SILENT: neither mirrored nor refused in time"));
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn ask_copy(stage: &mut Stage) -> Result<String, String> {
    let Some(replica) = &mut stage.nodes[REPLICA] else { return Err("no replica".to_owned()) };
    replica.ask("copy", PATIENCE)
}

/// Brings back what is gone, and judges.
///
/// # Errors
/// What was lost, or wrong, or not told.
pub(crate) fn judge(stage: &mut Stage, left: &Left) -> Result<Outcome, String> {
    let rows = stage.rows();
    let last = rows.iter().rev().find_map(|row| row.acknowledged);
    if let Some(lives) = left.copied.as_ref().and_then(|copied| copied.strip_prefix("Whole"))
        && !matches!(last, Some((_, StoodOn::Alone)))
    {
        check(lives, &rows, "the surviving replica, which calls itself whole")?;
    }
    if let Some(lives) = stage.taken.as_ref().and_then(|taken| taken.strip_prefix("taken")) {
        check(lives, &rows, "what was taken over")?;
    }
    let must = must_be_there(stage, left, &rows);
    let from = match &mut stage.nodes[PRIMARY] {
        // What it says of the time before is heard by its answer.
        Some(primary) => primary.ask("count", PATIENCE).map(|_| primary.lines.len())?,
        None => 0,
    };
    stage.bring_back();
    match wait(stage, from)? {
        End::Over(why) if why.contains("taken this log over") && stage.play.scene == Scene::TakeOver => {
            let copied = ask_copy(stage)?;
            let lives = copied.split_once(' ').map_or("", |(_, lives)| lives);
            if copied.starts_with("Whole") || (stage.play.backings.keeps && stage.play.backings.persistent) {
                check(lives, &rows, "the copy that was taken over")?;
            }
            Ok(Outcome::TakenOver)
        }
        End::Over(why) if must => {
            let copied = ask_copy(stage);
            Err(stage.stories(&format!("REFUSED, though it is there: {why}\n{left:?}, {last:?}, copy now {copied:?}")))
        }
        End::Over(_) if last.is_none() => Ok(Outcome::RefusedEmpty),
        End::Over(_) => Ok(Outcome::Refused),
        End::Mirrored => {
            if stage.taken.as_ref().is_some_and(|taken| taken.starts_with("taken")) && stage.play.backings.keeps {
                return Err(stage.stories("WRONG: the old primary goes on, though the other has taken over"));
            }
            goes_on(stage, left, &rows)
        }
    }
}

/// Both are there, and hold what was acknowledged; and so they do after two records more.
fn goes_on(stage: &mut Stage, left: &Left, rows: &[Row]) -> Result<Outcome, String> {
    let Some(primary) = &mut stage.nodes[PRIMARY] else { return Err("no primary".to_owned()) };
    primary.listen();
    let opened = primary.last_of(&["opened"]).unwrap_or_default().to_owned();
    if !left.is_primary_alive {
        check(opened.strip_prefix("opened").unwrap_or_default(), rows, "the primary")?;
    }
    let copied = ask_copy(stage)?;
    let Some(lives) = copied.strip_prefix("Whole") else {
        return Err(stage.stories(&format!("the copy is {copied}, and the primary calls it whole")));
    };
    check(lives, &since(rows, stage.rows()), "the replica")?;
    let more = stage.rows().len() + 2;
    let Some(primary) = &mut stage.nodes[PRIMARY] else { return Err("no primary".to_owned()) };
    primary.tell(&format!("append {more}"));
    primary.wait_for(0, &format!("done {more}"), Instant::now() + PATIENCE)?;
    let copied = ask_copy(stage)?;
    check(copied.strip_prefix("Whole").unwrap_or_default(), &stage.rows(), "the replica, two records later")?;
    Ok(Outcome::Whole)
}
