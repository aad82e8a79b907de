//! The cluster manager: opens the session with the partner, and shares it out to the clients of this process.
//!
//! Imports `session`, `handshake`, `page` and `fabric`.
//!
//! ```text
//! boot ─► page visible ─► four steps ─► session ─► offers ─► wiring ─► ready ─► Client::on_ready
//!              ▲                                                                     │ loss
//!              └──────────────── the next attempt ◄── Client::on_lost ◄──────────────┘
//! ```
#![forbid(unsafe_code)]

mod client;
mod config;
mod event;
mod exchange;
mod matching;
mod renewal;
mod said;
mod serving;
mod shortage;
mod tables;
mod thread;
mod wiring;

pub use client::{Client, ClientSpec, LostReason, ManagerError, Unavailable};
pub use config::NodeConfig;
pub use event::{Authentication, Event, GrantSummary};
pub use thread::ControlThread;

use crate::error::Error;
use crate::fabric::{Fabric, Timestamp};
use crate::handshake::Established;
use crate::page::status::CLIENTS_MAX;
use crate::page::{Incarnation, SessionId};
use crate::session::{Connection, ConnectionEvent, Recent};
use client::Entry;
use exchange::Exchange;
pub use exchange::ExchangeError;
use shortage::Shortage;
use std::collections::VecDeque;
use std::time::Duration;
pub use tables::TableError;

/// Opens the session with the partner and shares it out to the clients of this process.
///
/// Advances by [`ClusterManager::poll`], a small call that does not block, from the engine's own reactor; or on a thread of its own
/// ([`ClusterManager::spawn`]). Data threads own their ports and share nothing with it on the hot path.
///
/// # Examples
///
/// Two nodes in one process; in earnest each is a process of its own.
///
/// ```
/// use handfast::fabric::Port;
/// use handfast::fabric::shm::Shm;
/// use handfast::manager::{Client, ClientSpec, ClusterManager, Event, LostReason, NodeConfig, Unavailable};
/// use handfast::session::Session;
///
/// struct Log;
/// impl Client<Shm> for Log {
///     fn on_ready(&mut self, mut session: Session<Shm>) {
///         let ports = session.take_ports();
///         println!("{} ports, granted {:?}", ports.len(), session.grant());
///     }
///     fn on_lost(&mut self, reason: &LostReason) {
///         println!("{reason}");
///     }
///     fn on_unavailable(&mut self, reason: &Unavailable) {
///         println!("{reason}");
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let unique = std::process::id();
/// let address = |port| format!("shm://doc-{unique}:{port}").parse();
/// let mut nodes = Vec::new();
/// for (node, at, partner, partner_at) in [("a", 1, "b", 2), ("b", 2, "a", 1)] {
///     let config = NodeConfig::new("pair".parse()?, node.parse()?, address(at)?, partner.parse()?, address(partner_at)?);
///     let mut manager = ClusterManager::boot(Shm::new(), config)?;
///     manager.stage("replaying log", 40, 100); // the partner can read this from now on
///     manager.client(ClientSpec::new("log".parse()?).ports(2).memory(1 << 20), Box::new(Log))?;
///     manager.open();
///     nodes.push(manager);
/// }
/// let mut ready = 0;
/// # let began = std::time::Instant::now();
/// while ready < 2 {
/// #   assert!(began.elapsed().as_secs() < 20);
///     for node in &mut nodes {
///         while let Some(event) = node.poll() {
///             ready += usize::from(matches!(event, Event::Ready { .. }));
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct ClusterManager<F: Fabric> {
    connection: Connection<F>,
    config: NodeConfig,
    roster: Vec<Entry<F>>,
    open: bool,
    exchange: Option<Exchange<F>>,
    events: VecDeque<Event>,
    booted_at: Timestamp,
    leaving_since: Option<Timestamp>,
    /// An exchange failed: not again before this, and for how long that was.
    hold_until: Timestamp,
    held: Duration,
    /// Since when the session's clients are told.
    ready_at: Option<Timestamp>,
    shortage: Shortage,
    troubles: Recent<Error>,
}

