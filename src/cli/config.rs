//! What a node is to be: options and configuration file, put together and checked.

use crate::cli::args::NodeArguments;
use crate::cli::fabrics;
use crate::cli::failure::Failure;
use handfast::fabric::Address;
use handfast::handshake::PreSharedKey;
use handfast::manager::{ClientSpec, NodeConfig};
use handfast::page::{ClusterName, NodeId};
use serde::Deserialize;
use std::fmt::Display;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A key is short: what is longer is some other file, or has no end (`/dev/urandom`).
const KEY_BYTES_MAX: u64 = 4096;

/// A configuration is short, too.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Whoever writes a key into a pipe has done so by then.
const KEY_WITHIN: Duration = Duration::from_secs(5);

/// The configuration file: the options by their names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    id: Option<String>,
    at: Option<String>,
    partner: Option<String>,
    cluster: Option<String>,
    key: Option<PathBuf>,
    client: Option<Vec<String>>,
    memory_max: Option<String>,
    stage: Option<String>,
    progress: Option<String>,
    booting: Option<bool>,
}

/// A node's whole configuration.
pub(crate) struct Setup {
    pub(crate) node: NodeConfig,
    pub(crate) at: Address,
    pub(crate) clients: Vec<ClientSpec>,
    pub(crate) stage: Option<(String, u64, u64)>,
    pub(crate) booting: bool,
}

/// Puts options and file together; options win.
pub(crate) fn setup(arguments: &NodeArguments) -> Result<Setup, Failure> {
    let file = arguments.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let need = |option: &Option<String>, file: Option<String>, name: &str| {
        option.clone().or(file).ok_or_else(|| Failure::usage(format!("--{name} is missing (or `{name}` in --config)")))
    };
    let id: NodeId = parsed("id", &need(&arguments.id, file.id, "id")?)?;
    let at: Address = parsed("at", &need(&arguments.at, file.at, "at")?)?;
    let (partner, partner_at) = partner(&need(&arguments.partner, file.partner, "partner")?)?;
    if partner == id {
        return Err(Failure::usage(format!("--partner: the partner has this node's own name, `{id}`")));
    }
    fabrics::check_pair(&at, &partner_at)?;
    let cluster = arguments.cluster.clone().or(file.cluster).unwrap_or_else(|| "handfast".to_owned());
    let cluster: ClusterName = parsed("cluster", &cluster)?;
    let mut node = NodeConfig::new(cluster, id, at.clone(), partner, partner_at);
    if let Some(path) = arguments.key.clone().or(file.key) {
        node = node.key(key(&path)?);
    }
    if let Some(text) = arguments.memory_max.clone().or(file.memory_max) {
        let wrong =
            || Failure::usage(format!("--memory-max `{text}`: write bytes, with KiB, MiB or GiB where you like: 4GiB"));
        node = node.memory_bytes_max(bytes_of(&text).ok_or_else(wrong)?);
    }
    let clients = match (arguments.clients.is_empty(), file.client) {
        (false, _) => arguments.clients.clone(),
        (true, Some(clients)) => clients,
        (true, None) => vec!["log:1:1MiB".to_owned()],
    };
    let clients = clients.iter().map(|text| client(text)).collect::<Result<_, _>>()?;
    // Progress belongs to its stage: a stage given as an option does not take that of the file.
    let (name, progress) = match &arguments.stage {
        Some(name) => (Some(name.clone()), arguments.progress.clone()),
        None => (file.stage, arguments.progress.clone().or(file.progress)),
    };
    let booting = arguments.booting || file.booting.unwrap_or_default();
    Ok(Setup { node, at, clients, stage: stage(name, progress.as_deref())?, booting })
}

/// The file as it is written; a path in it is meant from the folder it lies in.
fn read(path: &Path) -> Result<File, Failure> {
    let text = text(path).map_err(|error| Failure::of(format!("reading {}", path.display()), error))?;
    let mut file = decode(&path.display().to_string(), &text)?;
    file.key = file.key.map(|key| path.parent().unwrap_or(Path::new("")).join(key));
    Ok(file)
}

fn text(path: &Path) -> std::io::Result<String> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is not a regular file: give --config the path of one"));
    }
    let mut text = String::new();
    if file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)? as u64 > CONFIG_BYTES_MAX {
        return Err(Error::other(format!("it has more than {CONFIG_BYTES_MAX} bytes, and is no configuration file")));
    }
    Ok(text)
}

/// Opens a file for reading, and waits for nobody at the other end where it is a FIFO.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn decode(name: &str, text: &str) -> Result<File, Failure> {
    // The parser's own message shows line, column and the names that are known.
    toml::from_str(text).map_err(|error| Failure::usage(format!("{name}: {}", error.to_string().trim_end())))
}

