//! Producers and a poller around a ring's words, with cells for its bytes, and a copy of them at the partner.

use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
use loom::sync::Arc;
use loom::thread;

/// How often a producer asks for room before it gives an append up.
const TRIES: usize = 2;

/// The unit of positions: a cell holds so many bytes.
const CELL: u64 = 32;

/// What a producer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Append {
    /// Reserves so many bytes, writes all of them and commits.
    Commit(u64),
    /// Reserves so many bytes, writes a header that says so and gives them up.
    Abort(u64),
}

/// A ring, where it begins, how much before that it holds on its way to the partner, and what each producer appends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Polls while producers are at work; the rest comes when they are done.
    pub(crate) polls: usize,
    pub(crate) bytes: u64,
    pub(crate) begin: u64,
    pub(crate) held: u64,
    pub(crate) producers: &'static [&'static [Append]],
}

/// What the poller does in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Collects, sends, acknowledges, frees.
    Right,
    /// Frees before it has sent.
    FreeFirst,
    /// Takes what is claimed for published.
    TrustHead,
}

/// The ring's words: the real ones, or weaker ones from the same source.
pub(crate) trait Words: Send + Sync + 'static {
    fn new(bytes: u64, tail: u64, end: u64) -> Self;
    /// Where the claim, with its gap, begins; where the stretch begins; where it ends.
    fn claim(&self, bytes: u64, producer: u32) -> Option<(u64, u64, u64)>;
    fn publish(&self, start: u64, end: u64);
    fn published(&self, start: u64) -> Option<u64>;
    fn claimant(&self, start: u64) -> Option<u32>;
    fn head(&self) -> u64;
    fn free(&self, to: u64);
}

macro_rules! words {
    ($index:ty) => {
        impl Words for $index {
            fn new(bytes: u64, tail: u64, end: u64) -> Self {
                <$index>::new(bytes, tail, end)
            }
            fn claim(&self, bytes: u64, producer: u32) -> Option<(u64, u64, u64)> {
                <$index>::claim(self, bytes, producer).map(|claim| (claim.from, claim.start, claim.end))
            }
            fn publish(&self, start: u64, end: u64) {
                <$index>::publish(self, start, end);
            }
            fn published(&self, start: u64) -> Option<u64> {
                <$index>::published(self, start)
            }
            fn claimant(&self, start: u64) -> Option<u32> {
                <$index>::claimant(self, start)
            }
            fn head(&self) -> u64 {
                <$index>::head(self)
            }
            fn free(&self, to: u64) {
                <$index>::free(self, to);
            }
        }
    };
}

words!(crate::index::Index);
words!(crate::weakened::index::Index);

/// What stands in each cell of a record: whose it is, the number of the append, and its position. In a gap: the last alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Content {
    kind: Kind,
    producer: usize,
    number: usize,
    position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Blank,
    Data,
    Abort,
    Gap,
}

struct Ring<W> {
    words: W,
    bytes: u64,
    cells: Vec<UnsafeCell<Content>>,
}

// SAFETY:
// - alias, thread: that its cells are held by one thread alone, or read only, is what the model checker checks at every access.
unsafe impl<W: Sync> Sync for Ring<W> {}
// SAFETY:
// - thread: it owns all that it is made of.
unsafe impl<W: Send> Send for Ring<W> {}

/// A stretch held exclusively: as long as it lives, whoever else looks at a cell of it makes the model fail.
struct Held {
    start: u64,
    cells: Vec<MutPtr<Content>>,
}

impl Held {
    fn set(&self, cell: usize, content: Content) {
        self.cells[cell].with(|place| {
            // SAFETY:
            // - live, alias: the model checker fails where anybody else has this cell.
            unsafe { *place = content }
        });
    }
    /// A header alone.
    fn mark(&self, content: Content) {
        self.set(0, Content { position: self.start, ..content });
    }
    fn fill(&self, content: Content) {
        for cell in 0..self.cells.len() {
            self.set(cell, Content { position: self.start + cell as u64 * CELL, ..content });
        }
    }
}

impl<W: Words> Ring<W> {
    fn cell(&self, position: u64) -> &UnsafeCell<Content> {
        &self.cells[(position % self.bytes / CELL) as usize]
    }
    fn hold(&self, start: u64, end: u64) -> Held {
        let cells = (start..end).step_by(CELL as usize).map(|position| self.cell(position).get_mut()).collect();
        Held { start, cells }
    }

    /// One append: reserve, write in place, publish. False where there was no room.
    fn append(&self, producer: usize, number: usize, what: Append) -> bool {
        let (Append::Commit(bytes) | Append::Abort(bytes)) = what;
        let claimed = (0..TRIES).find_map(|again| {
            if again > 0 {
                thread::yield_now();
            }
            self.words.claim(bytes, producer as u32)
        });
        let Some((from, start, end)) = claimed else { return false };
        assert!(end - start == bytes && start % self.bytes + bytes <= self.bytes, "a stretch in one piece");
        if from != start {
            let gap = self.hold(from, start);
            gap.mark(Content { kind: Kind::Gap, producer, number, position: 0 });
            drop(gap);
            self.words.publish(from, start);
        }
        let span = self.hold(start, end);
        match what {
            Append::Commit(_) => span.fill(Content { kind: Kind::Data, producer, number, position: 0 }),
            Append::Abort(_) => span.mark(Content { kind: Kind::Abort, producer, number, position: 0 }),
        }
        drop(span);
        self.words.publish(start, end);
        true
    }
}

