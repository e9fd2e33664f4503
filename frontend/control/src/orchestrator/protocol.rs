//! What the front end and its supervisor say to each other: JSON, one message a line.
//!
//! Both ends are the same executable, so the protocol has no version.
//!
//! # Invariants
//! - A line has at most [`LINE_BYTES_MAX`] bytes, its end included.
//! - The supervisor says [`Report::Ready`] once, first.

use serde::{Deserialize, Serialize};

use super::{Deployment, ReplicaProcess};

/// Longest message: the largest declaration has 1,024 deployments with 64 KiB of command each.
pub(super) const LINE_BYTES_MAX: usize = 64 << 20;

/// From the front end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    /// The whole desired state.
    Apply(Vec<Deployment>),
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// It can start replicas.
    Ready,
    /// All replicas, after a change.
    Observed(Vec<ReplicaProcess>),
}

/// One line, or why there is none.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(format!(
            "message has {} bytes, at most {LINE_BYTES_MAX} allowed",
            line.len()
        ));
    }
    Ok(line)
}

/// Collects bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Takes `bytes` in; fails where a line grows beyond its limit.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > LINE_BYTES_MAX && !bytes.contains(&b'\n') {
            return Err(format!("line has over {LINE_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// The next whole line, its end included.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n')?;
        let rest = self.bytes.split_off(end + 1);
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, LINE_BYTES_MAX, Lines, encode};

    #[test]
    fn gives_back_lines_however_they_were_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for byte in b"one\ntwo\n\nthree" {
            lines.push(&[*byte]).expect("a short line");
            seen.extend(lines.next_line());
        }
        assert_eq!(seen, [&b"one\n"[..], b"two\n", b"\n"]);
        lines.push(b"\nfour\n").expect("a short line");
        assert_eq!(lines.next_line().expect("a line"), b"three\n");
        assert_eq!(lines.next_line().expect("a line"), b"four\n");
        assert_eq!(lines.next_line(), None);
    }

    #[test]
    fn refuses_a_line_beyond_the_limit() {
        let mut lines = Lines::default();
        lines
            .push(&vec![b'x'; LINE_BYTES_MAX])
            .expect("at the limit");
        lines.push(b"x").expect_err("beyond the limit");
    }

    #[test]
    fn writes_one_line_a_message() {
        let line = encode(&Command::Apply(Vec::new())).expect("a small message");
        assert_eq!(line, b"{\"apply\":[]}\n");
    }
}
