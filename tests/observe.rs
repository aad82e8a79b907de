//! Reading a node's page one-sided, on the simulator: while the node does nothing, before any session, and where nobody is.

use handfast::error::Error;
use handfast::fabric::FabricError;
use handfast::fabric::sim::{Faults, Sim, SimNode};
use handfast::manager::{Client, ClientSpec, ClusterManager, LostReason, NodeConfig, Unavailable};
use handfast::session::observe::Observer;
use handfast::session::{Session, StatusReport};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Silent;

impl Client<SimNode> for Silent {
    fn on_ready(&mut self, _session: Session<SimNode>) {}
    fn on_lost(&mut self, _reason: &LostReason) {}
    fn on_unavailable(&mut self, _reason: &Unavailable) {}
}

fn booting(sim: &Sim) -> Result<ClusterManager<SimNode>, Box<dyn std::error::Error>> {
    let (at, partner_at) = ("sim://a:1".parse()?, "sim://b:1".parse()?);
    let config = NodeConfig::new("pair".parse()?, "a".parse()?, at, "b".parse()?, partner_at);
    let mut manager = ClusterManager::boot(sim.node("a"), config)?;
    manager.client(ClientSpec::new("log".parse()?).ports(2).memory(4096), Box::new(Silent))?;
    manager.stage("replaying log", 40, 100);
    Ok(manager)
}

fn read(sim: &Sim) -> Result<StatusReport, Error> {
    let observer_node = sim.node("watcher");
    let address = "sim://a:1".parse().map_err(FabricError::from)?;
    let mut observer = Observer::begin(&observer_node, &address, Duration::from_secs(2))?;
    loop {
        if let Some(report) = observer.poll()? {
            return Ok(report);
        }
        sim.advance(Duration::from_micros(5));
    }
}

#[test]
fn a_node_that_does_nothing_is_read_all_the_same() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let manager = booting(&sim)?;
    sim.pause("a");
    let report = read(&sim)?;
    assert_eq!((report.cluster.as_str(), report.node.as_str()), ("pair", "a"));
    assert_eq!((report.stage.as_str(), report.progress.percent()), ("replaying log", Some(40)));
    assert_eq!(report.incarnation, manager.incarnation());
    assert_eq!((report.session, report.has_key, report.leaving), (None, false, false));
    let clients: Vec<_> =
        report.clients.iter().map(|client| (client.name.as_str(), client.ports, client.memory)).collect();
    assert_eq!(clients, [("log", 2, 4096)]);
    Ok(())
}

#[test]
fn stage_and_progress_change_under_the_readers_eyes() -> Outcome {
    let sim = Sim::new(2, Faults::none());
    let mut manager = booting(&sim)?;
    manager.stage("replaying log", 90, 100);
    assert_eq!(read(&sim)?.progress.percent(), Some(90));
    manager.stage("opening tables", 0, 0);
    let report = read(&sim)?;
    assert_eq!((report.stage.as_str(), report.progress.percent()), ("opening tables", None));
    Ok(())
}

#[test]
fn torn_reads_are_read_again() -> Outcome {
    let mut faults = Faults::none();
    faults.tear_read_ppm = 1_000_000;
    let sim = Sim::new(3, faults);
    let mut manager = booting(&sim)?;
    for round in 0..200 {
        manager.stage(&format!("stage {round}"), round, 200);
        while manager.poll().is_some() {}
        assert!(read(&sim)?.stage.starts_with("stage ") || round == 0);
    }
    Ok(())
}

#[test]
fn nobody_there_is_an_error_that_names_the_address() -> Outcome {
    let sim = Sim::new(4, Faults::none());
    let outcome = read(&sim);
    let Err(Error::Fabric(FabricError::NotListening { address, .. })) = outcome else {
        return Err(format!("{outcome:?}").into());
    };
    assert_eq!(address.to_string(), "sim://a:1");
    Ok(())
}
