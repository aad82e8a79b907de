//! What sessions between two managers do: what establishes one, what stands in the way, what ends it.

use crate::duo::{self, Duo};
use crate::process::node::{CLIENTS, NAMES, Node, config, key, text_here, write_through};
use crate::under_test::{self, UnderTest};
use handfast::handshake::Obstacle;
use handfast::manager::{Event, NodeConfig, Unavailable};
use handfast::page::VersionRange;
use handfast::session::observe;
use std::time::Duration;

pub(crate) fn established_whoever_comes_first() {
    for first in [0, 1] {
        for keyed in [false, true] {
            let mut duo = Duo::new("order");
            if keyed {
                duo.configure(|_, config| config.key(key(7)));
            }
            duo.start(first);
            duo.run_for(Duration::from_millis(20));
            assert!(duo.node(first).manager.session().is_none());
            duo.start(1 - first);
            duo.until_ready();
            duo.check_words();
            let ids = [0, 1].map(|index| duo.node(index).manager.session());
            assert_eq!(ids[0], ids[1]);
            let name = duo.name.clone();
            drop(duo);
            assert_eq!(under_test::leftovers(&name), Vec::<std::path::PathBuf>::new());
        }
    }
}

pub(crate) fn four_steps_are_timed_and_the_key_is_told() {
    let mut duo = Duo::new("told");
    duo.configure(|_, config| config.key(key(7)));
    duo.start_both();
    duo.until_ready();
    for index in 0..2 {
        let told = duo.node(index).events.iter().find_map(|event| match event {
            Event::Established { steps, authentication, version, .. } => Some((*steps, *authentication, *version)),
            _ => None,
        });
        let (steps, authentication, version) = told.expect("an event");
        assert_eq!(authentication.to_string(), "pre-shared key");
        assert_eq!(version, VersionRange::CURRENT.max);
        assert!(steps.iter().all(|step| step.ns > 0), "a step took no time: {steps:?}");
    }
}

/// Boots both as configured, and gives each the obstacle it must tell.
fn stopped_by(title: &str, configure: impl Fn(usize, NodeConfig) -> NodeConfig, words: [&str; 2]) {
    let mut duo = Duo::new(title);
    duo.configure(configure);
    duo.start_both();
    for (index, words) in words.into_iter().enumerate() {
        duo.until(&format!("{} tells `{words}`", NAMES[index]), |duo| {
            duo.obstacles(index).iter().any(|obstacle| obstacle.contains(words))
        });
    }
    duo.run_for(Duration::from_millis(30));
    for (index, name) in NAMES.into_iter().enumerate() {
        assert!(duo.node(index).manager.session().is_none(), "a session all the same: {title}");
        // One line for each thing that stands in the way, not one for each try.
        let told = duo.obstacles(index);
        assert!(told.len() < 8, "{name} told {} obstacles in 30 ms: {told:?}", told.len());
    }
}

pub(crate) fn different_keys_are_told_on_both_sides() {
    let configure = |index: usize, config: NodeConfig| config.key(key(index as u8));
    stopped_by("keys", configure, ["keys differ", "keys differ"]);
}

pub(crate) fn a_key_on_one_side_is_told_on_both() {
    let configure = |index, config: NodeConfig| if index == 0 { config.key(key(7)) } else { config };
    let words = [
        "this node has a pre-shared key and the partner has none",
        "the partner has a pre-shared key and this node has none",
    ];
    stopped_by("one-key", configure, words);
}

pub(crate) fn versions_that_do_not_meet_are_named_on_both_sides() {
    let configure = |index, config: NodeConfig| {
        let (min, max) = if index == 0 { (1, 2) } else { (3, 4) };
        config.versions(VersionRange { min, max })
    };
    let range = |min, max| VersionRange { min, max };
    let told = |ours, theirs| Obstacle::Versions { ours, theirs }.to_string();
    stopped_by("versions", configure, [&told(range(1, 2), range(3, 4)), &told(range(3, 4), range(1, 2))]);
}

pub(crate) fn the_highest_common_version_is_taken() {
    let mut duo = Duo::new("common");
    duo.configure(|index, config| config.versions(VersionRange { min: 1, max: [7, 3][index] }));
    duo.start_both();
    duo.until_ready();
    let version =
        |duo: &Duo, index| duo.node(index).manager.connection().handshake().established().map(|held| held.version);
    assert_eq!([version(&duo, 0), version(&duo, 1)], [Some(3), Some(3)]);
}

