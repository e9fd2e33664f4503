//! What a bench tells a running `sleep-model`, through a file.
//!
//! ```text
//! pace 1.6     each batch takes that many times as long, from now on
//! next 10      the next batch takes that many times as long, once
//! ```
//!
//! The file is replaced as a whole, so that it is never read half-written.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Orders to a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orders {
    /// Each batch takes that many times as long.
    pub pace: f64,
    /// The next batch takes that many times as long, once.
    pub next: f64,
}

impl Default for Orders {
    /// Nothing out of the ordinary.
    fn default() -> Orders {
        Orders {
            pace: 1.0,
            next: 1.0,
        }
    }
}

impl Orders {
    /// Gives these orders to whoever follows `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, self.to_string())?;
        std::fs::rename(unfinished, path)
    }
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pace {}\nnext {}", self.pace, self.next)
    }
}

impl FromStr for Orders {
    type Err = String;

    fn from_str(text: &str) -> Result<Orders, String> {
        let mut orders = Orders::default();
        for line in text.lines() {
            let mistaken = || format!("'{line}' is no order, such as 'pace 1.6' or 'next 10'");
            let (name, factor) = line.split_once(' ').ok_or_else(mistaken)?;
            let factor = factor.parse().map_err(|_| mistaken())?;
            if !(0.0..=1e6).contains(&factor) {
                return Err(mistaken());
            }
            match name {
                "pace" => orders.pace = factor,
                "next" => orders.next = factor,
                _ => return Err(mistaken()),
            }
        }
        Ok(orders)
    }
}

/// Follows the orders in a file.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// The file that was read last.
    known: Option<Version>,
    orders: Orders,
}

/// Tells one content of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(file: &Metadata) -> Version {
        Version {
            inode: file.ino(),
            changed: (file.mtime(), file.mtime_nsec()),
        }
    }
}

impl Follower {
    /// Follows `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Follower {
        Follower {
            path,
            known: None,
            orders: Orders::default(),
        }
    }

    /// How many times as long the next batch shall take. Reads the file only when it has changed.
    ///
    /// # Errors
    /// If the file holds something else than orders, each time until it is put right.
    pub fn next_factor(&mut self) -> Result<f64, String> {
        let file = std::fs::metadata(&self.path).ok();
        let found = file.as_ref().map(Version::of);
        if found.is_some() && found != self.known {
            let text = std::fs::read_to_string(&self.path);
            self.orders = text.map_err(|error| error.to_string())?.parse()?;
            self.known = found;
        }
        let once = std::mem::replace(&mut self.orders.next, 1.0);
        Ok(self.orders.pace * once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_batch_is_slower_once_and_the_pace_stays() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("orders");
        let mut follower = Follower::new(path.clone());
        let mut factors = || [(); 3].map(|()| follower.next_factor());
        assert_eq!(factors(), [Ok(1.0), Ok(1.0), Ok(1.0)], "no file yet");
        let (pace, next) = (2.0, 10.0);
        Orders { pace, next }.give(&path).expect("written");
        assert_eq!(factors(), [Ok(20.0), Ok(2.0), Ok(2.0)]);
        Orders { pace, next }.give(&path).expect("written");
        assert_eq!(factors(), [Ok(20.0), Ok(2.0), Ok(2.0)], "told again");
        Orders::default().give(&path).expect("written");
        assert_eq!(factors(), [Ok(1.0), Ok(1.0), Ok(1.0)]);
    }

    #[test]
    fn what_is_no_order_is_named() {
        for text in [
            "pace", "pace x", "pace -1", "pace nan", "stop 1", "pace 1e9",
        ] {
            let told = text.parse::<Orders>().expect_err("no order");
            assert!(told.starts_with(&format!("'{text}' is no order")), "{told}");
        }
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("orders");
        std::fs::write(&path, "faster").expect("written");
        let mut follower = Follower::new(path);
        for _ in 0..2 {
            follower.next_factor().expect_err("still no order");
        }
    }
}
