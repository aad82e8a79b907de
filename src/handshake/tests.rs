//! Two nodes over a perfect wire, step by step. The hard cases (every order, every fault) are explored in tests/model.rs.

use super::*;
use crate::page::mailbox::{self, CONFIRMATION_OFFSET, GREETING_BYTES};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SLOT: LinkSlot = match LinkSlot::new(2) {
    Some(slot) => slot,
    None => unreachable!(),
};

/// A node with the mailbox of the one link it accepted.
struct Node {
    handshake: Handshake,
    mailbox: [u8; mailbox::HANDSHAKE_BYTES],
}

impl Node {
    fn new(
        node: &str,
        partner: &str,
        cluster: &str,
        incarnation: u64,
        key: Option<&[u8]>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let parties = Parties {
            cluster: cluster.parse()?,
            node: node.parse()?,
            partner: partner.parse()?,
            versions: VersionRange::CURRENT,
            key: key.map(PreSharedKey::new).transpose()?,
        };
        let handshake = Handshake::new(parties, Incarnation(incarnation), [incarnation as u8; 32]);
        Ok(Self { handshake, mailbox: [0; mailbox::HANDSHAKE_BYTES] })
    }

    fn look_at_mailbox(&mut self) {
        let answer = self.handshake.mailbox(SLOT, &self.mailbox);
        assert_eq!(answer, Answer { close: None });
    }
}

/// Links `from` to `to` anew, in both nodes' eyes.
fn link(from: &mut Node, to: &mut Node) {
    to.mailbox = [0; mailbox::HANDSHAKE_BYTES];
    to.handshake.accepted(SLOT);
    from.handshake.link_up(SLOT);
}

/// Carries out what `from` wants to post, and lets `to` look at its mailbox.
fn step(from: &mut Node, to: &mut Node) {
    let action = from.handshake.action();
    from.handshake.posted();
    match action {
        Action::Read { .. } => from.handshake.read_done(&to.handshake.encode()),
        Action::WriteGreeting => {
            to.mailbox[..GREETING_BYTES].copy_from_slice(&from.handshake.greeting());
            from.handshake.write_done();
        }
        Action::WriteConfirmation => {
            to.mailbox[CONFIRMATION_OFFSET..].copy_from_slice(&from.handshake.confirmation());
            from.handshake.write_done();
        }
        Action::Dial | Action::Wait => {}
    }
    to.look_at_mailbox();
}

fn run(a: &mut Node, b: &mut Node, steps: usize) {
    for _ in 0..steps {
        step(a, b);
        step(b, a);
    }
}

fn pair(key: Option<&[u8]>) -> Result<(Node, Node), Box<dyn std::error::Error>> {
    let (mut a, mut b) = (Node::new("a", "b", "c", 11, key)?, Node::new("b", "a", "c", 22, key)?);
    link(&mut a, &mut b);
    link(&mut b, &mut a);
    Ok((a, b))
}

fn session(node: &Node) -> Option<SessionId> {
    node.handshake.established().map(|established| established.id)
}

#[test]
fn four_operations_each_and_both_hold_the_same_session() -> Outcome {
    for key in [None, Some(&[7u8; 32][..])] {
        let (mut a, mut b) = pair(key)?;
        assert_eq!(a.handshake.phase(), Some(Phase::Look));
        run(&mut a, &mut b, 3);
        assert_eq!((session(&a), session(&b)), (None, None), "three operations are not enough");
        run(&mut a, &mut b, 1);
        assert!(session(&a).is_some());
        assert_eq!(session(&a), session(&b));
        let (of_a, of_b) = (a.handshake.established().ok_or("a")?, b.handshake.established().ok_or("b")?);
        assert_eq!((of_a.own, of_a.partner), (of_b.partner, of_b.own));
        assert_eq!(of_a.key, of_b.key);
        run(&mut a, &mut b, 1);
        assert!(a.handshake.is_held_by_partner() && b.handshake.is_held_by_partner());
        assert_eq!(a.handshake.own().attempt, Attempt(1), "nobody raised an attempt");
    }
    Ok(())
}

#[test]
fn one_side_alone_is_never_established() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    for _ in 0..10 {
        step(&mut a, &mut b);
    }
    assert_eq!(a.handshake.phase(), Some(Phase::Watch));
    assert_eq!(session(&a), None);
    assert_eq!(a.handshake.obstacle(), Some(Obstacle::NotConfirmed));
    Ok(())
}