/// Events of the connection taken in by one poll.
const EVENTS_MAX: usize = 32;

impl<F: Fabric> ClusterManager<F> {
    /// Publishes this node's page and begins to seek the partner. From its return on the partner can read boot stage and progress.
    ///
    /// # Errors
    /// [`ManagerError`]: names or addresses of node and partner are no pair. The address is in use by a live process, there is no room, the
    /// rights do not suffice: see [`Fabric::listen`].
    pub fn boot(fabric: F, config: NodeConfig) -> Result<Self, Error> {
        if config.node == config.partner {
            return Err(Error::Manager(ManagerError::PartnerIsNode { node: config.node }));
        }
        let (at, partner_at) = (config.at.clone(), config.partner_at.clone());
        if at.scheme() != partner_at.scheme() {
            return Err(Error::Manager(ManagerError::PartnerFabric { at, partner_at }));
        }
        if at.is_same_place(&partner_at) {
            return Err(Error::Manager(ManagerError::PartnerIsHere { at }));
        }
        let booted_at = fabric.now();
        let connection = Connection::open(fabric, config.parties(), &at, partner_at, config.timing)?;
        let incarnation = connection.handshake().own().incarnation;
        let mut events = VecDeque::new();
        events.push_back(Event::Listening { address: at, incarnation });
        Ok(Self {
            connection,
            config,
            roster: Vec::new(),
            open: false,
            exchange: None,
            events,
            booted_at,
            leaving_since: None,
            hold_until: Timestamp(0),
            held: Duration::ZERO,
            ready_at: None,
            shortage: Shortage::default(),
            troubles: Recent::new(),
        })
    }

    /// Publishes the engine's boot stage and progress: `done` of `total`, 0 where the total is unknown. The name is cut at 48 bytes. A few
    /// stores; no system call.
    pub fn stage(&mut self, name: &str, done: u64, total: u64) {
        self.connection.stage(name, done, total);
    }

    /// Registers a client. Its counterpart at the partner has the same name.
    ///
    /// # Errors
    /// [`ManagerError`]: the name is taken, there are too many, a number is out of range, or [`ClusterManager::open`] was called already.
    pub fn client(&mut self, spec: ClientSpec, client: Box<dyn Client<F>>) -> Result<(), ManagerError> {
        if self.open {
            return Err(ManagerError::AlreadyOpen { name: spec.name });
        }
        if self.roster.iter().any(|entry| entry.spec.name == spec.name) {
            return Err(ManagerError::Duplicate { name: spec.name });
        }
        if self.roster.len() == CLIENTS_MAX {
            return Err(ManagerError::TooMany { max: CLIENTS_MAX });
        }
        spec.check()?;
        self.roster.push(Entry::new(spec, client));
        self.publish_roster(&[]);
        Ok(())
    }