pub(crate) fn a_node_of_another_cluster_is_told_as_such() {
    let mut duo = Duo::new("cluster");
    let name = duo.name.clone();
    duo.configure(
        move |index, config| {
            if index == 0 { config } else { duo::config_in("elsewhere", &name, NAMES[1], 1, NAMES[0]) }
        },
    );
    duo.start_both();
    for (index, words) in [(0, "belongs to cluster `elsewhere`"), (1, "belongs to cluster `processes`")] {
        duo.until(words, |duo| duo.obstacles(index).iter().any(|obstacle| obstacle.contains(words)));
    }
    assert!((0..2).all(|index| duo.node(index).manager.session().is_none()));
}

pub(crate) fn another_node_at_the_partners_address_is_told_as_such() {
    let mut duo = Duo::new("node");
    let name = duo.name.clone();
    duo.configure(
        move |index, config| {
            if index == 0 { config } else { duo::config_in("processes", &name, "c", 1, NAMES[0]) }
        },
    );
    duo.start_both();
    for (index, words) in [(0, "belongs to node `c`, and the partner is to be `b`"), (1, "expects another node here")] {
        duo.until(words, |duo| duo.obstacles(index).iter().any(|obstacle| obstacle.contains(words)));
    }
    assert!((0..2).all(|index| duo.node(index).manager.session().is_none()));
}

pub(crate) fn a_restarted_partner_is_met_again_with_its_new_incarnation() {
    let mut duo = Duo::new("restart");
    duo.configure(|_, config| config.key(key(7)));
    duo.start_both();
    duo.until_ready();
    let mut seen = vec![duo.node(1).manager.incarnation()];
    for round in 1..=5 {
        let session = duo.node(0).manager.session();
        // In this process nothing can be killed: a node that is dropped without having left does what the kernel does for a dead one.
        duo.stop_without_leaving(1);
        duo.start(1);
        duo.until_ready();
        duo.check_words();
        assert_ne!(duo.node(0).manager.session(), session);
        let incarnation = duo.node(1).manager.incarnation();
        assert!(!seen.contains(&incarnation), "an incarnation twice");
        seen.push(incarnation);
        let notes = duo.node(0).clients[0].notes();
        assert_eq!((notes.lost.len(), notes.ready), (round, round as u32 + 1), "{:?}", notes.lost);
        let held = notes.session.as_ref().expect("a session");
        assert_eq!(held.partner_incarnation(), incarnation);
    }
    assert_eq!(duo.node(0).wrong(), Vec::<&str>::new());
}

pub(crate) fn who_leaves_is_told_apart_from_who_dies() {
    let mut duo = Duo::new("leave");
    duo.start_both();
    duo.until_ready();
    duo.leave(1);
    duo.until("the loss is told", |duo| !duo.node(0).clients[0].notes().lost.is_empty());
    let lost = duo.node(0).clients[0].notes().lost.clone();
    assert!(lost[0].contains("the partner left"), "{lost:?}");
    duo.start(1);
    duo.until_ready();
    duo.check_words();
}

pub(crate) fn ports_of_a_lost_session_refuse_every_request() {
    use handfast::fabric::{Port, PortState, PostError, WorkRequest};
    let mut duo = Duo::new("fenced");
    duo.start_both();
    duo.until_ready();
    let (mut port, grant) = {
        let mut notes = duo.node(0).clients[0].notes();
        let grant = notes.session.as_ref().and_then(|session| session.grant()).expect("a grant").clone();
        (notes.ports.remove(0), grant)
    };
    assert_eq!(port.state(), PortState::Ready);
    duo.stop_without_leaving(1);
    duo.until("the loss is told", |duo| !duo.node(0).clients[0].notes().lost.is_empty());
    assert_eq!(port.state(), PortState::Error);
    let refused = port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &grant, 0);
    assert_eq!(refused, Err(PostError::PortInError));
    duo.start(1);
    duo.until_ready();
    let refused = port.post_write_inline(WorkRequest::signalled(1), &[1; 8], &grant, 0);
    assert_eq!(refused, Err(PostError::PortInError), "an old port lives again with a new session");
}

pub(crate) fn more_memory_than_a_node_gives_is_refused_to_that_client_alone() {
    let mut duo = Duo::new("memory");
    duo.configure(|index, config| if index == 0 { config.memory_bytes_max(10_000) } else { config });
    duo.clients = [("greedy", 1, 4000), ("log", 2, 8192)].to_vec();
    duo.start_both();
    duo.until("both are through", |duo| (0..2).all(|index| duo.ready_events(index) > 0));
    // By name, greedy comes first and leaves too little for log.
    let refused = |duo: &Duo, index: usize| duo.node(index).clients[1].notes().unavailable.clone();
    assert_eq!(refused(&duo, 0), [Unavailable::TooMuchMemory { bytes: 8192, max: 10_000 }]);
    assert_eq!(refused(&duo, 1), [Unavailable::FailedThere]);
    for index in 0..2 {
        let served = duo.node(index).clients[0].notes();
        assert!(served.session.is_some() && served.unavailable.is_empty(), "greedy is not served");
    }
}