#[test]
fn a_restarted_partner_ends_the_session_and_opens_the_next() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 4);
    let first = session(&a);
    let mut b = Node::new("b", "a", "c", 33, None)?;
    a.handshake.link_down();
    assert_eq!(a.handshake.take_ended(), Some(EndReason::LinkLost));
    assert_eq!(a.handshake.own().attempt, Attempt(2));
    a.handshake.slot_closed(SLOT);
    link(&mut a, &mut b);
    link(&mut b, &mut a);
    run(&mut a, &mut b, 4);
    assert!(session(&a).is_some() && session(&a) == session(&b));
    assert_ne!(session(&a), first);
    Ok(())
}

#[test]
fn a_new_incarnation_in_the_status_block_ends_the_session() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 4);
    let mut other = Node::new("b", "a", "c", 33, None)?;
    other.handshake.accepted(SLOT);
    a.handshake.posted();
    a.handshake.read_done(&other.handshake.encode());
    assert_eq!(a.handshake.take_ended(), Some(EndReason::Restarted { incarnation: Incarnation(33) }));
    assert_eq!(a.handshake.take_ended(), None);
    Ok(())
}

#[test]
fn a_confirmation_that_landed_but_failed_does_not_leave_the_other_alone() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 3);
    // Step 4 of `a` lands at `b`, and `a` is told that it failed.
    b.mailbox[CONFIRMATION_OFFSET..].copy_from_slice(&a.handshake.confirmation());
    a.handshake.posted();
    a.handshake.link_down();
    b.look_at_mailbox();
    step(&mut b, &mut a);
    assert!(session(&b).is_some(), "b has every reason to believe in the session");
    step(&mut b, &mut a);
    assert_eq!(b.handshake.take_ended(), Some(EndReason::Reopened), "until it reads that a began anew");
    link(&mut a, &mut b);
    run(&mut a, &mut b, 8);
    assert!(session(&a).is_some() && session(&a) == session(&b));
    Ok(())
}

#[test]
fn a_confirmation_that_an_older_write_overlaid_is_written_again() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    // Both write their confirmation, and before either is looked at, something older is written over it.
    run(&mut a, &mut b, 3);
    for node in [&mut a, &mut b] {
        assert_eq!(node.handshake.action(), Action::WriteConfirmation);
        node.handshake.posted();
        node.handshake.write_done();
    }
    run(&mut a, &mut b, 10);
    assert_eq!((session(&a), session(&b)), (None, None), "neither has seen a confirmation");
    run(&mut a, &mut b, 70);
    assert!(session(&a).is_some() && session(&a) == session(&b));
    assert_eq!((a.handshake.own().attempt, b.handshake.own().attempt), (Attempt(1), Attempt(1)));
    Ok(())
}

#[test]
fn each_misconfiguration_is_named_on_the_side_that_sees_it() -> Outcome {
    let key: &[u8] = &[7; 32];
    let other_key: &[u8] = &[8; 32];
    let cases: [(Node, Node, Obstacle); 5] = [
        (
            Node::new("a", "b", "c", 1, None)?,
            Node::new("b", "a", "d", 2, None)?,
            Obstacle::WrongCluster { found: "d".parse()?, expected: "c".parse()? },
        ),
        (
            Node::new("a", "b", "c", 1, None)?,
            Node::new("x", "a", "c", 2, None)?,
            Obstacle::WrongNode { found: "x".parse()?, expected: "b".parse()? },
        ),
        (Node::new("a", "b", "c", 1, Some(key))?, Node::new("b", "a", "c", 2, None)?, Obstacle::KeyMissingThere),
        (Node::new("a", "b", "c", 1, None)?, Node::new("b", "a", "c", 2, Some(key))?, Obstacle::KeyMissingHere),
        (Node::new("a", "b", "c", 1, Some(key))?, Node::new("b", "a", "c", 2, Some(other_key))?, Obstacle::KeysDiffer),
    ];
    for (mut a, mut b, obstacle) in cases {
        link(&mut a, &mut b);
        link(&mut b, &mut a);
        run(&mut a, &mut b, 20);
        assert_eq!(a.handshake.obstacle(), Some(obstacle));
        assert_eq!((session(&a), session(&b)), (None, None));
    }
    Ok(())
}

