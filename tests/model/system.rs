//! The model: where it starts, what may happen, and what must hold in every state.

use crate::action::{Action, faults, is_enabled, plain};
use crate::continuation::{Continuation, Schedule};
use crate::step::{accept, apply};
use crate::world::{Budget, Hashed, Node, Side, World, hash_of, incarnation};
use handfast::fabric::LinkSlot;
use handfast::handshake::{Handshake, Parties, Phase, PreSharedKey};
use handfast::page::status::{Snapshot, Verdict};
use handfast::page::{Incarnation, VersionRange};
use stateright::{Model, Property};
use std::sync::Arc;

/// What is explored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    pub name: &'static str,
    /// Both nodes have the key. A stranger then writes into the mailboxes of others' links too: their keys can be guessed.
    pub key: bool,
    pub budget: Budget,
    /// Publishing is a step of its own.
    pub late_publish: bool,
    /// Links that strangers hold at each node from the start.
    pub strangers: usize,
    /// Under which orders of events each state must come to a session when nothing more goes wrong.
    pub schedules: &'static [Schedule],
    /// Fruitless READs before a step is taken again. The usual number would only add states that differ in the count.
    pub checks_max: u32,
    /// An exploration of fewer states has missed something.
    pub states_min: usize,
}

/// The model of one configuration.
pub(crate) struct System {
    pub configuration: Configuration,
    parties: [Parties; 2],
    pub continuation: Continuation,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

impl System {
    pub(crate) fn new(configuration: Configuration) -> Outcome<Self> {
        let key = if configuration.key { Some(PreSharedKey::new(&[0x6b; 32])?) } else { None };
        let parties = |node: &str, partner: &str| -> Outcome<Parties> {
            Ok(Parties {
                cluster: "cluster".parse()?,
                node: node.parse()?,
                partner: partner.parse()?,
                versions: VersionRange::CURRENT,
                key: key.clone(),
            })
        };
        let parties = [parties("a", "b")?, parties("b", "a")?];
        Ok(Self { configuration, parties, continuation: Continuation::default() })
    }

    /// A new process.
    pub(crate) fn start(&self, side: Side, incarnation: Incarnation) -> Handshake {
        let mut seed = [side as u8 + 1; 32];
        seed[..8].copy_from_slice(&incarnation.0.to_le_bytes());
        Handshake::new(self.parties[side].clone(), incarnation, seed).with_checks_max(self.configuration.checks_max)
    }

    /// Carries out an action and brings the result into its normal form.
    fn step(&self, before: &World, action: Action) -> World {
        let mut world = before.clone();
        apply(&|side, incarnation| self.start(side, incarnation), &mut world, action);
        if world.budget.repeat == 0 && before.budget.repeat > 0 {
            for side in 0..2 {
                world.node_mut(side).slots.iter_mut().flatten().for_each(|link| link.past.clear());
            }
        }
        if world.budget.letter == 0 && world.budget.old_page == 0 && !world.captured.is_empty() {
            world.captured = Arc::default();
        }
        for side in 0..2 {
            if !Arc::ptr_eq(&world.nodes[side], &before.nodes[side]) {
                let old = before.node(side);
                if has_changed_untold(old, world.node(side)) {
                    world.marks |= World::UNTOLD;
                }
                if self.configuration.late_publish && !matches!(action, Action::Publish(_)) {
                    hold_back(old, world.node_mut(side));
                }
                normalise(world.node_mut(side));
                rehash(&mut world, side);
            }
        }
        world
    }

