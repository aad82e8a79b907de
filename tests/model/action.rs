//! Everything that may happen next, and which of it is a fault.
//!
//! What nobody can see is no step of its own: that a dialler learns of its accepted dial (it does nothing before it knows, and said
//! nothing that could count), that the WRITE of a greeting completes (a link that fails before or after leaves the same), and that a
//! process which died starts again (a process that has done nothing yet is as good as none).

use crate::world::{Budget, Captured, Node, Operation, Side, World};
use handfast::fabric::LinkSlot;
use handfast::handshake::Action as Step;

/// One step of the world. The side is the node it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Dials, the other side accepts, and the link stands.
    Dial(Side),
    /// Posts the next operation, which is carried out at once. The WRITE of a greeting completes as well.
    Execute(Side),
    /// A torn READ fetches its second half.
    ExecuteRest(Side),
    /// Its operation completes well.
    Complete(Side),
    /// Looks at a mailbox.
    Look(Side, LinkSlot),
    /// Learns that the accepting end of its link is gone.
    LinkLost(Side),
    /// Learns that the dialling end of an accepted link is gone.
    SlotLost(Side, LinkSlot),
    /// A WRITE of a dialler that has gone since lands.
    Land(Side, LinkSlot),
    /// Publishes its newest status.
    Publish(Side),
    /// A fault.
    Fault(Fault, Side),
}

/// What goes wrong, each as often as the budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The process dies, and another one starts; with `late`, a WRITE it had posted may still land.
    Crash { late: bool },
    /// The dialled link fails, or an operation on it (carried out or not); with `late`, the WRITE just posted may still land.
    Cut { late: bool },
    /// The accepted link fails.
    Drop(LinkSlot),
    /// WRITE number so-and-so of this link is carried out again.
    Repeat(LinkSlot, usize),
    /// A READ finds a section half-written: the core, or the acknowledgements.
    HalfWritten { core: bool },
    /// A READ is carried out in two halves.
    Split { core_first: bool },
    /// Looks at a mailbox whose greeting is just being written.
    LookTorn(LinkSlot),
    /// A stranger dials and is accepted.
    StrangerDials,
    /// A stranger writes into its mailbox.
    StrangerWrites(LinkSlot, Forgery),
    /// A READ is answered with an old page of the partner; `mixed`: with today's acknowledgements.
    OldPage { number: usize, mixed: bool },
    /// Leaves in order.
    Leave,
    /// Ends its session: the partner did not name it in time, or the exchange after the handshake failed.
    End,
}

/// What a stranger can write without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Forgery {
    /// The partner's next word, made up from its status block, without a proof.
    Bare,
    /// The same with a made-up proof.
    FalseProof,
    /// Something captured, as it is.
    Replay(usize),
    /// A captured greeting, made to name the current words; or what a node itself confirmed, in its partner's name.
    Patched(usize),
}

impl Fault {
    /// What it costs.
    pub(crate) fn budget(self, budget: &mut Budget) -> &mut u8 {
        match self {
            Self::Crash { .. } => &mut budget.crash,
            Self::Cut { .. } => &mut budget.cut,
            Self::Drop(_) => &mut budget.drop,
            Self::Repeat(..) => &mut budget.repeat,
            Self::HalfWritten { .. } | Self::Split { .. } | Self::LookTorn(_) => &mut budget.torn,
            Self::StrangerDials => &mut budget.dial,
            Self::StrangerWrites(..) => &mut budget.letter,
            Self::OldPage { .. } => &mut budget.old_page,
            Self::Leave => &mut budget.leave,
            Self::End => &mut budget.end,
        }
    }
}

/// The operation that the node would post now.
pub(crate) fn next_step(node: &Node) -> Option<Step> {
    (node.dialled.is_some() && node.operation.is_none()).then(|| node.handshake.action())
}

/// Whether it would WRITE, and may: what a node says, it publishes first.
fn would_write(node: &Node) -> bool {
    node.published.is_none() && matches!(next_step(node), Some(Step::WriteGreeting | Step::WriteConfirmation))
}

fn would_read(node: &Node) -> bool {
    matches!(next_step(node), Some(Step::Read { .. }))
}

fn side_of(action: Action) -> Side {
    match action {
        Action::Dial(side)
        | Action::Execute(side)
        | Action::ExecuteRest(side)
        | Action::Complete(side)
        | Action::Look(side, _)
        | Action::LinkLost(side)
        | Action::SlotLost(side, _)
        | Action::Land(side, _)
        | Action::Publish(side)
        | Action::Fault(_, side) => side,
    }
}

