//! The programs ours is compared with: perftest's and librdmacm's own, as installed, with their default settings.

use crate::machine;
use handfast::fabric::Address;
use std::error::Error;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the peers of one run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    /// Where the servers listen.
    pub(crate) ip: IpAddr,
    /// Name of the device.
    pub(crate) device: String,
    /// Processors of the client and of the server.
    pub(crate) processors: (usize, usize),
}

/// One figure of a peer: median and 99 %, or a rate twice.
pub(crate) type Figure = (f64, f64);

impl Peers {
    /// At an `rdma://` address that names the device, or on rxe0.
    pub(crate) fn of(at: &Address, processors: (usize, usize)) -> Result<Self, Box<dyn Error>> {
        let Address::Rdma { host, device, .. } = at else { return Err(format!("`{at}` is no rdma:// address").into()) };
        let device = device.clone().unwrap_or_else(|| "rxe0".to_owned());
        Ok(Self { ip: *host, device, processors })
    }

    /// Runs a program of perftest: its line of results, as words.
    pub(crate) fn perftest(&self, program: &str, bytes: usize, turns: u64) -> Result<Vec<f64>, Box<dyn Error>> {
        let arguments =
            ["-d", &self.device, "-s", &bytes.to_string(), "-n", &turns.to_string(), "-F"].map(str::to_owned);
        let server = self.server(Command::new(program).args(&arguments))?;
        let mut client = Command::new(program);
        client.args(&arguments).arg(self.ip.to_string());
        let text = patiently(&mut client);
        let ended = end(server);
        let text = text.map_err(|error| format!("{program}: {error}"))?;
        ended?;
        results(&text, bytes).ok_or_else(|| format!("{program} said nothing of {bytes} bytes: {text}").into())
    }

    /// One connection by `cmtime`, from nothing: microseconds of everything up to it, and of the step `connect` alone.
    pub(crate) fn cmtime(&self) -> Result<Figure, Box<dyn Error>> {
        let ip = self.ip.to_string();
        let mut server = self.server(Command::new("cmtime").args(["-b", &ip, "-c", "1"]))?;
        std::thread::sleep(Duration::from_millis(300));
        let output = Command::new("cmtime").args(["-s", &ip, "-b", &ip, "-c", "1"]).stdin(Stdio::null()).output();
        // It goes on listening for ever.
        server.kill()?;
        server.wait()?;
        let text = String::from_utf8_lossy(&output?.stdout).into_owned();
        connected(&text).ok_or_else(|| format!("cmtime did not connect: {text}").into())
    }

    fn server(&self, command: &mut Command) -> Result<Child, Box<dyn Error>> {
        let (client, server) = self.processors;
        machine::pin(server)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        machine::pin(client)?;
        Ok(child?)
    }
}

/// Whether a program is there at all.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// Runs a client until its server listens: what it printed.
fn patiently(client: &mut Command) -> Result<String, Box<dyn Error>> {
    let mut last = String::new();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let output = client.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    Err(format!("no connection: {last}").into())
}

/// Servers of perftest end with their client.
fn end(mut server: Child) -> Result<(), Box<dyn Error>> {
    for _ in 0..50 {
        if server.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    server.kill()?;
    server.wait()?;
    Ok(())
}

/// The numbers behind the size in the line that begins with it.
fn results(text: &str, bytes: usize) -> Option<Vec<f64>> {
    let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line = text.lines().map(words).find(|words| words.len() > 4 && words[0] == bytes.to_string())?;
    line.iter().skip(1).map(|word| word.parse().ok()).collect()
}

/// Steps of `cmtime` up to and with the connection, and that one, in microseconds.
fn connected(text: &str) -> Option<Figure> {
    if text.contains("REJECTED") || text.contains("error") {
        return None;
    }
    let step = |name: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(':'))?;
        line.split_ascii_whitespace().last()?.parse().ok()
    };
    let steps = ["create id", "bind addr", "resolve addr", "resolve route", "create qp", "connect "];
    let all: Option<Vec<f64>> = steps.into_iter().map(step).collect();
    Some((all?.iter().sum(), step("connect ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perftest_prints_is_read() {
        let text = " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]\n 8       1000          10.61          28744.03      17.85    \t1938.91 \t3439.71\t\t12916.82 \t\t28744.03\n---\n";
        let expected = vec![1000.0, 10.61, 28744.03, 17.85, 1938.91, 3439.71, 12916.82, 28744.03];
        assert_eq!(results(text, 8), Some(expected));
        assert_eq!(results(text, 4096), None);
    }

    #[test]
    fn what_cmtime_prints_is_read() {
        let text = "connecting\nstep              total ms     max ms     min us  us / conn\n\
            create id    :        0.13       0.09      89.00     126.00\nbind addr    :        9.00       8.67    8670.00    9002.00\n\
            resolve addr :        1.94       1.88    1882.00    1942.00\nresolve route:        8.04       2.74    2737.00    8038.00\n\
            create qp    :        9.27       9.16    9165.00    9269.00\nconnect      :       27.04      26.95   26950.00   27043.00\n";
        assert_eq!(connected(text), Some((55420.0, 27043.0)));
        assert_eq!(connected("event: RDMA_CM_EVENT_REJECTED, error: 28"), None);
    }
}
