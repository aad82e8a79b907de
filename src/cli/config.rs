//! What a node is to be: options and configuration file, put together and checked.

use crate::cli::args::NodeArguments;
use crate::cli::failure::Failure;
use handfast::fabric::Address;
use handfast::handshake::PreSharedKey;
use handfast::manager::{ClientSpec, NodeConfig};
use handfast::page::{ClusterName, NodeId};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The configuration file: the options by their names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<String>,
    at: Option<String>,
    partner: Option<String>,
    cluster: Option<String>,
    key: Option<PathBuf>,
    clients: Option<Vec<String>>,
    stage: Option<String>,
    progress: Option<String>,
}

/// A node's whole configuration.
pub(crate) struct Setup {
    pub(crate) node: NodeConfig,
    pub(crate) clients: Vec<ClientSpec>,
    pub(crate) stage: Option<(String, u64, u64)>,
}

/// Puts options and file together; options win.
pub(crate) fn setup(arguments: &NodeArguments) -> Result<Setup, Failure> {
    let file = match &arguments.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    let need = |option: &Option<String>, file: Option<String>, name: &str| {
        option.clone().or(file).ok_or_else(|| Failure::usage(format!("--{name} is missing (or `{name}` in --config)")))
    };
    let id: NodeId = need(&arguments.id, file.id, "id")?.parse().map_err(Failure::usage)?;
    let at: Address = need(&arguments.at, file.at, "at")?.parse().map_err(Failure::usage)?;
    let (partner, partner_at) = partner(&need(&arguments.partner, file.partner, "partner")?)?;
    let cluster = arguments.cluster.clone().or(file.cluster).unwrap_or_else(|| "handfast".to_owned());
    let cluster: ClusterName = cluster.parse().map_err(Failure::usage)?;
    let mut node = NodeConfig::new(cluster, id, at, partner, partner_at);
    if let Some(path) = arguments.key.clone().or(file.key) {
        let secret =
            std::fs::read(&path).map_err(|error| Failure::of(format!("reading the key {}", path.display()), error))?;
        node = node.key(PreSharedKey::new(&secret).map_err(|error| Failure::of(path.display(), error))?);
    }
    let clients = match (arguments.clients.is_empty(), file.clients) {
        (false, _) => arguments.clients.clone(),
        (true, Some(clients)) => clients,
        (true, None) => vec!["log:1:1MiB".to_owned()],
    };
    let clients = clients.iter().map(|text| client(text)).collect::<Result<_, _>>()?;
    let progress = arguments.progress.clone().or(file.progress);
    let stage = arguments.stage.clone().or(file.stage).map(|name| stage(name, progress.as_deref())).transpose()?;
    Ok(Setup { node, clients, stage })
}

fn read(path: &Path) -> Result<File, Failure> {
    let doing = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of(doing(), error))?;
    // The parser's own message shows line, column and the names that are known.
    toml::from_str(&text).map_err(|error| Failure::of(doing(), error))
}

fn partner(text: &str) -> Result<(NodeId, Address), Failure> {
    let Some((node, address)) = text.split_once('@') else {
        return Err(Failure::usage(format!("--partner `{text}`: write NODE@ADDRESS, for example b@shm://demo:2")));
    };
    Ok((node.parse().map_err(Failure::usage)?, address.parse().map_err(Failure::usage)?))
}

fn client(text: &str) -> Result<ClientSpec, Failure> {
    let wrong = || Failure::usage(format!("--client `{text}`: write NAME:PORTS:BYTES, for example log:2:16MiB"));
    let mut parts = text.split(':');
    let (Some(name), Some(ports), Some(bytes), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let ports = ports.parse().map_err(|_| wrong())?;
    let memory = bytes_of(bytes).ok_or_else(wrong)?;
    Ok(ClientSpec::new(name.parse().map_err(Failure::usage)?).ports(ports).memory(memory))
}

fn bytes_of(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn stage(name: String, progress: Option<&str>) -> Result<(String, u64, u64), Failure> {
    let Some(progress) = progress else { return Ok((name, 0, 0)) };
    let numbers = progress.split_once('/').and_then(|(done, total)| Some((done.parse().ok()?, total.parse().ok()?)));
    let Some((done, total)) = numbers else {
        return Err(Failure::usage(format!("--progress `{progress}`: write DONE/TOTAL, for example 40/100")));
    };
    Ok((name, done, total))
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
}
