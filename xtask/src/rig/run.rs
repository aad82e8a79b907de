//! A job while it runs: one guest or two, their consoles printed, and a power cut where the job wants one.

use super::cuts::Cuts;
use super::guest::{End, Guest, Heard, Image, Seat, Wire, verdict};
use super::prepare::Boot;
use crate::counts::{Counts, Reader};
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

const TAIL_LINES: usize = 30;

/// Reports of progress by `a` until the power of `b` is cut.
const PROGRESS: usize = 2;

/// The guests of a job.
pub(super) enum Guests {
    One {
        script: PathBuf,
        disk: Option<Arc<Image>>,
    },
    /// Scripts of `a` and `b`, and whether `b` loses power in the middle.
    Two {
        scripts: [PathBuf; 2],
        power_cut: bool,
    },
    /// Two with a mirrored log, whose power is cut again and again.
    Cuts(Cuts),
}

/// A guest, or its earlier self.
struct Place {
    seat: Seat,
    guest: Option<Guest>,
    number: u32,
    reader: Reader,
    tail: VecDeque<String>,
    kernel: Option<String>,
    end: Option<End>,
}

struct Run<'a> {
    boot: &'a Boot,
    places: Vec<Place>,
    told: Sender<(u32, Heard)>,
    heard: Receiver<(u32, Heard)>,
    next: u32,
    power_cut: bool,
    progress: usize,
    /// Incarnations of the partner that `a` met.
    met: Vec<String>,
}

/// Runs a job; how its guests ended, the worst first, and what their test runners counted.
pub(super) fn run(boot: &Boot, guests: Guests, limit: Duration) -> io::Result<(End, Counts)> {
    if let Guests::Cuts(cuts) = guests {
        return cuts.run(boot);
    }
    let (told, heard) = mpsc::channel();
    let (seats, power_cut) = seats(guests)?;
    let mut run = Run { boot, places: Vec::new(), told, heard, next: 0, power_cut, progress: 0, met: Vec::new() };
    for seat in seats {
        run.places.push(Place {
            seat,
            guest: None,
            number: 0,
            reader: Reader::default(),
            tail: VecDeque::new(),
            kernel: None,
            end: None,
        });
        run.power_up(run.places.len() - 1)?;
    }
    run.listen(Instant::now() + limit)?;
    Ok(run.outcome())
}

fn seats(guests: Guests) -> io::Result<(Vec<Seat>, bool)> {
    match guests {
        Guests::Cuts(_) => Err(io::Error::other("a job of power cuts has a course of its own")),
        Guests::One { script, disk } => Ok((vec![Seat { name: 'a', script, wire: None, disk }], false)),
        Guests::Two { scripts: [a, b], power_cut } => {
            let [one, other] = wires()?;
            let seat = |name, script, wire| Seat { name, script, wire: Some(wire), disk: None };
            Ok((vec![seat('a', a, one), seat('b', b, other)], power_cut))
        }
    }
}

/// The two ends of a wire.
pub(super) fn wires() -> io::Result<[Wire; 2]> {
    // Bound at once, so that they differ; free again when QEMU takes them.
    let sockets = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    let [one, other] = [sockets[0].local_addr()?.port(), sockets[1].local_addr()?.port()];
    Ok([Wire { own: one, other }, Wire { own: other, other: one }])
}

impl Run<'_> {
    fn power_up(&mut self, index: usize) -> io::Result<()> {
        let place = &mut self.places[index];
        place.number = self.next;
        place.guest = Some(Guest::boot(self.boot, &place.seat, self.next, &self.told)?);
        self.next += 1;
        Ok(())
    }

    fn listen(&mut self, until: Instant) -> io::Result<()> {
        while self.places.iter().any(|place| place.end.is_none()) {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((number, heard)) => {
                    // What a guest said before its power was cut is of no interest any more.
                    let Some(index) = self.places.iter().position(|place| place.number == number) else { continue };
                    self.take(index, heard)?;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let running = self.places.iter_mut().filter(|place| place.end.is_none());
                    running.for_each(|place| place.end = Some(End::Hang));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, index: usize, heard: Heard) -> io::Result<()> {
        let place = &mut self.places[index];
        let line = match heard {
            Heard::Line(line) => line,
            Heard::Closed(said) => {
                if place.guest.is_some() && place.end.is_none() {
                    place.end = Some(End::Vanished);
                    place.tail.extend(said.lines().map(|line| format!("qemu: {line}")));
                }
                return Ok(());
            }
        };
        if place.reader.line(&line) {
            println!("{}| {line}", place.seat.name);
        }
        match verdict(&line) {
            Some(End::Kernel(line)) => drop(place.kernel.get_or_insert(line)),
            Some(end) => drop(place.end.get_or_insert(end)),
            None => {}
        }
        if place.tail.len() == TAIL_LINES {
            place.tail.pop_front();
        }
        if index == 0 && self.power_cut {
            self.follow(&line)?;
        }
        self.places[index].tail.push_back(line);
        Ok(())
    }

    /// Cuts the power of `b` when the stream is under way, and boots it again when `a` has told the loss.
    fn follow(&mut self, line: &str) -> io::Result<()> {
        if line.contains(r#""event":"established""#) {
            self.met.extend(text_of(line, "incarnation"));
        }
        if line.contains(r#""event":"progress""#) {
            self.progress += 1;
            if self.progress == PROGRESS {
                println!("-- the power of b is cut");
                self.places[1].guest = None;
                self.places[1].number = u32::MAX;
            }
        }
        if line.contains(r#""event":"lost""#) && self.progress >= PROGRESS && self.places[1].guest.is_none() {
            println!("-- b boots again");
            self.power_up(1)?;
        }
        Ok(())
    }

    fn outcome(self) -> (End, Counts) {
        let mut worst = End::Status(0);
        let mut readers = Vec::new();
        for place in self.places {
            let end = place.kernel.map_or(place.end.unwrap_or(End::Vanished), End::Kernel);
            if !matches!(end, End::Status(_)) {
                println!("-- {}: {end:?}; the last lines of its console:", place.seat.name);
                place.tail.iter().for_each(|line| println!("   {line}"));
            }
            if worst == End::Status(0) {
                worst = end;
            }
            readers.push(place.reader);
        }
        let mut counts = Reader::total(&readers);
        if self.power_cut {
            let mut met = self.met;
            met.dedup();
            let again = self.progress >= PROGRESS && met.len() >= 2;
            println!("-- incarnations of b that a met: {}", met.join(", "));
            counts.add(if again { Counts::PASSED } else { Counts::FAILED });
        }
        (worst, counts)
    }
}

/// A text member of a JSON line.
fn text_of(line: &str, name: &str) -> Option<String> {
    crate::json::Value::parse(line).ok()?.text(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_of_a_wire_meet() -> io::Result<()> {
        let scripts = [PathBuf::from("/a"), PathBuf::from("/b")];
        let (seats, cut) = seats(Guests::Two { scripts, power_cut: true })?;
        let wires: Vec<Wire> = seats.iter().filter_map(|seat| seat.wire).collect();
        assert!(cut && wires[0].own == wires[1].other && wires[0].other == wires[1].own);
        assert_ne!(wires[0].own, wires[1].own);
        Ok(())
    }

    #[test]
    fn an_incarnation_is_read_from_its_line() {
        let line = r#"{"event":"established","incarnation":"0a","steps":[{"ns":1}]}"#;
        assert_eq!(text_of(line, "incarnation"), Some("0a".to_owned()));
        assert_eq!(text_of("[  3.2] noise", "incarnation"), None);
    }
}
