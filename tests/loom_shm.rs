//! Every interleaving (up to a few preemptions) of the shm fabric's lock-free parts: the message ring and the door's cells.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --test loom_shm`
//!
//! What it cannot show: a load that moves behind a later store (nothing would make it fail if the count of posted receives were neither
//! released nor acquired). That a slot is read before it is offered again rests on that pair, see `ring`.
//!
//! The files under test are compiled into this one: they use nothing but words, here the model checker's.
#![cfg(loom)]
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../src/fabric/shm/cell.rs"]
mod cell;
#[path = "../src/fabric/shm/ring.rs"]
mod ring;
#[path = "../src/fabric/shm/words.rs"]
mod words;

use cell::{Claim, Found, Phase, State};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use ring::{Message, Receiver, Sender};
use words::Word;

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

const SLOTS: u64 = 2;

#[derive(Default)]
struct Slot {
    sequence: AtomicU64,
    what: AtomicU64,
    payload: [AtomicU64; 2],
}

#[derive(Default)]
struct Ring {
    posted: AtomicU64,
    slots: [Slot; SLOTS as usize],
    /// Memory beside the ring, as a WRITE with immediate changes it.
    beside: AtomicU64,
}

impl Ring {
    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number % SLOTS) as usize]
    }
    fn send(&self, sender: &mut Sender, number: u64) {
        while sender.next(&self.posted, SLOTS).is_none() {
            thread::yield_now();
        }
        let slot = self.slot(number);
        slot.payload.iter().for_each(|word| word.store_relaxed(100 + number));
        self.beside.store_relaxed(number + 1);
        let immediate = (number % 2 == 1).then_some(number as u32);
        sender.publish(&slot.sequence, &slot.what, Message { length: number as u32, immediate });
    }
    fn receive(&self, receiver: &mut Receiver) {
        let number = receiver.next();
        let slot = self.slot(number);
        let message = loop {
            if let Some(message) = receiver.peek(&slot.sequence, &slot.what) {
                break message;
            }
            thread::yield_now();
        };
        let immediate = (number % 2 == 1).then_some(number as u32);
        assert_eq!(message, Message { length: number as u32, immediate });
        for word in &slot.payload {
            assert_eq!(word.load_relaxed(), 100 + number, "message {number} was overwritten, or came before its bytes");
        }
        assert!(self.beside.load_relaxed() > number, "what was written before the message is seen with it");
        receiver.take();
    }
}

#[test]
fn messages_arrive_whole_and_in_order_and_wait_for_room() {
    check(3, || {
        let ring = Arc::new(Ring::default());
        let there = Arc::clone(&ring);
        let sending = thread::spawn(move || {
            let mut sender = Sender::default();
            (0..4).for_each(|number| there.send(&mut sender, number));
        });
        let mut receiver = Receiver::default();
        receiver.post(&ring.posted);
        receiver.post(&ring.posted);
        for _ in 0..2 {
            ring.receive(&mut receiver);
            receiver.post(&ring.posted);
        }
        ring.receive(&mut receiver);
        ring.receive(&mut receiver);
        assert_eq!(receiver.waiting(), 0);
        sending.join().unwrap();
    });
}

#[derive(Default)]
struct Door {
    state: AtomicU64,
    request: [AtomicU64; 2],
    answer: [AtomicU64; 2],
}

/// What became of a dial.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Answered,
    NoCell,
    GaveUp,
    Lost,
}

impl Door {
    /// Leaves a request: `what` is the process's number and a digit.
    fn ask(&self, what: u64) -> Option<Claim> {
        let mut claim = Claim::take(&self.state, (what / 10) as u32)?;
        self.request.iter().for_each(|word| word.store_relaxed(what));
        claim.ask(&self.state).then_some(claim)
    }