/// Whether an action that is no fault may happen.
pub(crate) fn is_enabled(world: &World, action: Action) -> bool {
    let side = side_of(action);
    let (node, other) = (world.node(side), world.node(1 - side));
    let live = node.dialled.as_ref().is_some_and(|dialled| dialled.live);
    match action {
        Action::Dial(_) => node.dialled.is_none() && other.handshake.slot_for_newcomer().is_some(),
        Action::Execute(_) => live && (would_read(node) || would_write(node)),
        Action::ExecuteRest(_) => live && matches!(node.operation, Some(Operation::HalfRead { .. })),
        Action::Complete(_) => matches!(node.operation, Some(Operation::Read { .. } | Operation::Confirmation)),
        Action::Look(_, slot) => node.link(slot).is_some(),
        Action::LinkLost(_) => node.dialled.as_ref().is_some_and(|dialled| !dialled.live),
        Action::SlotLost(_, slot) => node.link(slot).is_some_and(|link| !link.live),
        Action::Land(_, slot) => node.link(slot).is_some_and(|link| link.late.is_some()),
        Action::Publish(_) => node.published.is_some(),
        Action::Fault(..) => false,
    }
}

/// All that is no fault, in a fixed order.
pub(crate) fn plain(side: Side) -> impl Iterator<Item = Action> {
    let single = [
        Action::LinkLost(side),
        Action::Dial(side),
        Action::Execute(side),
        Action::ExecuteRest(side),
        Action::Complete(side),
        Action::Publish(side),
    ];
    let slots = LinkSlot::all()
        .flat_map(move |slot| [Action::Look(side, slot), Action::SlotLost(side, slot), Action::Land(side, slot)]);
    single.into_iter().chain(slots)
}

/// Every fault that may happen to a node now.
pub(crate) fn faults(world: &World, side: Side) -> Vec<Fault> {
    let (node, budget) = (world.node(side), &world.budget);
    let mut faults = Vec::new();
    let mut add = |when: bool, fault: Fault| {
        if when {
            faults.push(fault);
        }
    };
    let live = node.dialled.as_ref().is_some_and(|dialled| dialled.live);
    let (writes, reads) = (live && would_write(node), would_read(node));
    for late in [false, true] {
        add(budget.crash > 0 && (!late || writes), Fault::Crash { late });
        add(budget.cut > 0 && node.dialled.is_some() && (!late || writes), Fault::Cut { late });
    }
    for flag in [false, true] {
        add(budget.torn > 0 && live && reads, Fault::HalfWritten { core: flag });
        add(budget.torn > 0 && live && reads, Fault::Split { core_first: flag });
    }
    add(budget.leave > 0 && !node.is_leaving(), Fault::Leave);
    add(budget.end > 0 && node.established().is_some(), Fault::End);
    add(budget.dial > 0, Fault::StrangerDials);
    if budget.old_page > 0 && reads {
        for number in 0..world.captured.len() {
            let page = matches!(&world.captured[number], Captured::Page { of, .. } if *of != side);
            add(page, Fault::OldPage { number, mixed: false });
            add(page && live, Fault::OldPage { number, mixed: true });
        }
    }
    for slot in LinkSlot::all() {
        mailbox_faults(world, side, slot, &mut add);
    }
    faults
}

fn mailbox_faults(world: &World, side: Side, slot: LinkSlot, mut add: impl FnMut(bool, Fault)) {
    let budget = &world.budget;
    let Some(link) = world.node(side).link(slot) else { return };
    add(budget.drop > 0 && link.live && !link.stranger, Fault::Drop(slot));
    add(budget.torn > 0, Fault::LookTorn(slot));
    if budget.repeat > 0 {
        for (number, write) in link.past.iter().enumerate() {
            add(!write.lies_in(&link.mailbox), Fault::Repeat(slot, number));
        }
    }
    let key = world.node(side).handshake.parties().key.is_some();
    if budget.letter > 0 && (link.stranger || key) {
        // Where there is no key, whoever makes up a greeting is the partner for all anybody knows: only repetition is a fault there.
        add(key, Fault::StrangerWrites(slot, Forgery::Bare));
        add(key, Fault::StrangerWrites(slot, Forgery::FalseProof));
        for (number, captured) in world.captured.iter().enumerate() {
            let letter = matches!(captured, Captured::Letter { .. });
            add(letter, Fault::StrangerWrites(slot, Forgery::Replay(number)));
            add(key && letter, Fault::StrangerWrites(slot, Forgery::Patched(number)));
        }
    }
}
