//! What people do today: the same records in a file, with `fdatasync(2)` each; or sent to the other process through TCP over loopback, and
//! acknowledged. TCP without delay, and both sides spin on sockets that do not block.

use crate::control::{Command, Stalled, spin};
use crate::log::node::RECORD_BYTES_MAX;
use crate::machine::ticks_ordered;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// A file that is gone with this.
pub(crate) struct LogFile {
    file: File,
    path: PathBuf,
}

impl LogFile {
    /// A new one in this folder.
    pub(crate) fn create(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let path = folder.join(format!("handfast-perf-{}.log", std::process::id()));
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        let file = file.map_err(|error| format!("creating {}: {error}", path.display()))?;
        Ok(Self { file, path })
    }

    /// Ticks of appends, each synced.
    pub(crate) fn appends(&mut self, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
        let (record, mut taken) = (vec![0xA1; bytes], Vec::with_capacity(turns as usize));
        for _ in 0..turns {
            let from = ticks_ordered();
            self.file.write_all(&record)?;
            self.file.sync_data()?;
            taken.push(ticks_ordered().wrapping_sub(from));
        }
        Ok(taken)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn prepared(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A connection from the measuring process: its port, then itself.
pub(crate) fn listen() -> std::io::Result<(u16, TcpListener)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((listener.local_addr()?.port(), listener))
}

/// The connection of the other process. An error where it does not come: it may have ended.
pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream, Box<dyn Error>> {
    listener.set_nonblocking(true)?;
    let mut accepted = Err(ErrorKind::WouldBlock.into());
    spin(|| {
        accepted = listener.accept();
        accepted.as_ref().map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
    })?;
    Ok(prepared(accepted?.0)?)
}

/// The peer's end.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    prepared(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
}

/// Reads so many bytes, spinning.
fn receive(stream: &mut TcpStream, into: &mut [u8]) -> Result<(), Box<dyn Error>> {
    let mut got = 0;
    let mut failed: Option<std::io::Error> = None;
    spin(|| {
        match stream.read(&mut into[got..]) {
            Ok(0) => failed = Some(ErrorKind::UnexpectedEof.into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => failed = Some(error),
        }
        got == into.len() || failed.is_some()
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Writes all of it, spinning.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut sent = 0;
    let mut failed: Option<std::io::Error> = None;
    let outcome: Result<(), Stalled> = spin(|| {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => failed = Some(error),
        }
        sent == bytes.len() || failed.is_some()
    });
    outcome?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Ticks of records that are sent and acknowledged by 8 bytes.
pub(crate) fn records(stream: &mut TcpStream, bytes: usize, turns: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let (record, mut answer, mut taken) = (vec![0xA1; bytes], [0; 8], Vec::with_capacity(turns as usize));
    for turn in 0..turns {
        let from = ticks_ordered();
        send(stream, &record)?;
        receive(stream, &mut answer)?;
        taken.push(ticks_ordered().wrapping_sub(from));
        if u64::from_le_bytes(answer) != turn {
            return Err("a record was acknowledged out of turn".into());
        }
    }
    Ok(taken)
}

/// The peer's part: takes records of as many bytes as the command's upper half says, and acknowledges each.
pub(crate) fn acknowledge(stream: &mut TcpStream, command: &Command) -> Result<(), Box<dyn Error>> {
    let (bytes, turns) = unpacked(command.turns);
    let mut record = vec![0; bytes.min(RECORD_BYTES_MAX)];
    for turn in 0..turns {
        receive(stream, &mut record)?;
        send(stream, &turn.to_le_bytes())?;
    }
    Ok(())
}

/// Size and turns in one number.
pub(crate) fn packed(bytes: usize, turns: u64) -> u64 {
    (bytes as u64) << 32 | turns
}

fn unpacked(number: u64) -> (usize, u64) {
    ((number >> 32) as usize, number & u64::from(u32::MAX))
}
