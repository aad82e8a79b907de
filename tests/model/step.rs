//! What each action does, with the nodes driven as a connection drives them.

use crate::action::{Action, Fault, next_step};
use crate::stranger::{capture, forge};
use crate::world::{Accepted, Captured, Dialled, Operation, Page, Side, World, Write, incarnation};
use handfast::fabric::LinkSlot;
use handfast::handshake::{Action as Step, EndReason, Handshake, Phase};
use handfast::page::{Incarnation, mailbox, status};

/// Starts a process.
pub(crate) type Start<'a> = &'a dyn Fn(Side, Incarnation) -> Handshake;

/// Carries out one action. It must be enabled.
pub(crate) fn apply(start: Start<'_>, world: &mut World, action: Action) {
    match action {
        Action::Dial(side) => {
            let slot = accept(world, 1 - side, false);
            world.node_mut(side).dialled = slot.map(|slot| Dialled { slot, up: false, live: true });
        }
        Action::LinkUp(side) => {
            let node = world.node_mut(side);
            if let (Some(dialled), Some(handshake)) = (&mut node.dialled, &mut node.handshake) {
                dialled.up = true;
                handshake.link_up(dialled.slot);
            }
        }
        Action::Execute(side) => execute(world, side, |page| page),
        Action::ExecuteRest(side) => execute_rest(world, side),
        Action::Complete(side) => complete(world, side),
        Action::Look(side, slot) => look(world, side, slot, false),
        Action::LinkLost(side) => lose_link(world, side),
        Action::SlotLost(side, slot) => close_slot(world, side, slot),
        Action::Land(side, slot) => {
            let Some(link) = world.node_mut(side).link_mut(slot) else { return };
            if let Some(write) = link.late.take() {
                write.land(&mut link.mailbox);
            }
        }
        Action::Publish(side) => world.node_mut(side).published = None,
        Action::Restart(side) => {
            let node = world.node_mut(side);
            node.lives += 1;
            node.handshake = Some(start(side, Incarnation(incarnation(side, node.lives))));
        }
        Action::Fault(fault, side) => {
            *fault.budget(&mut world.budget) -= 1;
            go_wrong(world, fault, side);
        }
    }
}

fn go_wrong(world: &mut World, fault: Fault, side: Side) {
    match fault {
        Fault::Crash { late } => {
            if late {
                post_late(world, side);
            }
            crash(world, side);
        }
        Fault::Cut { late } => {
            if late {
                post_late(world, side);
            }
            if world.node(side).operation == Some(Operation::Write { confirmation: true }) {
                world.marks |= World::LANDED;
            }
            lose_link(world, side);
        }
        Fault::Drop(slot) => close_slot(world, side, slot),
        Fault::Repeat(slot, number) => {
            let Some(link) = world.node_mut(side).link_mut(slot) else { return };
            let write = link.past[number].clone();
            write.land(&mut link.mailbox);
            if matches!(write, Write::Greeting(_)) {
                world.marks |= World::REPEATED;
            }
        }
        Fault::HalfWritten { core } => {
            let slot = world.node(side).dialled.as_ref().map_or(0, |dialled| dialled.slot.number());
            let at = if core { status::CORE_OFFSET } else { status::ACK_OFFSET + slot * status::ACK_BYTES };
            execute(world, side, |mut page| {
                page[at + 2] ^= 1;
                page
            });
        }
        Fault::Split { core_first } => {
            execute(world, side, |page| page);
            let node = world.node_mut(side);
            if let Some(Operation::Read { bytes, .. }) = node.operation.take() {
                node.operation = Some(Operation::HalfRead { bytes, core_first });
            }
        }
        Fault::LookTorn(slot) => look(world, side, slot, true),
        Fault::StrangerDials => {
            accept(world, side, true);
        }
        Fault::StrangerWrites(slot, forgery) => {
            let write = forge(world, side, forgery);
            if let (Some(write), Some(link)) = (write, world.node_mut(side).link_mut(slot)) {
                write.land(&mut link.mailbox);
            }
        }
        Fault::OldPage { number, mixed } => old_page(world, side, number, mixed),
        Fault::Leave => {
            if let Some(handshake) = &mut world.node_mut(side).handshake {
                handshake.leave();
            }
        }
        Fault::Absent => give_up(world, side),
    }
}

/// The partner did not name the session in time.
pub(crate) fn give_up(world: &mut World, side: Side) {
    if let Some(handshake) = &mut world.node_mut(side).handshake {
        handshake.end(EndReason::Absent);
    }
}

/// The process is gone, with its memory and all its links.
pub(crate) fn crash(world: &mut World, side: Side) {
    for slot in LinkSlot::all() {
        unlink(world, side, slot);
    }
    let node = world.node_mut(side);
    node.handshake = None;
    node.published = None;
    lose_link(world, side);
}

/// A link is accepted into a slot of `side`, dialled by the partner or a stranger.
pub(crate) fn accept(world: &mut World, side: Side, stranger: bool) -> Option<LinkSlot> {
    let slot = world.node(side).handshake.as_ref()?.slot_for_newcomer()?;
    close_slot(world, side, slot);
    let node = world.node_mut(side);
    node.handshake.as_mut()?.accepted(slot);
    let link = Accepted { stranger, live: true, mailbox: [0; mailbox::HANDSHAKE_BYTES], late: None, past: Vec::new() };
    node.slots[slot.number()] = Some(Box::new(link));
    Some(slot)
}

/// The accepting end of a link is gone; its dialler will learn of it.
fn unlink(world: &mut World, side: Side, slot: LinkSlot) {
    if world.node(side).link(slot).is_none() {
        return;
    }
    let link = world.node_mut(side).slots[slot.number()].take();
    if link.is_some_and(|link| link.live && !link.stranger)
        && let Some(dialled) = &mut world.node_mut(1 - side).dialled
    {
        dialled.live = false;
    }
}