    /// The first fault may as well be that of the second node: both run the same code.
    fn sides_of_faults(&self, world: &World) -> std::ops::Range<Side> {
        if world.budget == self.configuration.budget { 1..2 } else { 0..2 }
    }
}

/// The status of the same process changed, and its edition (zero in the normal form) did not.
fn has_changed_untold(old: &Node, new: &Node) -> bool {
    let (was, is) = (&old.handshake, &new.handshake);
    old.lives == new.lives && is.edition() == was.edition() && is.encode() != was.encode()
}

/// What was published before stays so until the node publishes again.
fn hold_back(old: &Node, new: &mut Node) {
    if old.lives == new.lives {
        let page = old.page();
        new.published = (*page != new.handshake.encode()).then_some(page);
    }
}

/// Drops what no later step depends on.
pub(crate) fn normalise(node: &mut Node) {
    node.handshake.forget_history();
    if node.phase() < Some(Phase::Confirm) {
        node.checked = 0;
    }
}

pub(crate) fn rehash(world: &mut World, side: Side) {
    let hashed = Arc::make_mut(&mut world.nodes[side]);
    hashed.hash = hash_of(&hashed.node);
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let node = |side| {
            let handshake = self.start(side, Incarnation(incarnation(side, 1)));
            let slots = std::array::from_fn(|_| None);
            Hashed::new(Node {
                handshake,
                lives: 1,
                dialled: None,
                operation: None,
                slots,
                published: None,
                checked: 0,
                said: None,
            })
        };
        let mut world =
            World { nodes: [node(0), node(1)], budget: self.configuration.budget, captured: Arc::default(), marks: 0 };
        for side in 0..2 {
            for _ in 0..self.configuration.strangers {
                accept(&mut world, side, true);
            }
            normalise(world.node_mut(side));
            rehash(&mut world, side);
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for side in 0..2 {
            actions.extend(plain(side).filter(|action| is_enabled(world, *action)));
        }
        for side in self.sides_of_faults(world) {
            actions.extend(faults(world, side).into_iter().map(|fault| Action::Fault(fault, side)));
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let world = self.step(before, action);
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let Budget { crash, cut, drop, repeat, torn, letter, leave, end, .. } = self.configuration.budget;
        let mut properties = vec![
            Property::always("agreement", |_, world| agree(world)),
            Property::always("freshness", |_, world: &World| (0..2).all(|side| is_fresh(world.node(side)))),
            Property::always("no session with anybody else", |system, world| {
                (0..2).all(|side| is_with_the_partner(system, world, side))
            }),
            Property::always("no session that the partner did not confirm", |_, world| {
                (0..2).all(|side| is_confirmed(world, side))
            }),
            Property::always("every change of the status is told", |_, world: &World| world.marks & World::UNTOLD == 0),
            Property::always("one greeting counts at most", |_, world: &World| {
                (0..2).all(|side| acknowledged(world.node(side)) <= 1)
            }),
            Property::always("a session in the end, and no half-open one for ever", |system, world| {
                let start = |side, incarnation| system.start(side, incarnation);
                let schedules = system.configuration.schedules;
                schedules.iter().all(|schedule| system.continuation.settles(&start, world, *schedule))
            }),
            Property::sometimes("both hold the session", |_, world| both_hold(world)),
        ];
        let mut sometimes = |when: bool, name, condition| {
            if when {
                properties.push(Property::sometimes(name, condition));
            }
        };
        sometimes(crash > 0, "both hold a session after a crash", |_, world| {
            both_hold(world) && (world.node(0).lives > 1 || world.node(1).lives > 1)
        });
        sometimes(cut > 0, "both hold a session after a step 4 that landed and failed", |_, world| {
            both_hold(world) && world.marks & World::LANDED != 0
        });
        sometimes(drop > 0, "both hold a session after an accepted link was lost", |system, world| {
            both_hold(world) && world.budget.drop < system.configuration.budget.drop
        });
        sometimes(end > 0, "both hold a session after one of them ended its own", |system, world| {
            both_hold(world) && world.budget.end < system.configuration.budget.end
        });
        sometimes(repeat > 0, "both hold a session after an old greeting was repeated", |_, world| {
            both_hold(world) && world.marks & World::REPEATED != 0
        });
        sometimes(torn > 0, "both hold a session after a torn page", |system, world| {
            both_hold(world) && world.budget.torn < system.configuration.budget.torn
        });
        sometimes(letter > 0, "a stranger's greeting was refused", |_, world| refuses_a_stranger(world));
        sometimes(leave > 0, "a partner that leaves is seen to leave", |_, world| {
            (0..2).any(|side| world.node(1 - side).is_leaving() && world.marks & World::LEFT != 0)
        });
        if self.is_calm() {
            properties.push(Property::always("a stranger without the key moves nothing", |_, world: &World| {
                (0..2).all(|side| world.node(side).attempt() == 1)
            }));
        }
        properties
    }
}

impl System {
    /// Nothing goes wrong but for a stranger, who lacks the key and finds free slots.
    fn is_calm(&self) -> bool {
        let budget = &self.configuration.budget;
        let only_stranger = Budget { dial: budget.dial, letter: budget.letter, ..Budget::default() };
        self.configuration.key && *budget == only_stranger && budget.dial <= 2 && self.configuration.strangers == 0
    }
}

/// Both hold the same session, know the other's present word, and have read that the other holds it too.
pub(crate) fn both_hold(world: &World) -> bool {
    let (Some(a), Some(b)) = (world.node(0).established(), world.node(1).established()) else { return false };
    let held = world.node(0).is_held() && world.node(1).is_held();
    held && a.id == b.id && a.own == b.partner && a.partner == b.own
}

fn agree(world: &World) -> bool {
    let (Some(a), Some(b)) = (world.node(0).established(), world.node(1).established()) else { return true };
    let current = |one: &handfast::page::Word, other: &handfast::page::Word| {
        one.incarnation == other.incarnation && one.attempt == other.attempt
    };
    let mutual = current(&a.partner, &b.own) && current(&b.partner, &a.own);
    !mutual || (a.id == b.id && a.key == b.key && a.own == b.partner && a.partner == b.own)
}

/// The partner of the session was alive when step 3 was carried out.
fn is_fresh(node: &Node) -> bool {
    node.established().is_none_or(|established| established.partner.incarnation.0 == node.checked)
}

/// The session is with a process that the partner really was, and over a link that stands.
fn is_with_the_partner(system: &System, world: &World, side: Side) -> bool {
    let (node, partner) = (world.node(side), world.node(1 - side));
    let Some(established) = node.established() else { return true };
    let word = established.partner;
    let real = (1..=partner.lives).any(|life| incarnation(1 - side, life) == word.incarnation.0);
    let now = partner.handshake.own();
    let same_nonce = (now.incarnation, now.attempt) != (word.incarnation, word.attempt) || now == word;
    // Without a key, a stranger can repeat what the partner wrote.
    let strangers_may = !system.configuration.key && system.configuration.budget.letter > 0;
    let link = node.link(established.slot).is_some_and(|link| strangers_may || !link.stranger);
    let own = node.handshake.own() == established.own;
    real && same_nonce && link && own
}

/// The partner has really said the session's name, unless its word is another by now.
fn is_confirmed(world: &World, side: Side) -> bool {
    let partner = world.node(1 - side);
    let confirmed = |id, word| partner.handshake.own() != word || partner.said == Some(id);
    world.node(side).established().is_none_or(|established| confirmed(established.id, established.partner))
}

/// What a node publishes about the links that it accepted.
fn verdicts(node: &Node) -> impl Iterator<Item = (LinkSlot, Verdict)> {
    let page = node.handshake.encode();
    LinkSlot::all().filter_map(move |slot| Some((slot, Snapshot::decode(&page, slot).ok()?.ack.verdict)))
}

fn acknowledged(node: &Node) -> usize {
    verdicts(node).filter(|(_, verdict)| *verdict == Verdict::Acknowledged).count()
}

/// A stranger's greeting was looked at and refused.
fn refuses_a_stranger(world: &World) -> bool {
    (0..2).map(|side| world.node(side)).any(|node| {
        let refused = |(slot, verdict)| {
            node.link(slot).is_some_and(|link| link.stranger)
                && !matches!(verdict, Verdict::None | Verdict::Acknowledged)
        };
        verdicts(node).any(refused)
    })
}
