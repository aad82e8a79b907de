//! Which clients the two tables have in common, and what each of them gets: computed alike on both nodes.

use crate::manager::client::{ClientSpec, PORTS_MAX, Unavailable};
use crate::manager::tables::OfferEntry;
use crate::page::identity::ClientName;

/// A client that both nodes have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its place in our roster.
    pub(crate) index: usize,
    pub(crate) name: ClientName,
    /// Ports on each side.
    pub(crate) ports: u16,
    /// Memory that the counterpart asks for here.
    pub(crate) memory_here: u64,
    /// Memory that our client asks for there.
    pub(crate) memory_there: u64,
}

/// The common clients by name, and for each other client of ours why it is not among them.
pub(crate) fn matched(ours: &[ClientSpec], theirs: &[OfferEntry]) -> (Vec<Match>, Vec<(usize, Unavailable)>) {
    let (mut matches, mut others) = (Vec::new(), Vec::new());
    for (index, spec) in ours.iter().enumerate() {
        match theirs.iter().find(|entry| entry.name == spec.name) {
            Some(entry) => matches.push(Match {
                index,
                name: spec.name,
                ports: spec.ports.max(entry.ports),
                memory_here: entry.memory,
                memory_there: spec.memory,
            }),
            None => others.push((index, Unavailable::NotAtPartner)),
        }
    }
    // By name, not by order of registration: the ports run out for the same clients on both nodes.
    matches.sort_by_key(|common| common.name);
    let mut left = PORTS_MAX;
    matches.retain(|common| match left.checked_sub(common.ports) {
        Some(rest) => {
            left = rest;
            true
        }
        None => {
            others.push((common.index, Unavailable::TooManyPorts { max: PORTS_MAX }));
            false
        }
    });
    (matches, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_nodes_match_alike() -> Result<(), crate::page::NameError> {
        let spec = |name: &str, ports, memory| {
            Ok::<_, crate::page::NameError>(ClientSpec::new(name.parse()?).ports(ports).memory(memory))
        };
        let ours = [spec("z", 300, 1)?, spec("a", 300, 2)?, spec("only-here", 1, 0)?];
        let theirs = [spec("a", 2, 3)?, spec("z", 1, 4)?, spec("only-there", 1, 0)?];
        let offer = |specs: &[ClientSpec]| -> Vec<OfferEntry> {
            specs.iter().map(|spec| OfferEntry { name: spec.name, ports: spec.ports, memory: spec.memory }).collect()
        };
        let (here, others) = matched(&ours, &offer(&theirs));
        let (there, _) = matched(&theirs, &offer(&ours));
        assert_eq!(here.len(), 1);
        assert_eq!((here[0].name, here[0].ports), (there[0].name, there[0].ports));
        assert_eq!((here[0].memory_here, here[0].memory_there), (3, 2));
        assert_eq!((there[0].memory_here, there[0].memory_there), (2, 3));
        assert_eq!(others, [(2, Unavailable::NotAtPartner), (0, Unavailable::TooManyPorts { max: PORTS_MAX })]);
        Ok(())
    }
}
