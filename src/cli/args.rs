//! What the program is called with.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A session between two cluster partners over one-sided RDMA, and what clients can do with it.
#[derive(Debug, Parser)]
#[command(name = "handfast", version = env!("HANDFAST_VERSION"), about, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run two partners on this machine: session, a streamed file, a kill, and recovery
    Demo(DemoArguments),
    /// Run one node until it is told to end (SIGINT, SIGTERM)
    Node(NodeArguments),
    /// Read a node's session page one-sided: works while it boots, and while it is stopped
    Status(StatusArguments),
    /// One of the demo's two processes
    #[command(hide = true)]
    DemoWorker(WorkerArguments),
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Demo(arguments) => arguments.json,
            Self::Node(arguments) => arguments.json,
            Self::Status(arguments) => arguments.json,
            Self::DemoWorker(_) => false,
        }
    }
}

/// Which partner starts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// The one that sends, then the one that receives.
    AFirst,
    /// The other way round.
    BFirst,
    /// Both at once.
    Both,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// What to stream: a file, `-` for standard input; this program itself by default
    pub(crate) file: Option<PathBuf>,
    /// Which partner starts first
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) order: Order,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// This node's name: 1 to 16 letters, digits, `.`, `_`, `-`
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Where this node listens: shm://NAME:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) at: Option<String>,
    /// The partner's name and address: NAME@shm://NAME:PORT
    #[arg(long, value_name = "NODE@ADDRESS")]
    pub(crate) partner: Option<String>,
    /// The cluster both belong to [default: handfast]
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// A file with at least 32 random bytes, the same on both nodes
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A client: NAME:PORTS:BYTES, bytes with an optional KiB, MiB or GiB; repeatable [default: log:1:1MiB]
    #[arg(long = "client", value_name = "NAME:PORTS:BYTES")]
    pub(crate) clients: Vec<String>,
    /// What the partner's clients may ask of this node's memory in all, bytes as above [default: 1GiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_max: Option<String>,
    /// A boot stage to publish
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Progress within it
    #[arg(long, value_name = "DONE/TOTAL")]
    pub(crate) progress: Option<String>,
    /// Stay in that stage: the page can be read and the handshake made, but clients are not offered
    #[arg(long)]
    pub(crate) booting: bool,
    /// A TOML file with the same names as these options; options given here win
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object a line for each event, on standard output; no text on standard error unless RUST_LOG asks for it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Where the node listens: shm://NAME:PORT
    pub(crate) address: String,
    /// Read it again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS")]
    pub(crate) watch: Option<f64>,
    /// Print one JSON object instead of text; with --watch, one a line for each reading
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which of the demo's two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Sender,
    Receiver,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    /// Name of the pair's addresses.
    #[arg(long)]
    pub(crate) name: String,
    /// What the sender streams.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// How long that is, bytes.
    #[arg(long)]
    pub(crate) bytes: u64,
    /// The pass in whose middle the receiver stops taking anything, to be killed.
    #[arg(long)]
    pub(crate) hold: Option<u32>,
}
