//! What the program is called with.

use clap::{Args, Parser, Subcommand, ValueEnum};
use handfast::fabric::Address;
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
    /// Run one node until it is told to end (SIGINT, SIGTERM, SIGHUP)
    Node(NodeArguments),
    /// Read a node's session page one-sided: works while it boots, and while it is stopped (status 3: its heartbeat stands still)
    Status(StatusArguments),
    /// List the RDMA devices of this machine: what they are, and whether handfast can use them, or what is missing
    Devices(DevicesArguments),
    /// Look into a mirrored log: a persisted copy, or a ring in /dev/shm, also while it is written
    #[command(subcommand)]
    Log(LogCommand),
    /// One of the demo's two processes
    #[command(hide = true)]
    DemoWorker(WorkerArguments),
    /// One of the bank's two processes
    #[cfg(feature = "redb")]
    #[command(hide = true)]
    BankWorker(BankArguments),
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Demo(arguments) => arguments.json,
            Self::Node(arguments) => arguments.json,
            Self::Status(arguments) => arguments.json,
            Self::Devices(arguments) => arguments.json,
            Self::Log(LogCommand::Dump(arguments)) => arguments.json,
            Self::Log(LogCommand::Verify(arguments) | LogCommand::Stat(arguments)) => arguments.json,
            Self::DemoWorker(_) => false,
            #[cfg(feature = "redb")]
            Self::BankWorker(_) => false,
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

/// What the demo's two partners meet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FabricName {
    /// Shared memory of this machine.
    Shm,
    /// RDMA, by libibverbs.
    Verbs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// What to stream: a file, `-` for standard input; this program itself by default
    pub(crate) file: Option<PathBuf>,
    /// What the partners meet on: shared memory, or the first RDMA device that is ready [default: shm, or the one that --at names]
    #[arg(long, value_enum)]
    pub(crate) fabric: Option<FabricName>,
    /// Where to listen: shm://NAME:PORT or rdma://ADDRESS:PORT; without --side the second partner takes the next port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) at: Option<Address>,
    /// Which partner starts first
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) order: Order,
    /// Be one partner alone; the other runs somewhere else, and may come, go and come back
    #[arg(long, value_enum, requires = "at", requires = "partner", conflicts_with = "order")]
    pub(crate) side: Option<Role>,
    /// Where the other partner listens
    #[arg(long, value_name = "ADDRESS", requires = "side")]
    pub(crate) partner: Option<Address>,
    /// With --side: how often the sender streams the file, 1 to 100; the receiver goes by the sender
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100), requires = "side")]
    pub(crate) passes: u32,
    /// Instead: run a small bank on this storage engine over the mirrored log, kill its primary, and open the partner's copy
    #[arg(long, value_enum, conflicts_with_all = ["file", "order", "side"])]
    pub(crate) engine: Option<EngineName>,
    /// With --engine: how many of the bank's transactions are acknowledged before the kill
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000), requires = "engine", conflicts_with = "file")]
    pub(crate) transactions: u64,
    /// Print one JSON object instead of text; with --side, one a line for each event
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the bank's accounts are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// The embedded database redb.
    Redb,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// This node's name: 1 to 16 letters, digits, `.`, `_`, `-`
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Where this node listens: shm://NAME:PORT, or rdma://ADDRESS:PORT with an IP address of the RDMA device's network interface
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) at: Option<String>,
    /// The partner's name and address, on the same fabric: NAME@shm://NAME:PORT or NAME@rdma://ADDRESS:PORT
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
    /// What the partner's clients may ask of this node's memory in all: bytes, with an optional KiB, MiB or GiB [default: 1GiB]
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
    /// Where the node listens: shm://NAME:PORT or rdma://ADDRESS:PORT
    pub(crate) address: String,
    /// Read it again every so many seconds (0.1, say), until interrupted
    #[arg(long, value_name = "SECONDS")]
    pub(crate) watch: Option<f64>,
    /// Print one JSON object instead of text; with --watch, one a line for each reading
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which of the demo's two partners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The one that streams the file.
    Sender,
    /// The one whose memory takes it.
    Receiver,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    /// Where it listens.
    #[arg(long)]
    pub(crate) at: Address,
    /// Where the other one does.
    #[arg(long)]
    pub(crate) partner: Address,
    /// What the sender streams.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// How long that is, bytes.
    #[arg(long)]
    pub(crate) bytes: u64,
    /// Bytes of the log's ring.
    #[arg(long)]
    pub(crate) ring_bytes: u64,
    /// The pass in whose middle the receiver stops taking anything, to be killed.
    #[arg(long)]
    pub(crate) hold: Option<u32>,
}

/// Which of the bank's two processes.
#[cfg(feature = "redb")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BankRole {
    /// The one that has the bank, and is killed.
    Primary,
    /// The one that takes over.
    Partner,
}

#[cfg(feature = "redb")]
#[derive(Debug, Args)]
pub(crate) struct BankArguments {
    #[arg(long, value_enum)]
    pub(crate) role: BankRole,
    /// Where it listens.
    #[arg(long)]
    pub(crate) at: Address,
    /// Where the other one does.
    #[arg(long)]
    pub(crate) partner: Address,
    /// Where both keep their files.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// What the transfers are drawn by.
    #[arg(long)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print the records in order, to the end of what is whole
    Dump(LogDumpArguments),
    /// Read all of it: where what is whole ends, and why; status 1 where acknowledged records are missing
    Verify(LogArguments),
    /// Headers, what the partner reports, counts and sizes of the records
    Stat(LogArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// The file with the log
    pub(crate) path: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// How payloads are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PayloadForm {
    /// The first bytes of each record on its line.
    Brief,
    /// The payloads' bytes one after the other and nothing else; holes and padding are left out.
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct LogDumpArguments {
    /// The file with the log
    pub(crate) path: PathBuf,
    /// Begin with the first record at this lsn or after it
    #[arg(long, value_name = "LSN")]
    pub(crate) from: Option<u64>,
    /// Print so many records at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// How payloads are printed
    #[arg(long, value_enum, default_value = "brief")]
    pub(crate) payload: PayloadForm,
    /// Print one JSON object a line: for each record, then one for the end
    #[arg(long, conflicts_with = "payload")]
    pub(crate) json: bool,
}