    /// Looks for the answer `looks` times, then gives up.
    fn dial(&self, what: u64, looks: u32) -> Ended {
        let Some(claim) = self.ask(what) else { return Ended::NoCell };
        for _ in 0..looks {
            match claim.look(&self.state) {
                Found::Waiting => thread::yield_now(),
                Found::Answer => {
                    let answer = self.answer.each_ref().map(Word::load_relaxed);
                    let ours = claim.free(&self.state, Phase::Answered);
                    assert!(ours, "nobody takes an answered cell away in this model");
                    assert_eq!(answer, [what * 3; 2], "the answer is to this very request");
                    return Ended::Answered;
                }
                Found::Refusal | Found::Unmade | Found::Lost => return Ended::Lost,
            }
        }
        let freed = claim.free(&self.state, Phase::Requested) || claim.free(&self.state, Phase::Answered);
        assert!(freed);
        Ended::GaveUp
    }

    /// One look of the owner; whether it answered.
    fn serve(&self) -> bool {
        let Some(asked) = cell::asked(&self.state) else { return false };
        let request = self.request.each_ref().map(Word::load_relaxed);
        if !cell::unchanged(&self.state, asked) {
            return false;
        }
        assert_eq!(request[0], request[1], "a request is whole");
        assert_eq!(request[0] / 10, u64::from(asked.process), "and its asker's");
        self.answer.iter().for_each(|word| word.store_relaxed(request[0] * 3));
        cell::answer(&self.state, asked, Phase::Answered)
    }

    fn is_free(&self) -> bool {
        State::decode(self.state.load_relaxed()).phase == Phase::Free
    }
}

#[test]
fn a_dial_is_answered() {
    check(3, || {
        let door = Arc::new(Door::default());
        let there = Arc::clone(&door);
        let dialling = thread::spawn(move || there.dial(70, u32::MAX));
        while !door.serve() {
            thread::yield_now();
        }
        assert_eq!(dialling.join().unwrap(), Ended::Answered);
        assert!(door.is_free());
    });
}

#[test]
fn two_diallers_at_one_cell_never_take_each_others_answers() {
    check(2, || {
        let door = Arc::new(Door::default());
        let diallers = [50, 90].map(|what| {
            let there = Arc::clone(&door);
            thread::spawn(move || there.dial(what, 2))
        });
        let answered = (0..3).filter(|_| {
            thread::yield_now();
            door.serve()
        });
        let answered = answered.count();
        let ends = diallers.map(|dialler| dialler.join().unwrap());
        assert!(ends.iter().filter(|end| **end == Ended::Answered).count() <= answered);
        assert!(!ends.contains(&Ended::Lost));
        assert!(door.is_free(), "whatever happened, the cell is free again");
    });
}

#[test]
fn a_dialler_that_comes_again_never_takes_the_answer_to_its_first_request() {
    check(3, || {
        let door = Arc::new(Door::default());
        let there = Arc::clone(&door);
        let dialling = thread::spawn(move || [there.dial(50, 1), there.dial(51, 2)]);
        for _ in 0..3 {
            door.serve();
            thread::yield_now();
        }
        let ends = dialling.join().unwrap();
        assert!(!ends.contains(&Ended::Lost) && !ends.contains(&Ended::NoCell));
        assert!(door.is_free());
    });
}

#[test]
fn a_cell_taken_back_from_a_slow_dialler_serves_the_next() {
    check(3, || {
        let door = Arc::new(Door::default());
        let slow = {
            let there = Arc::clone(&door);
            thread::spawn(move || {
                let Some(mut claim) = Claim::take(&there.state, 5) else { return };
                // No stores to the request after it lost the cell: that it could not know is the next test's.
                if claim.ask(&there.state) {
                    claim.free(&there.state, Phase::Requested);
                }
            })
        };
        // The owner takes whatever is claimed for the leavings of a dead process.
        let word = door.state.load_relaxed();
        if State::decode(word).phase == Phase::Claimed {
            cell::reclaim(&door.state, word);
        }
        slow.join().unwrap();
        assert!(door.is_free());
        let claim = door.ask(90).expect("the cell is free");
        assert!(door.serve());
        assert_eq!(claim.look(&door.state), Found::Answer);
    });
}
