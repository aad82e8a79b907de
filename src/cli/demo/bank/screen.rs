//! What the bank shows: text for people while it runs, or one object at its end.

use crate::cli::demo::bank::ledger::{ACCOUNT_COUNT, TOTAL};
use crate::cli::demo::bank::outcome::{Baseline, Outcome};
use crate::cli::demo::bank::tally::Acknowledged;
use crate::cli::demo::report::duration;
use crate::cli::failure::Failure;
use crate::cli::output::Lines;
use handfast::fabric::Address;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Where it shows.
pub(crate) struct Screen {
    json: bool,
    bar: ProgressBar,
    lines: Lines,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, bar: ProgressBar::hidden(), lines: Lines::default() }
    }

    /// Standard output is kept for the object where one is wanted.
    fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            self.bar.suspend(|| self.lines.line(text));
        }
    }

    fn row(&self, label: &str, text: impl std::fmt::Display) {
        self.line(format!("{label:<19}{text}"));
    }

    pub(crate) fn begin(&self, transactions: u64, seed: u64) {
        self.line("handfast demo: a bank on redb, mirrored, killed, taken over\n");
        let (count, accounts) = (HumanCount(transactions), HumanCount(ACCOUNT_COUNT));
        self.row("bank", format!("{accounts} accounts, {} in all; seed {seed}", HumanCount(TOTAL)));
        self.row("transactions", format!("{count}, each a transfer between two accounts\n"));
    }

    pub(crate) fn baseline(&self, baseline: &Baseline) {
        self.line("without a mirror");
        self.rate("fdatasync each", baseline.synced);
        self.rate("never synced", baseline.unsynced);
        self.line("");
    }

    fn rate(&self, label: &str, made: Acknowledged) {
        let (count, took) = (HumanCount(made.transactions), duration(made.took));
        self.row(&format!("  {label}"), format!("{}  ({count} in {took})", per_second(made)));
    }

    pub(crate) fn started(&self, addresses: &[Address; 2], processes: [u32; 2]) {
        let ([a, b], [primary, partner]) = (addresses, processes);
        self.row("primary", format!("process {primary}, {a}"));
        self.row("partner", format!("process {partner}, {b}"));
    }

    /// Transfers begin. The bar hides by itself where standard error is no terminal.
    pub(crate) fn running(&mut self, session: &str, ring_bytes: u64, transactions: u64) {
        self.row("session", session);
        self.row("log", format!("a ring of {}, acknowledged when placed at the partner", HumanBytes(ring_bytes)));
        if self.json {
            return;
        }
        let style = ProgressStyle::with_template("  [{bar:40}] {human_pos} of {human_len} acknowledged, {per_sec}");
        self.bar = ProgressBar::with_draw_target(Some(transactions), ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    }

    pub(crate) fn progress(&self, acknowledged: u64) {
        self.bar.set_position(acknowledged);
    }

    pub(crate) fn killed(&self, process: u32, acknowledged: Acknowledged) {
        self.bar.finish_and_clear();
        self.row("", format!("killed the primary (process {process}, SIGKILL)"));
        self.line("");
        self.line("mirrored");
        self.rate("acknowledged", acknowledged);
        self.line("");
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let taken = &outcome.taken;
        let at = |after: Duration| format!("  +{}", duration(after));
        self.row(&at(outcome.lost_after), format!("partner: session lost: {}", outcome.lost_for));
        let after =
            |ns: u64| outcome.taken_after.saturating_sub(Duration::from_nanos(taken.opened_ns.saturating_sub(ns)));
        let (before, rest) = (HumanCount(taken.applied_before), HumanCount(taken.applied_after));
        let built = format!("database of {} built: {before} writes were applied, {rest} more", HumanBytes(taken.bytes));
        self.row(&at(after(taken.built_ns)), built);
        self.row("", format!("the log ends at {}", taken.stopped));
        self.row(&at(after(taken.opened_ns)), "redb has opened it\n");
        let (found, acknowledged) = (HumanCount(taken.transfers), HumanCount(outcome.acknowledged.transactions));
        self.row("transactions", format!("{found} found, {acknowledged} acknowledged"));
        self.row("total", format!("{} of {}", HumanCount(taken.total), HumanCount(TOTAL)));
        let right = ACCOUNT_COUNT.saturating_sub(taken.wrong);
        self.row("accounts", format!("{right} of {ACCOUNT_COUNT} as these transfers leave them\n"));
        self.table(outcome);
    }

    fn table(&self, outcome: &Outcome) {
        let (baseline, mirrored) = (&outcome.baseline, outcome.acknowledged);
        self.line(format!("  {:<26} {:>9}  survives", "transactions per second", ""));
        let either = if outcome.fabric == "rdma" { "loss of either machine" } else { "end of either process" };
        for (name, made, survives) in [
            ("redb, fdatasync for each", baseline.synced, "power cut, not loss of the machine"),
            ("redb, never synced", baseline.unsynced, "end of the process"),
            ("redb, mirrored", mirrored, either),
        ] {
            self.line(format!("  {name:<26} {:>9}  {survives}", HumanCount(made.per_second() as u64)));
        }
        self.line("");
    }

    /// The last word. It fails where anything before it, or itself, could not be written.
    pub(crate) fn end(&self, outcome: &Outcome) -> Result<(), Failure> {
        if self.json {
            self.lines.line(outcome.object());
        } else {
            let acknowledged = HumanCount(outcome.acknowledged.transactions);
            self.line(format!(
                "every one of {acknowledged} acknowledged transactions is there, and the total is right"
            ));
        }
        self.lines.said()
    }
}

fn per_second(made: Acknowledged) -> String {
    format!("{} transactions/s", HumanCount(made.per_second() as u64))
}