#[test]
fn a_node_that_the_partner_does_not_expect_is_told_so() -> Outcome {
    let (mut a, mut b) = (Node::new("a", "b", "c", 1, None)?, Node::new("b", "x", "c", 2, None)?);
    link(&mut a, &mut b);
    run(&mut a, &mut b, 6);
    assert_eq!(a.handshake.obstacle(), Some(Obstacle::NotExpected));
    Ok(())
}

#[test]
fn versions_that_do_not_meet_are_both_shown() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    b.handshake.parties.versions = VersionRange { min: 4, max: 6 };
    run(&mut a, &mut b, 3);
    let text = a.handshake.obstacle().ok_or("obstacle")?.to_string();
    assert!(text.contains("speaks 2") && text.contains("partner 4 to 6"), "{text}");
    Ok(())
}

#[test]
fn leaving_is_told_apart_from_dying() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 4);
    b.handshake.leave();
    assert_eq!(b.handshake.take_ended(), Some(EndReason::Left));
    step(&mut a, &mut b);
    assert_eq!(a.handshake.take_ended(), Some(EndReason::PartnerLeft));
    run(&mut a, &mut b, 5);
    assert_eq!(a.handshake.obstacle(), Some(Obstacle::Leaving));
    Ok(())
}

#[test]
fn slots_go_to_whoever_has_no_valid_greeting() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 4);
    for _ in 0..10 {
        let slot = a.handshake.slot_for_newcomer().ok_or("slot")?;
        assert_ne!(slot, SLOT, "the partner's own link never yields to a stranger");
        a.handshake.accepted(slot);
    }
    assert!(session(&a).is_some());
    Ok(())
}

#[test]
fn a_newer_link_of_the_partner_closes_the_earlier_one() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    run(&mut a, &mut b, 2);
    let newer = b.handshake.slot_for_newcomer().ok_or("slot")?;
    b.handshake.accepted(newer);
    a.handshake.link_up(newer);
    a.handshake.posted();
    a.handshake.read_done(&b.handshake.encode());
    let mut mailbox = [0; mailbox::HANDSHAKE_BYTES];
    mailbox[..GREETING_BYTES].copy_from_slice(&a.handshake.greeting());
    assert_eq!(b.handshake.mailbox(newer, &mailbox), Answer { close: Some(SLOT) });
    // The earlier greeting, still in the earlier mailbox, does not come back to life.
    assert_eq!(b.handshake.mailbox(SLOT, &b.mailbox), Answer { close: None });
    Ok(())
}

#[test]
fn a_partner_whose_greeting_was_repeated_on_a_newer_link_gets_the_newest_again() -> Outcome {
    let (mut a, mut b) = pair(None)?;
    b.handshake.posted();
    b.handshake.read_done(&a.handshake.encode());
    a.mailbox[..GREETING_BYTES].copy_from_slice(&b.handshake.greeting());
    b.handshake.posted();
    b.handshake.write_done();
    // A stranger dials, and repeats the greeting of `b` before `a` has looked at either mailbox.
    let strange = a.handshake.slot_for_newcomer().ok_or("slot")?;
    a.handshake.accepted(strange);
    assert_eq!(a.handshake.mailbox(strange, &a.mailbox), Answer { close: None });
    assert_eq!(a.handshake.mailbox(SLOT, &a.mailbox), Answer { close: Some(SLOT) }, "b must not wait for ever");
    a.handshake.slot_closed(SLOT);
    b.handshake.link_down();
    a.mailbox = [0; mailbox::HANDSHAKE_BYTES];
    let newest = a.handshake.slot_for_newcomer().ok_or("slot")?;
    a.handshake.accepted(newest);
    b.handshake.link_up(newest);
    b.handshake.posted();
    b.handshake.read_done(&a.handshake.encode());
    a.mailbox[..GREETING_BYTES].copy_from_slice(&b.handshake.greeting());
    assert_eq!(a.handshake.mailbox(newest, &a.mailbox), Answer { close: Some(strange) });
    Ok(())
}

#[test]
fn a_handshake_is_small() {
    assert!(size_of::<Handshake>() < 2048, "{}", size_of::<Handshake>());
}
