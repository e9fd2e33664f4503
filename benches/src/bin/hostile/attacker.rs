//! Runs an attack on a thread of its own, and watches what the server does about it.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use crate::attack::{Attack, Bite, Then};

/// How much later than its limit a connection may be closed on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// What became of the connections of an attack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Connections that could not be.
    pub(crate) not_opened: u64,
    /// Connections that the server ended.
    pub(crate) closed: u64,
    /// Connections that lasted longer than they may.
    pub(crate) overdue: u64,
    /// The longest that one lasted which the server ended.
    pub(crate) lasted_max: Duration,
    /// Answers on HTTP/1, by status; the first of each connection.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

impl Tally {
    fn ended(&mut self, lasted: Duration, by_server: bool, bite: Bite) {
        if let Bite::Closed(limit) = bite {
            self.overdue += u64::from(lasted > limit + SLACK);
        }
        if by_server {
            self.closed += 1;
            self.lasted_max = self.lasted_max.max(lasted);
        }
    }

    /// First answers on HTTP/1.
    pub(crate) fn answers(&self) -> f64 {
        self.statuses.values().sum::<u64>() as f64
    }

    /// The lowest status of them; NaN if there is none.
    pub(crate) fn status_min(&self) -> f64 {
        self.statuses
            .first_key_value()
            .map_or(f64::NAN, |(status, _)| f64::from(*status))
    }

    /// The highest.
    pub(crate) fn status_max(&self) -> f64 {
        self.statuses
            .last_key_value()
            .map_or(f64::NAN, |(status, _)| f64::from(*status))
    }

    /// Whether the server did what it should.
    pub(crate) fn bites(&self, bite: Bite) -> bool {
        match bite {
            Bite::Borne => self.opened > 0,
            Bite::Closed(_) => self.closed > 0 && self.overdue == 0,
            Bite::Refused(wanted) => {
                let is_wanted = |status| wanted.contains(status);
                !self.statuses.is_empty() && self.statuses.keys().all(is_wanted)
            }
        }
    }
}

/// A running attack.
pub(crate) struct Attacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

impl Attacker {
    pub(crate) fn start(attack: Attack, address: SocketAddr) -> Result<Attacker> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let builder = std::thread::Builder::new().name("attacker".to_owned());
        let thread = builder.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(run(Arc::new(attack), address, &stopped)))
        })?;
        Ok(Attacker {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it, and all its connections.
    pub(crate) fn stop(mut self) -> Result<Tally> {
        // Relaxed: nothing else goes with it.
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is stopped once")?;
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(anyhow!("the attacker panicked")))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn run(attack: Arc<Attack>, address: SocketAddr, stop: &AtomicBool) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut tasks = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / attack.opened_per_second.max(1));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        while tasks.try_join_next().is_some() {}
        if tasks.len() < attack.connections {
            tasks.spawn(connection(attack.clone(), address, tally.clone()));
        }
    }
    // Each tells its age as it goes.
    tasks.shutdown().await;
    lock(&tally).clone()
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a connection when it ends, however it ends.
struct Life {
    tally: Arc<Mutex<Tally>>,
    opened: Instant,
    bite: Bite,
    by_server: bool,
}

impl Drop for Life {
    fn drop(&mut self) {
        let lasted = self.opened.elapsed();
        lock(&self.tally).ended(lasted, self.by_server, self.bite);
    }
}

async fn connection(attack: Arc<Attack>, address: SocketAddr, tally: Arc<Mutex<Tally>>) {
    let Ok(stream) = TcpStream::connect(address).await else {
        lock(&tally).not_opened += 1;
        return;
    };
    lock(&tally).opened += 1;
    let mut life = Life {
        tally: tally.clone(),
        opened: Instant::now(),
        bite: attack.bite,
        by_server: false,
    };
    let (reader, writer) = stream.into_split();
    let begins_with_answer = attack.then == Then::Answer;
    tokio::select! {
        by_server = write(&attack, writer) => life.by_server = by_server,
        by_server = read(reader, attack.reads, begins_with_answer, &tally) => {
            life.by_server = by_server;
        }
    }
}

/// Sends what an attack sends; whether the server put an end to it.
async fn write(attack: &Attack, mut writer: OwnedWriteHalf) -> bool {
    if writer.write_all(&attack.opening).await.is_err() {
        // What it answered is told by who reads.
        return if attack.reads { pending().await } else { true };
    }
    match attack.then {
        Then::Hold | Then::Answer => {}
        Then::Close => return false,
        Then::Reset => {
            // A failure would only close it more politely.
            drop(writer.as_ref().set_zero_linger());
            return false;
        }
        // One that is closed already is told by who reads.
        Then::HalfClose => drop(writer.shutdown().await),
    }
    let Some(drip) = attack.drip else {
        return pending().await;
    };
    let mut pace = tokio::time::interval(drip.every);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0.. {
        pace.tick().await;
        if writer.write_all(&(drip.bytes)(round)).await.is_err() {
            break;
        }
    }
    if attack.reads { pending().await } else { true }
}

/// Reads and forgets; whether the server put an end to it.
async fn read(
    mut reader: OwnedReadHalf,
    reads: bool,
    until_answer: bool,
    tally: &Mutex<Tally>,
) -> bool {
    if !reads {
        return pending().await;
    }
    let mut buffer = vec![0; 16 << 10];
    let mut is_first = true;
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if std::mem::take(&mut is_first)
            && let Some(status) = status(&buffer[..count])
        {
            *lock(tally).statuses.entry(status).or_default() += 1;
            if until_answer {
                return false;
            }
        }
    }
    true
}

/// The status of an answer on HTTP/1.
fn status(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_status_is_that_of_an_http1_answer() {
        assert_eq!(status(b"HTTP/1.1 413 Payload Too Large\r\n"), Some(413));
        assert_eq!(status(b"\x00\x00\x06\x04"), None);
        assert_eq!(status(b"HTTP/1.1 4"), None);
    }

    #[test]
    fn a_limit_bites_if_all_connections_were_closed_in_time() {
        let bite = Bite::Closed(LIMIT);
        let mut tally = Tally::default();
        assert!(!tally.bites(bite), "nothing was closed");
        tally.ended(LIMIT, true, bite);
        assert!(tally.bites(bite));
        tally.ended(LIMIT + 2 * SLACK, false, bite);
        assert!(!tally.bites(bite), "one was still open");
    }

    #[test]
    fn a_refusal_bites_if_every_answer_is_one() {
        let bite = Bite::Refused(&[400, 413]);
        let mut tally = Tally::default();
        assert!(!tally.bites(bite));
        tally.statuses.insert(413, 7);
        assert!(tally.bites(bite));
        tally.statuses.insert(200, 1);
        assert!(!tally.bites(bite));
    }
}
