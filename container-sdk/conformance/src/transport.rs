//! How a case's container is connected.

use std::fmt;
use std::str::FromStr;

/// One of the ways between a front end and a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// ZeroMQ over a Unix socket, batches through shared memory.
    Shm,
    /// ZeroMQ over a Unix socket.
    Ipc,
    /// ZeroMQ over tcp on the loopback.
    Tcp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 3] = [Transport::Shm, Transport::Ipc, Transport::Tcp];

    /// As it stands in flags and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Shm => "shm",
            Transport::Ipc => "ipc",
            Transport::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Transport::ALL.into_iter();
        let found = all.find(|transport| transport.name() == text);
        found.ok_or_else(|| format!("'{text}' is no transport, expected shm, ipc or tcp"))
    }
}
