//! What was promised of one log, life by life, and whether what was read keeps it. Numbers alone: the rig, which stands outside of the
//! nodes, uses it as it is.

use std::collections::BTreeMap;

/// Who wrote: which start of the process, and which of its producers.
pub(crate) type Who = (u32, u8);

/// Records of one producer in one life, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) generation: u32,
}

/// What was read of a log.
pub(crate) type Seen = BTreeMap<Who, Stretch>;

/// What a node has told of one producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its records up to this one are acknowledged.
    pub(crate) acknowledged: u64,
    /// It began no record behind this one.
    pub(crate) begun: u64,
    /// Its records up to this one may be truncated.
    pub(crate) dropped: u64,
}

/// What an earlier life left, as read at the start of a later one: records up to `most`, of which those up to `least` were acknowledged.
#[derive(Debug, Clone, Copy)]
struct Left {
    least: u64,
    most: u64,
}

/// Figures of one reading.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Checked {
    /// Of the records read, acknowledged before.
    pub(crate) acknowledged: u64,
    /// Of these, not known to be acknowledged.
    pub(crate) more: u64,
}

pub(crate) struct Promises {
    producers: u8,
    left: BTreeMap<Who, Left>,
    generations: BTreeMap<u32, u32>,
    life: u32,
}

impl Promises {
    pub(crate) fn new(producers: u8) -> Self {
        Self { producers, left: BTreeMap::new(), generations: BTreeMap::new(), life: 0 }
    }

    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// What was restored at the start of the present life is acknowledged anew: it stays whole.
    pub(crate) fn settled(&mut self) {
        self.left.values_mut().for_each(|left| left.least = left.most);
    }

    /// What must be there of a producer, what may be, and what may be gone.
    fn bounds(&self, who: Who, told: Told, restored: bool) -> (u64, u64, u64) {
        match self.left.get(&who) {
            Some(left) if restored => (left.most, left.most, told.dropped),
            Some(left) => (left.least, left.most, told.dropped),
            None => (told.acknowledged, told.begun, told.dropped),
        }
    }

    /// A reading must hold everything that is acknowledged and not truncated; `restored`: what was restored at the last start as well, whether
    /// it was acknowledged or not.
    pub(crate) fn check(&mut self, seen: &Seen, told: impl Fn(Who) -> Told, restored: bool) -> Result<Checked, String> {
        self.check_generations(seen)?;
        let mut checked = Checked::default();
        let mut wanted: Vec<Who> = self.left.keys().copied().collect();
        wanted.extend((0..self.producers).map(|producer| (self.life, producer)));
        for who in wanted {
            let (least, most, dropped) = self.bounds(who, told(who), restored);
            let says =
                format!("life {}, producer {}: acknowledged {least}, begun {most}, truncated {dropped}", who.0, who.1);
            let Some(Stretch { first, last, .. }) = seen.get(&who).copied() else {
                if least > dropped {
                    return Err(format!("LOST {} acknowledged records: {says}; none was read", least - dropped));
                }
                continue;
            };
            let says = format!("{says}; {first} to {last} were read");
            if first > dropped + 1 {
                return Err(format!("LOST {} records at the tail: {says}", first - dropped - 1));
            }
            if last < least {
                return Err(format!("LOST {} acknowledged records: {says}", least - last));
            }
            if last > most {
                return Err(format!("records that nobody wrote: {says}"));
            }
            let acknowledged = (least + 1).saturating_sub(first);
            checked.acknowledged += acknowledged;
            checked.more += last + 1 - first - acknowledged;
        }
        match seen.keys().find(|who| who.0 != self.life && !self.left.contains_key(who)) {
            Some(stranger) => Err(format!("records of {stranger:?}, which were not there at the last start")),
            None => Ok(checked),
        }
    }

    /// Each life has one generation, and they rise.
    fn check_generations(&mut self, seen: &Seen) -> Result<(), String> {
        for ((life, _), Stretch { generation, .. }) in seen {
            let known = *self.generations.entry(*life).or_insert(*generation);
            if known != *generation {
                return Err(format!("life {life} wrote in generations {known} and {generation}"));
            }
        }
        let rising = self.generations.values().zip(self.generations.values().skip(1)).all(|(one, next)| one < next);
        if rising { Ok(()) } else { Err(format!("generations do not rise from life to life: {:?}", self.generations)) }
    }

    /// The log was opened anew with what was read, which [`Promises::check`] has seen.
    pub(crate) fn reopened(
        &mut self,
        seen: &Seen,
        told: impl Fn(Who) -> Told,
        life: u32,
        generation: u32,
    ) -> Result<(), String> {
        let mut left = BTreeMap::new();
        for (who, Stretch { last, .. }) in seen {
            let (least, _, _) = self.bounds(*who, told(*who), false);
            left.insert(*who, Left { least, most: *last });
        }
        // A truncation need not last: where the copy goes back to its file, what was freed since may be there again.
        let earlier = self.left.keys().copied().chain((0..self.producers).map(|producer| (self.life, producer)));
        for who in earlier.collect::<Vec<_>>() {
            let (least, most, dropped) = self.bounds(who, told(who), false);
            let freed = dropped.min(most);
            if freed != 0 {
                left.entry(who).or_insert(Left { least: least.min(freed), most: freed });
            }
        }
        // A life that left nothing may have had the generation of a later one.
        self.generations.retain(|life, _| left.keys().any(|(left, _)| left == life));
        self.left = left;
        self.life = life;
        match self.generations.insert(life, generation) {
            Some(earlier) => Err(format!("life {life} has two generations, {earlier} and {generation}")),
            None => Ok(()),
        }
    }
}