/// A batch that is lent to the port: while it lives, whoever writes a cell of it makes the model fail.
struct Loan {
    stretches: Vec<(u64, u64)>,
    end: u64,
    cells: Vec<ConstPtr<Content>>,
}

/// The one who takes, sends and frees.
struct Poller<W> {
    ring: Arc<Ring<W>>,
    /// Lent up to here.
    at: u64,
    /// On its way to the partner.
    loan: Option<Loan>,
    /// Appends sent of each producer, by number.
    seen: Vec<Vec<usize>>,
    setting: Setting,
}

impl<W: Words> Poller<W> {
    fn new(ring: Arc<Ring<W>>, setting: Setting) -> Self {
        let seen = vec![Vec::new(); setting.producers.len()];
        let mut poller = Self { ring, at: setting.begin - setting.held, loan: None, seen, setting };
        // What is held from the beginning was appended before: none of the producers'.
        poller.lend(Vec::new(), setting.begin);
        poller
    }

    /// The stretches that are published from `at` on.
    fn collect(&self, order: Order) -> Vec<(u64, u64)> {
        let (mut found, mut at) = (Vec::new(), self.at);
        if order == Order::TrustHead {
            return if self.ring.words.head() > at { vec![(at, at + 64)] } else { found };
        }
        while let Some(end) = self.ring.words.published(at) {
            found.push((at, end));
            at = end;
        }
        found
    }

    fn lend(&mut self, stretches: Vec<(u64, u64)>, end: u64) {
        let cells = (self.at..end).step_by(CELL as usize).map(|at| self.ring.cell(at).get()).collect();
        self.loan = Some(Loan { stretches, end, cells });
        self.at = end;
    }

    /// One poll: takes in what was sent since the last, and sends what is published. Whether anything was done.
    fn poll(&mut self, order: Order) -> bool {
        let batch = self.collect(order);
        let sent = self.loan.take();
        let worked = sent.is_some() || !batch.is_empty();
        if let Some(sent) = sent {
            self.complete(sent, order);
        }
        if let Some((_, end)) = batch.last().copied() {
            self.lend(batch, end);
        }
        worked
    }

    fn complete(&mut self, loan: Loan, order: Order) {
        if order == Order::FreeFirst {
            self.ring.words.free(loan.end);
            thread::yield_now();
        }
        let first = loan.stretches.first().map_or(0, |(start, _)| *start);
        let read = |position: u64| {
            loan.cells[((position - first) / CELL) as usize].with(|place| {
                // SAFETY:
                // - live, alias: the model checker fails where a producer has this cell.
                unsafe { *place }
            })
        };
        for (start, end) in &loan.stretches {
            let contents: Vec<Content> = (*start..*end).step_by(CELL as usize).map(read).collect();
            self.judge(*start, *end, &contents);
        }
        let end = loan.end;
        drop(loan);
        if order != Order::FreeFirst {
            self.ring.words.free(end);
        }
    }

    /// What was sent must be what was appended: whole, once, each producer's in order.
    fn judge(&mut self, start: u64, end: u64, contents: &[Content]) {
        let Content { kind, producer, number, position } = contents[0];
        assert_eq!(position, start, "a record of another place was sent: {contents:?}");
        let full = |kind| {
            (0..contents.len())
                .all(|cell| contents[cell] == Content { kind, producer, number, position: start + cell as u64 * CELL })
        };
        match kind {
            Kind::Gap => {
                assert_eq!(end % self.ring.bytes, 0, "a gap ends where the ring does");
                return;
            }
            Kind::Data => assert!(full(Kind::Data), "a record was not whole: {contents:?}"),
            Kind::Abort => {}
            Kind::Blank => panic!("something was sent that nobody wrote"),
        }
        let expected = match kind {
            Kind::Data => Append::Commit(end - start),
            _ => Append::Abort(end - start),
        };
        assert!(self.seen[producer].iter().all(|seen| *seen < number), "out of order, or twice");
        assert_eq!(self.setting.producers[producer][number], expected);
        self.seen[producer].push(number);
    }
}

/// Runs the producers and the poller through every interleaving with so many preemptions.
pub(crate) fn check<W: Words>(preemptions: usize, setting: Setting, order: Order) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let began = std::time::Instant::now();
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        run::<W>(setting, order);
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{runs} interleavings in {:.1} s", began.elapsed().as_secs_f64());
}

fn run<W: Words>(setting: Setting, order: Order) {
    let cells = (0..setting.bytes / CELL).map(|_| UnsafeCell::default()).collect();
    let words = W::new(setting.bytes, setting.begin - setting.held, setting.begin);
    let ring = Arc::new(Ring { words, bytes: setting.bytes, cells });
    let mut poller = Poller::new(Arc::clone(&ring), setting);
    let threads: Vec<_> = (0..setting.producers.len())
        .map(|producer| {
            let ring = Arc::clone(&ring);
            let appends = setting.producers[producer].iter().enumerate();
            thread::spawn(move || {
                let appended = appends.filter(|(number, what)| ring.append(producer, *number, **what));
                appended.map(|(number, _)| number).collect::<Vec<_>>()
            })
        })
        .collect();
    for _ in 0..setting.polls {
        poller.poll(order);
        thread::yield_now();
    }
    let appended: Vec<Vec<usize>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    while poller.poll(order) {}
    assert_eq!(poller.seen, appended, "what was sent is not what was appended");
    assert!(!poller.poll(order), "something was sent that nobody appended");
    assert_eq!(ring.words.head(), poller.at, "everything that was claimed was sent");
    assert_eq!(ring.words.claimant(poller.at), None, "nothing is claimed");
}
