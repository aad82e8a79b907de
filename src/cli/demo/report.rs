//! What the demo shows: text for people while it runs, or one object at its end.

use crate::cli::args::Order;
use crate::cli::demo::outcome::{Established, Outcome, Passed, Recovery};
use crate::cli::demo::protocol::GrantReport;
use crate::cli::demo::source::Source;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Lines};
use handfast::fabric::Address;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Lines are no longer than this, but for what cannot be broken.
const COLUMNS: usize = 80;
/// Where the text beside a label begins.
const INDENT: usize = 19;

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

    /// A label and what belongs to it, over as many lines as that needs.
    fn paragraph(&self, label: &str, text: &str) {
        for (number, line) in wrap(text, COLUMNS - INDENT).iter().enumerate() {
            self.line(format!("{:<INDENT$}{line}", if number == 0 { label } else { "" }));
        }
    }

    /// Something that people must know, and that ends nothing.
    pub(crate) fn warn(&self, text: &str) {
        if !self.json {
            self.bar.suspend(|| output::complaint(text));
        }
    }

    pub(crate) fn begin(&self, source: &Source, order: Order, addresses: &[Address; 2]) {
        let order = match order {
            Order::AFirst => "partner a first",
            Order::BFirst => "partner b first",
            Order::Both => "both partners at once",
        };
        self.line(format!("handfast demo: {} ({}), {order}\n", source.name, HumanBytes(source.bytes)));
        let [a, b] = addresses;
        self.paragraph("addresses", &format!("a: {a}; b: {b}"));
    }

    pub(crate) fn started(&self, sender: u32, receiver: u32) {
        self.paragraph("partners", &format!("a: process {sender}, sends; b: process {receiver}, receives"));
    }

    pub(crate) fn established(&self, established: &Established) {
        let since_boot = duration(Duration::from_nanos(established.since_boot_ns));
        self.paragraph("session", &established.session);
        self.paragraph("", &format!("{}, {since_boot} after a's boot", established.authentication));
        self.line("");
        self.steps(established);
        self.grants(&established.grants);
    }

    fn steps(&self, established: &Established) {
        self.line(format!("  {:<4} {:<24} {:>12} {:>12}", "step", "", "by a", "by b"));
        for (number, (a, b)) in established.steps.iter().zip(&established.partner_steps).enumerate() {
            let [a_took, b_took] = [a, b].map(|step| duration(Duration::from_nanos(step.ns)));
            self.line(format!("  {:<4} {:<24} {a_took:>12} {b_took:>12}", number + 1, a.name));
        }
        self.line("");
    }

    fn grants(&self, grants: &[GrantReport]) {
        self.line(format!("  {:<16} {:>12} {:>12} {:>12}", "client", "ports", "memory at b", "memory at a"));
        for grant in grants {
            let (there, here) = (HumanBytes(grant.there_bytes).to_string(), HumanBytes(grant.here_bytes).to_string());
            self.line(format!("  {:<16} {:>12} {there:>12} {here:>12}", grant.client, grant.ports));
        }
        self.line("");
    }

    /// A pass begins. Its bar hides by itself where standard error is no terminal.
    pub(crate) fn pass(&mut self, total: u64) {
        if self.json {
            return;
        }
        self.bar = pass_bar(Some(total));
    }

    pub(crate) fn progress(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    pub(crate) fn passed(&self, pass: &Passed) {
        self.bar.finish_and_clear();
        let verdict = if pass.agrees() { "digests equal" } else { "DIGESTS DIFFER" };
        let (bytes, took) = (HumanBytes(pass.sent.bytes), duration(Duration::from_secs_f64(pass.seconds)));
        let rate = rate(pass.gigabytes_per_second());
        self.paragraph(&format!("pass {}", pass.number), &format!("{bytes} in {took}, {rate}, {verdict}"));
        // A digest is as long as the line that is left: nothing wraps here.
        self.line(format!("  sent      {}", pass.sent.digest));
        self.line(format!("  received  {}\n", pass.received.digest));
    }

    pub(crate) fn killed(&self, process: u32, bytes: u64, total: u64) {
        self.bar.finish_and_clear();
        let (bytes, total) = (HumanBytes(bytes), HumanBytes(total));
        self.paragraph("pass 2", &format!("after {bytes} of {total}: killed b (process {process}, SIGKILL)"));
    }

    pub(crate) fn recovered(&self, process: u32, again: &Established, recovery: &Recovery) {
        let at = |after| format!("  +{}", duration(after));
        self.paragraph(&at(recovery.lost_after), &format!("a: session lost: {}", recovery.reason));
        let open = HumanBytes(recovery.unacknowledged);
        self.paragraph("", &format!("a: the log stops, {open} of it not acknowledged"));
        self.paragraph(&at(recovery.restarted_after), &format!("b: started again, process {process}"));
        self.paragraph(&at(recovery.ready_after), &format!("session {}", again.session));
        self.paragraph("", &format!("with b's new incarnation {}", again.partner_incarnation));
        let refilled = HumanBytes(recovery.refilled);
        self.paragraph(&at(recovery.whole_after), &format!("b's copy is whole again, {refilled} refilled"));
        self.paragraph("", "what b had counted went with its process: pass 2 starts again from its first byte");
        self.line("");
    }

    /// The last word. It fails where anything before it, or itself, could not be written.
    pub(crate) fn end(&self, outcome: &Outcome) -> Result<(), Failure> {
        if self.json {
            self.lines.line(outcome.object());
        } else {
            let bytes = HumanBytes(outcome.passes[1].sent.bytes);
            self.line(format!("every digest agrees: {bytes} in each pass, through a kill and a restart"));
        }
        self.lines.said()
    }
}

/// Breaks a text at spaces.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A pass while it goes on; of unknown length where the other side knows that alone.
pub(crate) fn pass_bar(total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "  [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}",
        None => "  {spinner} {bytes}, {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// A rate in the unit that people would choose.
pub(crate) fn rate(gigabytes_per_second: f64) -> String {
    if gigabytes_per_second < 0.1 {
        format!("{:.1} MB/s", gigabytes_per_second * 1e3)
    } else {
        format!("{gigabytes_per_second:.2} GB/s")
    }
}

/// A duration in the unit that people would choose.
pub(crate) fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
        for (ns, text) in [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 us"), (20_000_000, "20.0 ms"), (3 << 30, "3.22 s")]
        {
            assert_eq!(duration(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn slow_rates_have_a_smaller_unit() {
        assert_eq!([rate(2.5), rate(0.0054)], ["2.50 GB/s", "5.4 MB/s"]);
    }

    #[test]
    fn text_breaks_at_spaces_and_nothing_is_lost() {
        let text = "the link to shm://demo-1:2 ended: process 7 has ended";
        let lines = wrap(text, 20);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= 20), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
    }
}