pub(crate) fn a_client_the_partner_lacks_is_told_and_the_others_go_on() {
    let mut duo = Duo::new("lacks");
    duo.start(0);
    duo.clients = [&CLIENTS[..], &[("only-here", 1, 0)]].concat();
    duo.start(1);
    duo.until("both are through", |duo| (0..2).all(|index| duo.ready_events(index) > 0));
    assert_eq!(duo.node(1).clients[2].notes().unavailable, [Unavailable::NotAtPartner]);
    duo.check_words();
}

/// What an observer reads. Where a dial needs no accept the node is not even polled: its memory answers alone.
fn observed(manager: &mut handfast::manager::ClusterManager<UnderTest>, name: &str) -> handfast::session::StatusReport {
    let address = under_test::address(name, 0);
    let look = || observe(&under_test::fabric(), &address, Duration::from_secs(5)).expect("a report");
    if under_test::ANSWERS_ALONE {
        return look();
    }
    std::thread::scope(|scope| {
        let looking = scope.spawn(look);
        while !looking.is_finished() {
            while manager.poll().is_some() {}
            std::thread::yield_now();
        }
        looking.join().expect("no panic")
    })
}

pub(crate) fn boot_stage_is_seen_before_any_session() {
    let name = duo::unique("stage");
    let mut manager = handfast::manager::ClusterManager::boot(under_test::fabric(), config(&name, 0)).expect("boot");
    for (stage, done, total) in [("reading superblock", 0, 0), ("replaying log", 40, 100), ("replaying log", 41, 100)] {
        manager.stage(stage, done, total);
        let report = observed(&mut manager, &name);
        assert_eq!(
            (report.stage.as_str(), report.progress.done, report.progress.total),
            (stage, done as u32, total as u32)
        );
        assert_eq!((report.session, report.incarnation), (None, manager.incarnation()));
    }
    let mut other = Node::boot(config(&name, 1)).expect("boot");
    let mut seen = false;
    for _ in 0..20_000 {
        while manager.poll().is_some() {}
        seen |= other.poll().iter().any(
            |event| matches!(event, Event::PartnerStage { name, progress } if name == "replaying log" && progress.done == 41),
        );
        std::thread::sleep(Duration::from_micros(100));
        if seen {
            break;
        }
    }
    assert!(seen, "the partner's stage was not told: {:?}", other.events);
}

pub(crate) fn an_address_is_held_by_one_node_at_a_time() {
    let mut duo = Duo::new("held");
    duo.start(0);
    let error = Node::boot(config(&duo.name, 0)).err().expect("refused");
    assert!(error.to_string().contains("in use by"), "{error}");
    duo.start(1);
    duo.until_ready();
}

pub(crate) fn control_threads_open_a_session_and_leave_it() {
    let name = duo::unique("threads");
    let nodes = [0, 1].map(|index| Node::boot(config(&name, index)).expect("boot"));
    let mut clients = Vec::new();
    let threads = nodes.map(|node| {
        clients.push(node.clients[0].clone());
        node.manager.spawn().expect("a control thread")
    });
    let began = std::time::Instant::now();
    while clients.iter().any(|client| client.notes().session.is_none()) {
        assert!(began.elapsed() < Duration::from_secs(10), "not ready in 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
    write_through(&clients[0], "by control thread").expect("written");
    assert_eq!(text_here(&clients[1]).expect("text"), "by control thread");
    let [first, second] = threads;
    first.leave();
    let began = std::time::Instant::now();
    while clients[1].notes().lost.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10), "the partner's leave was not told in 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(clients[1].notes().lost[0].contains("the partner left"));
    drop(second);
    assert_eq!(under_test::leftovers(&name), Vec::<std::path::PathBuf>::new());
}

/// Neither could tell the other from itself: not even a reflection of its own page.
pub(crate) fn a_partner_of_ones_own_name_is_refused() {
    let name = duo::unique("same");
    let config = duo::config_in("processes", &name, NAMES[0], 0, NAMES[0]);
    let error = Node::boot(config).err().expect("refused").to_string();
    assert!(error.contains("both named `a`"), "{error}");
}
