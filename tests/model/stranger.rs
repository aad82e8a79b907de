//! Somebody who can dial, who sees the wire and keeps what it saw, and who lacks the key.

use crate::action::Forgery;
use crate::world::{Captured, Side, World, Write, hash_of};
use handfast::page::mailbox::{Confirmation, Greeting};
use handfast::page::{Attempt, Proof, Word};
use std::sync::Arc;

/// Keeps what went over the wire, for as long as any use of it may still be made.
pub(crate) fn capture(world: &mut World, captured: Captured) {
    let wanted = match &captured {
        Captured::Letter { .. } => world.budget.letter > 0,
        Captured::Page { .. } => world.budget.old_page > 0,
    };
    if wanted && !world.captured.contains(&captured) {
        let mut all = world.captured.to_vec();
        all.push(captured);
        all.sort_by_cached_key(hash_of);
        world.captured = Arc::new(all);
    }
}

/// What a stranger can make for `side`, from what it can read and what it has captured.
pub(crate) fn forge(world: &World, side: Side, forgery: Forgery) -> Option<Write> {
    match forgery {
        Forgery::Bare => made_up(world, side, None),
        Forgery::FalseProof => made_up(world, side, Some(Proof([0x5a; 16]))),
        Forgery::Replay(number) => match world.captured.get(number)? {
            Captured::Letter { write, .. } => Some(write.clone()),
            Captured::Page { .. } => None,
        },
        Forgery::Patched(number) => match world.captured.get(number)? {
            Captured::Letter { write: Write::Greeting(bytes), .. } => {
                let greeting = current(world, side, Greeting::decode(bytes).ok()?);
                Some(Write::Greeting(greeting.encode()))
            }
            // The name of a session is no secret: it can be computed from what both publish.
            Captured::Letter { from, write: Write::Confirmation(bytes) } if *from == side => {
                let own = Confirmation::decode(bytes).ok()?;
                let Word { incarnation, attempt, .. } = world.node(1 - side).handshake.own();
                Some(Write::Confirmation(Confirmation { incarnation, attempt, ..own }.encode()))
            }
            _ => None,
        },
    }
}

/// A greeting that names both nodes' present words, with the proof it had.
fn current(world: &World, side: Side, mut greeting: Greeting) -> Greeting {
    let own = world.node(side).handshake.own();
    greeting.word = world.node(1 - side).handshake.own();
    (greeting.saw_incarnation, greeting.saw_attempt) = (own.incarnation, own.attempt);
    greeting
}

/// A greeting as if the partner had begun its next attempt. Its direction is known from any greeting seen before.
fn made_up(world: &World, side: Side, proof: Option<Proof>) -> Option<Write> {
    let seen = world.captured.iter().find_map(|captured| match captured {
        Captured::Letter { from, write: Write::Greeting(bytes) } if *from != side => Greeting::decode(bytes).ok(),
        _ => None,
    });
    let mut greeting = current(world, side, seen?);
    greeting.word.attempt = Attempt(greeting.word.attempt.0 + 1);
    greeting.proof = proof;
    Some(Write::Greeting(greeting.encode()))
}
