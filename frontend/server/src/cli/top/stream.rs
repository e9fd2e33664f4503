//! The view where there is no terminal: a snapshot, or a line of JSON an interval.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use super::draw::{self, Paint};
use super::poll::{Poller, Ticks};
use super::sort::Sort;
use super::view::View;
use crate::cli::client::CliError;

/// Width of a snapshot that is written to a file or a pipe: that of all columns and causes.
const WIDTH: usize = 200;

/// Prints one view an interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) interval: Duration,
    pub(super) sort: Sort,
    pub(super) is_json: bool,
    /// Views before it ends; no end where there is none.
    pub(super) count: Option<u64>,
    /// Columns of the terminal; nothing where it is none.
    pub(super) width: Option<u16>,
}

impl Stream {
    /// Prints until `count` views are out or nobody reads them any more.
    ///
    /// # Errors
    /// If the front end is not there at the beginning, or, where only one view was asked for, at
    /// the end.
    pub(super) fn run(&self, poller: &mut Poller) -> anyhow::Result<()> {
        let mut before = poller.sample().map_err(crate::cli::told)?;
        let mut ticks = Ticks::from(before.at, self.interval);
        let mut printed = 0;
        let mut was_there = true;
        while self.count.is_none_or(|count| printed < count) {
            std::thread::sleep(ticks.wait(Instant::now()));
            let after = match poller.sample() {
                Ok(after) => after,
                Err(error) if self.count == Some(1) => return Err(crate::cli::told(error)),
                Err(error) => {
                    self.say_lost(was_there, &error);
                    was_there = false;
                    continue;
                }
            };
            was_there = true;
            let elapsed = after.at.saturating_duration_since(before.at);
            let mut view = View::between(&before.load, &after.load, elapsed);
            self.sort.apply(&mut view);
            if !print(&self.text(&view, &poller.address())?)? {
                break;
            }
            printed += 1;
            before = after;
        }
        Ok(())
    }

    /// Says once that there is no answer.
    fn say_lost(&self, was_there: bool, error: &CliError) {
        if was_there {
            // Nobody is left to tell if this fails.
            drop(writeln!(
                std::io::stderr(),
                "skysail: {error}; trying again"
            ));
        }
    }

    fn text(&self, view: &View, address: &str) -> anyhow::Result<String> {
        if self.is_json {
            return Ok(format!("{}\n", serde_json::to_string(view)?));
        }
        let width = self.width.map_or(WIDTH, usize::from);
        Ok(snapshot(view, self.sort, address, width))
    }
}

/// A view as lines of text.
fn snapshot(view: &View, sort: Sort, address: &str, width: usize) -> String {
    let seconds = super::format::seconds(view.interval_seconds);
    let (summary, _) = draw::summary(view, width);
    let mut text = format!("{address}  pid {}  over {seconds}\n{summary}\n\n", view.pid);
    for line in draw::lines(view, sort, width, Paint::new(false)) {
        text.push_str(line.to_string().trim_end());
        text.push('\n');
    }
    text
}

/// Prints a text; gives whether anybody reads on.
fn print(text: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::view::tests::busy;

    #[test]
    fn a_snapshot_is_plain_text_with_all_columns() {
        let text = snapshot(&busy(), Sort::Name, "127.0.0.1:1338", WIDTH);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("127.0.0.1:1338  pid 7  over 2.0s"));
        assert!(
            text.contains("QUANTILE") && text.contains("POLICY"),
            "{text}"
        );
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
        assert!(text.chars().all(|one| one == '\n' || !one.is_control()));
    }

    #[test]
    fn an_interval_is_one_line_of_json() {
        let stream = Stream {
            interval: Duration::from_secs(1),
            sort: Sort::Name,
            is_json: true,
            count: None,
            width: None,
        };
        let text = stream.text(&busy(), "").expect("text");
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let application = &value["applications"][0];
        assert_eq!(application["per_second"]["offered"], 100.0);
        assert_eq!(application["per_second"]["default_by_cause"]["shed"], 2.0);
        let version = &value["versions"][0];
        assert_eq!(version["batch_rows_mean"], 4.0);
        assert_eq!(version["replicas"][0]["busy_share"], 0.5);
    }
}
