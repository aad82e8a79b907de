//! Lines between our two processes: the peer sleeps in a read while it has nothing to do, as the servers of perftest do.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};

/// One end.
pub(crate) struct Pipe {
    from: BufReader<Box<dyn Read>>,
    to: Box<dyn Write>,
}

impl Pipe {
    /// Of any two streams.
    pub(crate) fn new(from: impl Read + 'static, to: impl Write + 'static) -> Self {
        Self { from: BufReader::new(Box::new(from)), to: Box::new(to) }
    }

    /// The peer's end.
    pub(crate) fn of_standard_streams() -> Self {
        Self::new(std::io::stdin(), std::io::stdout())
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        writeln!(self.to, "{line}")?;
        Ok(self.to.flush()?)
    }

    /// Waits for a line.
    pub(crate) fn hear(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("the other process is gone".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Sends a line and waits for this answer.
    pub(crate) fn ask(&mut self, line: &str, answer: &str) -> Result<(), Box<dyn Error>> {
        self.say(line)?;
        let got = self.hear()?;
        if got == answer { Ok(()) } else { Err(format!("`{line}` was answered by `{got}`").into()) }
    }
}
