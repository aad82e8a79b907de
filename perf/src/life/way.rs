//! The ways in which a partner's life ends or stands still, and the rows made of them.

use std::time::Duration;

/// How the partner's process ends, or stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// SIGKILL.
    Kill,
    /// SIGABRT, and the kernel writes its memory into a file before it is gone.
    Core,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// It becomes another program.
    Exec,
    /// SIGKILL, while a child that it forked lives on with its memory and descriptors.
    Fork,
}

/// Who polls the measuring process's manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// A control thread.
    Thread,
    /// Nobody, from before the signal on: what the log's poller knows is all there is.
    Unpolled,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// What happens to the partner.
    pub(crate) way: Way,
    /// Who polls the manager meanwhile.
    pub(crate) manager: Manager,
}

/// No rise may come later: what `LogConfig::heartbeat_age_max` is set to, as it is by default.
pub(crate) const LIMIT: Duration = Duration::from_millis(100);

const WAYS: [Way; 5] = [Way::Kill, Way::Stop, Way::Exec, Way::Fork, Way::Core];

impl Way {
    /// Its name, in rows and in the partner's arguments.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Core => "core",
            Self::Stop => "stop",
            Self::Exec => "exec",
            Self::Fork => "fork",
        }
    }

    /// The way of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        WAYS.into_iter().find(|way| way.name() == name)
    }

    /// Of so many rounds, how many this one makes: a large core dump takes long.
    pub(crate) fn rounds(self, rounds: usize) -> usize {
        if self == Self::Core { rounds.div_ceil(4) } else { rounds }
    }
}

impl Row {
    /// What it is called.
    pub(crate) fn name(self) -> String {
        let manager = match self.manager {
            Manager::Thread => "thread",
            Manager::Unpolled => "unpolled",
        };
        format!("{}-{manager}", self.way.name())
    }
}

/// All rows, in the order of the table.
pub(crate) fn rows() -> Vec<Row> {
    let both = |way| [Manager::Thread, Manager::Unpolled].map(|manager| Row { way, manager });
    WAYS.into_iter().flat_map(both).collect()
}
