//! What the manager does while a session stands: the exchange, clients that are told of their part,
//! ports that they ask for anew.

use super::ClusterManager;
use super::client::Entry;
use super::event::Event;
use super::exchange::{Exchange, Outcome};
use super::renewal::Renewed;
use crate::error::Error;
use crate::fabric::{Fabric, Timestamp};
use crate::handshake::EndReason;
use crate::page::identity::ClientName;
use crate::page::status::RosterEntry;
use std::time::Duration;

/// After an exchange that failed the next one begins within this, however often it failed.
const FAILED_MAX: Duration = Duration::from_secs(1);

/// After a session that a client gave up.
const GIVEN_UP_MAX: Duration = Duration::from_secs(10);

/// A session that stood so long is no part of a row of failures.
const STEADY: Duration = Duration::from_secs(10);

impl<F: Fabric> ClusterManager<F> {
    /// The exchange after the handshake: begun when a session stands and all clients are registered.
    pub(super) fn exchange(&mut self) {
        let now = self.connection.fabric().now();
        let Some(session) = self.session() else { return };
        if self.exchange.is_none() && self.open && now >= self.hold_until && self.leaving_since.is_none() {
            // Between two sessions nobody knows clients by their places.
            self.roster.retain(Entry::is_there);
            let specs = self.roster.iter().map(|entry| entry.spec).collect();
            self.exchange = Some(Exchange::new(specs, session, &self.config));
        }
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.is_given_up(now) {
            self.hold(self.config.timing.retry_max, GIVEN_UP_MAX, now);
            return self.connection.end(EndReason::GivenUp);
        }
        if self.shortage.is_due(now) {
            let roster = &self.roster;
            if exchange.can_be_made(|index| roster.get(index).is_some_and(Entry::is_there)) {
                return self.connection.end(EndReason::Retried);
            }
            self.shortage.failed(now);
        }
        match exchange.advance(&mut self.connection, now) {
            Ok(Outcome::Pending) => self.renew(now),
            Ok(Outcome::Ready) => self.ready(),
            Err(error) => self.fail(error, now),
        }
    }

    /// Begin anew, but not in a tight loop: what failed may fail again.
    fn fail(&mut self, error: Error, now: Timestamp) {
        self.hold(self.config.timing.retry_max.saturating_mul(50), FAILED_MAX, now);
        self.trouble(error);
        self.connection.end(EndReason::Exchange);
    }

    /// No exchange before some time has passed: `min`, and twice as long each time, up to `max`, as long as no session stands for a while.
    fn hold(&mut self, min: Duration, max: Duration, now: Timestamp) {
        let stood = self.ready_at.take().is_some_and(|since| now.since(since) >= STEADY);
        let next = if stood { min } else { self.held.saturating_mul(2) };
        self.held = next.clamp(min, max.max(min));
        self.hold_until = now.after(self.held);
    }

    /// Something failed that ends nothing by itself.
    pub(super) fn trouble(&mut self, error: Error) {
        match self.troubles.tell(&error, self.connection.fabric().now()) {
            None => {}
            Some(0) => self.events.push_back(Event::Trouble(error)),
            Some(times) => self.events.push_back(Event::TroubleAgain { error, times }),
        }
    }

    /// Ports that were asked for anew.
    fn renew(&mut self, now: Timestamp) {
        let Some(exchange) = &mut self.exchange else { return };
        let roster = &self.roster;
        let is_there = |index: usize| roster.get(index).is_some_and(Entry::is_there);
        match exchange.renew(&mut self.connection, is_there, now) {
            Ok(renewed) => renewed.into_iter().for_each(|renewed| self.hand_out(renewed)),
            Err(error) => self.fail(error, now),
        }
    }

    fn hand_out(&mut self, renewed: Renewed<F>) {
        let Renewed { index, port: number, outcome } = renewed;
        let Some(entry) = self.roster.get_mut(index) else { return };
        let told = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        let event = Event::PortRenewed { client: entry.spec.name, index: number, outcome: told };
        let panicked = entry.call(|client| client.on_port(number, outcome));
        self.events.push_back(event);
        self.events.extend(panicked);
    }

    fn ready(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let (partner, established) = (self.config.partner, self.connection.handshake().established());
        let Some(established) = established else { return };
        let (mut grants, mut ready) = (Vec::new(), Vec::new());
        for (index, outcome) in exchange.take_sessions(partner, established) {
            let Some(entry) = self.roster.get_mut(index) else { continue };
            match outcome {
                Ok((session, summary)) => match entry.call(|client| client.on_ready(session)) {
                    None => {
                        ready.push(entry.spec.name);
                        grants.push(summary);
                    }
                    Some(panicked) => self.events.push_back(panicked),
                },
                Err(reason) => {
                    let panicked = entry.call(|client| client.on_unavailable(&reason));
                    self.events.push_back(Event::Unavailable { client: entry.spec.name, reason });
                    self.events.extend(panicked);
                }
            }
        }
        let session = established.id;
        let lacks = self.exchange.as_ref().is_some_and(Exchange::is_lacking);
        let now = self.connection.fabric().now();
        self.shortage.begins(lacks, now);
        self.ready_at = Some(now);
        self.publish_roster(&ready);
        self.events.push_back(Event::Ready { session, grants });
    }

    pub(super) fn publish_roster(&mut self, ready: &[ClientName]) {
        let entries: Vec<RosterEntry> = self
            .roster
            .iter()
            .filter(|entry| entry.is_there())
            .map(|entry| RosterEntry {
                name: entry.spec.name,
                memory: entry.spec.memory,
                ports: entry.spec.ports,
                ready: ready.contains(&entry.spec.name),
            })
            .collect();
        self.connection.roster(&entries);
    }
}
