//! What a report says of where it was made: processor, kernel, commit. No host name, no path.

use serde_json::{Value, json};
use std::process::Command;

/// Where and of what.
#[derive(Debug, Clone)]
pub(crate) struct About {
    processor: String,
    processors: usize,
    counter_step_ns: f64,
    kernel: String,
    commit: String,
    command: String,
}

impl About {
    /// Of this machine and this run, whose tick counter steps by so many nanoseconds.
    pub(crate) fn here(processors: usize, counter_step_ns: f64) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let feature = if cfg!(feature = "verbs") { "--features verbs " } else { "" };
        Self {
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            processors,
            counter_step_ns,
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            command: format!("cargo run --release -p handfast-perf {feature}-- {}", without_paths(&arguments)),
        }
    }

    /// As lines of text.
    pub(crate) fn text(&self) -> String {
        let Self { processor, processors, counter_step_ns, kernel, commit, command } = self;
        let counter = format!("steps by {counter_step_ns:.1} ns");
        format!(
            "processor  {processor}, {processors} available\ncounter    {counter}\nkernel     {kernel}\ncommit     {commit}\ncommand    {command}\n"
        )
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "counter_step_ns": self.counter_step_ns,
            "kernel": self.kernel,
            "commit": self.commit,
            "command": self.command,
        })
    }
}

/// Where a report is written is nobody's business but its writer's.
fn without_paths(arguments: &[String]) -> String {
    let shown = |(number, argument): (usize, &String)| {
        let is_path = number > 0 && arguments.get(number - 1).is_some_and(|before| before == "--report");
        if is_path { "DIR".to_owned() } else { argument.clone() }
    };
    arguments.iter().enumerate().map(shown).collect::<Vec<_>>().join(" ")
}

fn first_line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit of the sources, with a `+` where they differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let folder = env!("CARGO_MANIFEST_DIR");
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (commit, changed) = (git(&["rev-parse", "--short=12", "HEAD"])?, git(&["status", "--porcelain", "-uno"])?);
    Some(format!("{commit}{}", if changed.is_empty() { "" } else { "+" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_report_is_not_told() {
        let arguments = ["--quick", "--report", "/home/somebody/x", "--json"].map(str::to_owned);
        assert_eq!(without_paths(&arguments), "--quick --report DIR --json");
    }
}
