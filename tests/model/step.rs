//! What each action does, with the nodes driven as a connection drives them.

use crate::action::{Action, Fault, next_step};
use crate::stranger::{capture, forge};
use crate::world::{Accepted, Captured, Dialled, Operation, Page, Side, World, Write, incarnation};
use handfast::fabric::LinkSlot;
use handfast::handshake::{Action as Step, EndReason, Handshake, Phase};
use handfast::page::mailbox::{self, Confirmation};
use handfast::page::{Incarnation, status};

/// Starts a process.
pub(crate) type Start<'a> = &'a dyn Fn(Side, Incarnation) -> Handshake;

/// Carries out one action. It must be enabled.
pub(crate) fn apply(start: Start<'_>, world: &mut World, action: Action) {
    match action {
        Action::Dial(side) => {
            let Some(slot) = accept(world, 1 - side, false) else { return };
            let node = world.node_mut(side);
            node.dialled = Some(Dialled { slot, live: true });
            node.handshake.link_up(slot);
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
        Action::Fault(fault, side) => {
            *fault.budget(&mut world.budget) -= 1;
            go_wrong(start, world, fault, side);
        }
    }
}

fn go_wrong(start: Start<'_>, world: &mut World, fault: Fault, side: Side) {
    match fault {
        Fault::Crash { late } => {
            if late {
                post_late(world, side);
            }
            crash(start, world, side);
        }
        Fault::Cut { late } => {
            if late {
                post_late(world, side);
            }
            if world.node(side).operation == Some(Operation::Confirmation) {
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
        Fault::Leave => world.node_mut(side).handshake.leave(),
        Fault::End => give_up(world, side),
    }
}

/// The partner did not name the session in time.
pub(crate) fn give_up(world: &mut World, side: Side) {
    world.node_mut(side).handshake.end(EndReason::Absent);
}

/// The process is gone, with its memory and all its links, and the next one starts.
pub(crate) fn crash(start: Start<'_>, world: &mut World, side: Side) {
    for slot in LinkSlot::all() {
        unlink(world, side, slot);
    }
    lose_link(world, side);
    let node = world.node_mut(side);
    (node.published, node.said) = (None, None);
    node.lives += 1;
    node.handshake = start(side, Incarnation(incarnation(side, node.lives)));
}

/// A link is accepted into a slot of `side`, dialled by the partner or a stranger.
pub(crate) fn accept(world: &mut World, side: Side, stranger: bool) -> Option<LinkSlot> {
    let slot = world.node(side).handshake.slot_for_newcomer()?;
    close_slot(world, side, slot);
    let node = world.node_mut(side);
    node.handshake.accepted(slot);
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
    let live = link.is_some_and(|link| link.live && !link.stranger);
    if let (true, Some(dialled)) = (live, &mut world.node_mut(1 - side).dialled) {
        dialled.live = false;
    }
}

/// The acceptor closes a link, or learns that it is gone.
fn close_slot(world: &mut World, side: Side, slot: LinkSlot) {
    if world.node(side).link(slot).is_none() {
        return;
    }
    unlink(world, side, slot);
    world.node_mut(side).handshake.slot_closed(slot);
}

/// The dialled link failed, or an operation on it did.
fn lose_link(world: &mut World, side: Side) {
    let node = world.node_mut(side);
    node.operation = None;
    let Some(dialled) = node.dialled.take() else { return };
    node.handshake.link_down();
    if let (true, Some(link)) = (dialled.live, world.node_mut(1 - side).link_mut(dialled.slot)) {
        link.live = false;
    }
}

/// The bytes of the WRITE that a node would post now.
fn write_of(world: &World, side: Side) -> Option<Write> {
    let handshake = &world.node(side).handshake;
    match next_step(world.node(side))? {
        Step::WriteGreeting => Some(Write::Greeting(handshake.greeting())),
        Step::WriteConfirmation => Some(Write::Confirmation(handshake.confirmation())),
        _ => None,
    }
}

/// Keeps what a node says, for the stranger and for the properties.
fn note(world: &mut World, side: Side, write: &Write) {
    capture(world, Captured::Letter { from: side, write: write.clone() });
    if let Write::Confirmation(bytes) = write {
        world.node_mut(side).said = Confirmation::decode(bytes).ok().map(|confirmation| confirmation.session);
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
    note(world, side, &write);
    world.node_mut(side).handshake.posted();
    if let Some(link) = far_end(world, side) {
        link.late = Some(write);
    }
}

/// Posts the next operation and carries it out; a READ is answered with what `answer` makes of the partner's page.
fn execute(world: &mut World, side: Side, answer: impl FnOnce(Box<Page>) -> Box<Page>) {
    let Some(write) = write_of(world, side) else {
        let (mut bytes, alive) = (answer(world.node(1 - side).page()), world.node(1 - side).incarnation());
        let node = world.node_mut(side);
        keep_own(&mut bytes, node.dialled.as_ref());
        node.operation = Some(Operation::Read { bytes, alive });
        return node.handshake.posted();
    };
    note(world, side, &write);
    let may_repeat = world.budget.repeat > 0;
    if let Some(link) = far_end(world, side) {
        write.land(&mut link.mailbox);
        if may_repeat && !link.past.contains(&write) {
            link.past.push(write.clone());
        }
    }
    let node = world.node_mut(side);
    node.handshake.posted();
    match write {
        Write::Greeting(_) => node.handshake.write_done(),
        Write::Confirmation(_) => node.operation = Some(Operation::Confirmation),
    }
}

/// Blanks the acknowledgements of other links, which nobody will look at: states that differ in them alone are one.
fn keep_own(page: &mut Page, dialled: Option<&Dialled>) {
    for (slot, ack) in LinkSlot::all().zip(page[status::ACK_OFFSET..].chunks_exact_mut(status::ACK_BYTES)) {
        if dialled.is_none_or(|dialled| dialled.slot != slot) {
            ack.fill(0);
        }
    }
}

fn execute_rest(world: &mut World, side: Side) {
    let (page, alive) = (world.node(1 - side).page(), world.node(1 - side).incarnation());
    let node = world.node_mut(side);
    let Some(Operation::HalfRead { mut bytes, core_first }) = node.operation.take() else { return };
    let rest = if core_first { status::ACK_OFFSET..status::HANDSHAKE_BYTES } else { 0..status::ACK_OFFSET };
    bytes[rest.clone()].copy_from_slice(&page[rest]);
    keep_own(&mut bytes, node.dialled.as_ref());
    node.operation = Some(Operation::Read { bytes, alive });
}

fn complete(world: &mut World, side: Side) {
    let node = world.node_mut(side);
    let (bytes, alive) = match node.operation.take() {
        Some(Operation::Read { bytes, alive }) => (bytes, alive),
        Some(Operation::Confirmation) => return node.handshake.write_done(),
        other => return node.operation = other,
    };
    let before = node.handshake.phase();
    node.handshake.read_done(&bytes);
    let left = node.handshake.take_ended() == Some(EndReason::PartnerLeft);
    let acknowledged = before == Some(Phase::Check) && node.handshake.phase() == Some(Phase::Confirm);
    if acknowledged {
        node.checked = alive;
        capture(world, Captured::Page { of: 1 - side, bytes });
    }
    if left {
        world.marks |= World::LEFT;
    }
}

fn look(world: &mut World, side: Side, slot: LinkSlot, torn: bool) {
    let node = world.node_mut(side);
    let Some(mut bytes) = node.link(slot).map(|link| link.mailbox) else { return };
    if torn {
        bytes[mailbox::GREETING_BYTES / 2] ^= 1;
    }
    let answer = node.handshake.mailbox(slot, &bytes);
    if let Some(earlier) = answer.close {
        close_slot(world, side, earlier);
    }
}

fn old_page(world: &mut World, side: Side, number: usize, mixed: bool) {
    let Some(Captured::Page { bytes, .. }) = world.captured.get(number) else { return };
    let mut bytes = bytes.clone();
    let alive = world.node(1 - side).incarnation();
    if mixed {
        bytes[status::ACK_OFFSET..].copy_from_slice(&world.node(1 - side).page()[status::ACK_OFFSET..]);
    }
    let node = world.node_mut(side);
    node.operation = Some(Operation::Read { bytes, alive });
    node.handshake.posted();
}