/// The acceptor closes a link, or learns that it is gone.
fn close_slot(world: &mut World, side: Side, slot: LinkSlot) {
    if world.node(side).link(slot).is_none() {
        return;
    }
    unlink(world, side, slot);
    if let Some(handshake) = &mut world.node_mut(side).handshake {
        handshake.slot_closed(slot);
    }
}

/// The dialled link failed, or an operation on it did.
fn lose_link(world: &mut World, side: Side) {
    let node = world.node_mut(side);
    node.operation = None;
    let Some(dialled) = node.dialled.take() else { return };
    if let (Some(handshake), true) = (&mut node.handshake, dialled.up) {
        handshake.link_down();
    }
    if dialled.live
        && let Some(link) = world.node_mut(1 - side).link_mut(dialled.slot)
    {
        link.live = false;
    }
}

/// The bytes of the WRITE that a node would post now.
fn write_of(world: &World, side: Side) -> Option<Write> {
    let handshake = world.node(side).handshake.as_ref()?;
    match next_step(world.node(side))? {
        Step::WriteGreeting => Some(Write::Greeting(handshake.greeting())),
        Step::WriteConfirmation => Some(Write::Confirmation(handshake.confirmation())),
        _ => None,
    }
}

/// The accepting end of the link that `side` dialled.
fn far_end(world: &mut World, side: Side) -> Option<&mut Accepted> {
    let slot = world.node(side).dialled.as_ref()?.slot;
    world.node_mut(1 - side).link_mut(slot)
}

/// A WRITE is posted, and may land at any time after the link has failed at this end.
fn post_late(world: &mut World, side: Side) {
    let Some(write) = write_of(world, side) else { return };
    capture(world, Captured::Letter { from: side, write: write.clone() });
    if let Some(handshake) = &mut world.node_mut(side).handshake {
        handshake.posted();
    }
    if let Some(link) = far_end(world, side) {
        link.late = Some(write);
    }
}

/// Posts the next operation and carries it out; a READ is answered with what `answer` makes of the partner's page.
fn execute(world: &mut World, side: Side, answer: impl FnOnce(Box<Page>) -> Box<Page>) {
    let operation = if let Some(write) = write_of(world, side) {
        capture(world, Captured::Letter { from: side, write: write.clone() });
        let confirmation = matches!(write, Write::Confirmation(_));
        let may_repeat = world.budget.repeat > 0;
        if let Some(link) = far_end(world, side) {
            write.land(&mut link.mailbox);
            if may_repeat && !link.past.contains(&write) {
                link.past.push(write);
            }
        }
        Some(Operation::Write { confirmation })
    } else {
        let page = world.node(1 - side).page();
        let alive = incarnation(1 - side, world.node(1 - side).lives);
        page.map(|page| Operation::Read { bytes: answer(page), alive })
    };
    let node = world.node_mut(side);
    node.operation = operation;
    if let Some(handshake) = &mut node.handshake {
        handshake.posted();
    }
}

fn execute_rest(world: &mut World, side: Side) {
    let alive = incarnation(1 - side, world.node(1 - side).lives);
    let page = world.node(1 - side).page();
    let node = world.node_mut(side);
    let (Some(Operation::HalfRead { mut bytes, core_first }), Some(page)) = (node.operation.take(), page) else {
        return;
    };
    let rest = if core_first { status::ACK_OFFSET..status::HANDSHAKE_BYTES } else { 0..status::ACK_OFFSET };
    bytes[rest.clone()].copy_from_slice(&page[rest]);
    node.operation = Some(Operation::Read { bytes, alive });
}

fn complete(world: &mut World, side: Side) {
    let mut acknowledged = None;
    let node = world.node_mut(side);
    let Some(handshake) = &mut node.handshake else { return };
    match node.operation.take() {
        Some(Operation::Write { .. }) => handshake.write_done(),
        Some(Operation::Read { bytes, alive }) => {
            let before = handshake.phase();
            handshake.read_done(&bytes);
            let left = handshake.take_ended() == Some(EndReason::PartnerLeft);
            if before == Some(Phase::Check) && handshake.phase() == Some(Phase::Confirm) {
                node.checked = alive;
                acknowledged = Some(bytes);
            }
            if left {
                world.marks |= World::LEFT;
            }
        }
        other => node.operation = other,
    }
    if let Some(bytes) = acknowledged {
        capture(world, Captured::Page { of: 1 - side, bytes });
    }
}

fn look(world: &mut World, side: Side, slot: LinkSlot, torn: bool) {
    let node = world.node_mut(side);
    let (Some(handshake), Some(link)) = (&mut node.handshake, &node.slots[slot.number()]) else { return };
    let mut bytes = link.mailbox;
    if torn {
        bytes[mailbox::GREETING_BYTES / 2] ^= 1;
    }
    let answer = handshake.mailbox(slot, &bytes);
    if let Some(earlier) = answer.close {
        close_slot(world, side, earlier);
    }
}

fn old_page(world: &mut World, side: Side, number: usize, mixed: bool) {
    let Some(Captured::Page { bytes, .. }) = world.captured.get(number) else { return };
    let mut bytes = bytes.clone();
    let alive = incarnation(1 - side, world.node(1 - side).lives);
    if let (true, Some(now)) = (mixed, world.node(1 - side).page()) {
        bytes[status::ACK_OFFSET..].copy_from_slice(&now[status::ACK_OFFSET..]);
    }
    let node = world.node_mut(side);
    node.operation = Some(Operation::Read { bytes, alive });
    if let Some(handshake) = &mut node.handshake {
        handshake.posted();
    }
}