fn key(path: &Path) -> Result<PreSharedKey, Failure> {
    let failed = |error: std::io::Error| Failure::of(format!("reading the key {}", path.display()), error);
    let mut secret = Vec::new();
    let file = open(path).map_err(failed)?;
    // A pipe is taken, too, so that a key need not be in a file: `--key <(command)`. It may be empty yet, or have no writer yet.
    let is_pipe = file.metadata().map_err(failed)?.file_type().is_fifo();
    let (mut file, began) = (file.take(KEY_BYTES_MAX + 1), Instant::now());
    loop {
        match file.read_to_end(&mut secret) {
            Ok(_) if !is_pipe || !secret.is_empty() => break,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
            _ if began.elapsed() > KEY_WITHIN => {
                let late = format!("nobody wrote the whole of it into this pipe within {} s", KEY_WITHIN.as_secs());
                return Err(failed(Error::new(ErrorKind::TimedOut, late)));
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    if secret.len() as u64 > KEY_BYTES_MAX {
        return Err(Failure::new(format!("{} is no key: it has more than {KEY_BYTES_MAX} bytes", path.display())));
    }
    PreSharedKey::new(&secret).map_err(|error| Failure::of(path.display(), error))
}

/// Parses what an option was given; a refusal names the option.
fn parsed<T: FromStr<Err: Display>>(option: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("--{option}: {error}")))
}

fn partner(text: &str) -> Result<(NodeId, Address), Failure> {
    let Some((node, address)) = text.split_once('@') else {
        return Err(Failure::usage(format!("--partner `{text}`: write NODE@ADDRESS, for example b@shm://demo:2")));
    };
    Ok((parsed("partner", node)?, parsed("partner", address)?))
}

fn client(text: &str) -> Result<ClientSpec, Failure> {
    let wrong = || Failure::usage(format!("--client `{text}`: write NAME:PORTS:BYTES, for example log:2:16MiB"));
    let mut parts = text.split(':');
    let (Some(name), Some(ports), Some(bytes), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let ports = ports.parse().map_err(|_| wrong())?;
    let memory = bytes_of(bytes).ok_or_else(wrong)?;
    Ok(ClientSpec::new(parsed("client", name)?).ports(ports).memory(memory))
}

fn bytes_of(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn stage(name: Option<String>, progress: Option<&str>) -> Result<Option<(String, u64, u64)>, Failure> {
    let Some(progress) = progress else { return Ok(name.map(|name| (name, 0, 0))) };
    let Some(name) = name else { return Err(Failure::usage("--progress is of a stage: name it with --stage")) };
    let numbers: Option<(u64, u64)> =
        progress.split_once('/').and_then(|(done, total)| Some((done.parse().ok()?, total.parse().ok()?)));
    match numbers {
        Some((done, total)) if done <= total => Ok(Some((name, done, total))),
        Some(_) => Err(Failure::usage(format!("--progress `{progress}`: more is done than there is to do"))),
        _ => Err(Failure::usage(format!("--progress `{progress}`: write DONE/TOTAL, for example 40/100"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes_of("12"), Some(12));
        assert_eq!(bytes_of("3MiB"), Some(3 << 20));
        assert_eq!(bytes_of("99999999999GiB"), None);
        assert_eq!(bytes_of("MiB"), None);
        assert_eq!(bytes_of("1 MiB"), None);
    }

    #[test]
    fn progress_is_of_a_stage_and_not_past_its_end() {
        let replay = || Some("replay".to_owned());
        assert!(matches!(stage(replay(), Some("40/100")), Ok(Some((_, 40, 100)))));
        assert!(matches!(stage(replay(), None), Ok(Some((_, 0, 0)))));
        for (name, progress) in [(None, "1/2"), (replay(), "3/2"), (replay(), "half"), (replay(), "-1/2")] {
            assert!(stage(name, Some(progress)).is_err(), "{progress}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_line() -> Result<(), Failure> {
        let file = decode("node.toml", "id = \"a\"\nclient = [\"log:1:0\"]\nmemory-max = \"1GiB\"\nbooting = true\n")?;
        assert_eq!((file.id.as_deref(), file.booting), (Some("a"), Some(true)));
        let Err(failure) = decode("node.toml", "id = \"a\"\n\ncolour = \"red\"\n") else {
            return Err(Failure::new("an unknown key was taken"));
        };
        let message = failure.message();
        assert!(message.contains("line 3") && message.contains("colour") && message.contains("cluster"), "{message}");
        Ok(())
    }
}