    /// All clients are registered: their table may go to the partner, all at once.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Does everything that is due without blocking, calls the clients that are concerned, and returns the next event. Call it until it
    /// returns none, then again within [`ClusterManager::idle_for`].
    pub fn poll(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            // Bounded: a partner that makes events as fast as they are taken must not hold the caller. What is left comes next time.
            for _ in 0..EVENTS_MAX {
                let Some(event) = self.connection.advance() else {
                    self.exchange();
                    break;
                };
                self.take(event);
            }
        }
        self.events.pop_front()
    }

    /// How long nothing is due. Zero while an answer may come any moment.
    pub fn idle_for(&self) -> Duration {
        let busy = self.exchange.as_ref().is_some_and(Exchange::awaits_an_answer);
        let idle = self.connection.idle_for();
        if busy { idle.min(Duration::from_micros(20)) } else { idle }
    }

    /// Sleeps for `patience`, or until the partner's process ends, where the fabric can tell: on shm the kernel wakes the sleeper. Poll then.
    pub fn sleep(&self, patience: Duration) {
        self.connection.sleep(patience);
    }

    /// This node's process, as the partner knows it.
    pub fn incarnation(&self) -> Incarnation {
        self.connection.handshake().own().incarnation
    }

    /// The session this node holds.
    pub fn session(&self) -> Option<SessionId> {
        self.connection.handshake().established().map(|established| established.id)
    }

    /// The connection underneath.
    pub fn connection(&self) -> &Connection<F> {
        &self.connection
    }

    /// Tells the partner that this node ends, in order: clients get `on_lost`. Poll until [`ClusterManager::is_gone`], then drop it.
    pub fn leave(&mut self) {
        if self.leaving_since.is_none() {
            self.leaving_since = Some(self.connection.fabric().now());
            self.connection.leave();
        }
    }

    /// Whether the partner has noticed that this node leaves, or had its time to.
    pub fn is_gone(&self) -> bool {
        let Some(since) = self.leaving_since else { return false };
        self.connection.is_alone() || self.connection.fabric().now().since(since) > self.config.timing.leave
    }

    /// Leaves and waits until the partner has noticed, or had its time to. Blocks, for [`Timing::leave`](crate::session::Timing::leave) at most.
    pub fn shut_down(mut self) {
        self.leave();
        while !self.is_gone() {
            while self.poll().is_some() {}
            std::thread::sleep(self.idle_for().min(Duration::from_millis(1)));
        }
    }

    /// Runs it on a control thread of its own.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(self) -> Result<ControlThread, Error> {
        ControlThread::start(self)
    }

    fn take(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Linked { ns } => {
                let address = self.connection.partner_address().clone();
                self.events.push_back(Event::Linked { address, ns });
            }
            ConnectionEvent::Stage { name, progress } => {
                self.events.push_back(Event::PartnerStage { name: name.as_str().to_owned(), progress });
            }
            ConnectionEvent::Obstacle(obstacle) => self.events.push_back(Event::Obstacle(obstacle)),
            ConnectionEvent::Unreachable(error) => self.events.push_back(Event::Unreachable(error)),
            ConnectionEvent::Established { session, steps } => self.established(&session, steps),
            ConnectionEvent::Ended { session, reason, detail } => {
                self.lost(session, &LostReason { reason, detail });
            }
            ConnectionEvent::Trouble(error) => self.trouble(error.into()),
        }
    }

    fn established(&mut self, session: &Established, steps: [crate::session::Step; 4]) {
        let fabric = self.connection.fabric();
        let since_boot = fabric.now().since(self.booted_at);
        let authentication = match self.config.key {
            Some(_) => Authentication::PreSharedKey,
            None => Authentication::None,
        };
        self.events.push_back(Event::Established {
            session: session.id,
            partner: self.config.partner,
            incarnation: session.partner.incarnation,
            version: session.version,
            authentication,
            steps,
            since_boot_ns: u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX),
        });
    }

    fn lost(&mut self, session: SessionId, reason: &LostReason) {
        self.connection.beat_in(None);
        self.shortage.ends();
        if let Some(exchange) = self.exchange.take() {
            exchange.end();
            for index in exchange.notified() {
                if let Some(entry) = self.roster.get_mut(index) {
                    self.events.extend(entry.call(|client| client.on_lost(reason)));
                }
            }
        }
        self.publish_roster(&[]);
        self.events.push_back(Event::Lost { session, reason: reason.clone() });
    }
}

/// Ends in order as far as that needs no waiting: the page says that this node leaves, and then is gone.
impl<F: Fabric> Drop for ClusterManager<F> {
    fn drop(&mut self) {
        self.leave();
        self.connection.beat_in(None);
        if let Some(exchange) = self.exchange.take() {
            exchange.end();
        }
    }
}
