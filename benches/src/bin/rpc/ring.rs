//! The least that carries a payload to another process and an answer back: what Skysail's own
//! shared-memory transport is held to.
//!
//! Two rings in a memfd (see [`map`]), payloads up to 64 bytes inside the entry, others in
//! slots that the front side keeps. A slot that was just read lies in the reader's cache, and
//! taking its lines back may cost more than a slot whose lines have gone to the cache that
//! both cores share; which is cheaper depends on the machine, so the bench shows both orders
//! (see [`Slots`]). Three ways to wait: both sides spin; the front side is a tokio task that is woken
//! from the park hook while the peer spins; both sides always sleep on an eventfd.

#![allow(
    unsafe_code,
    reason = "payloads in shared memory, inherited descriptors"
)]

mod map;

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;

use self::map::{INLINE_BYTES, Map, Request, Sleeper};
use crate::harness::{Answer, Exchange, OnThread, OnTokio, PATIENCE, Path, WINDOW, runtime, spin};
use crate::payload::{Source, sum};
use crate::peer::{Peer, end_with_input, serve_bursts};
use crate::probe::Cores;

/// A request of this length is none: the peer rests until the next burst.
const REST: u32 = u32::MAX;
/// The park hook gives the reactor a look after this long.
const HOOK_PATIENCE: Duration = Duration::from_millis(1);
/// Looks at memory between two looks at the clock in the park hook.
const HOOK_LOOKS: u32 = 1 << 10;

/// Descriptors that a peer inherits.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    /// The memory
    memory: RawFd,
    /// Where the front side sleeps; the peer spins if there is none
    #[arg(requires = "wake_peer")]
    wake_front: Option<RawFd>,
    /// Where the peer sleeps
    wake_peer: Option<RawFd>,
}

/// Which free slot the next payload goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    /// The one that has been free for longest, so that payloads go round all slots.
    OldestFree,
    /// The one that was freed last, so that few slots are in use.
    LastFree,
}

/// Both sides spin.
///
/// # Errors
/// If memory or peer cannot be had.
pub(crate) fn spinning(cores: Cores, slots: Slots) -> Result<Box<dyn Path>> {
    let (mut front, peer) = start(cores, &[])?;
    front.slots = slots;
    Ok(Box::new(OnThread(Spinning { front, peer })))
}

/// The front side's task is woken from tokio's park hook; the peer spins.
///
/// # Errors
/// If memory or peer cannot be had.
pub(crate) fn park_hook(cores: Cores) -> Result<Box<dyn Path>> {
    let (front, peer) = start(cores, &[])?;
    let hook = Arc::new(Hook {
        map: Arc::clone(&front.map),
        next: AtomicU64::new(0),
        waiting: Mutex::new(None),
    });
    let runtime = hooked_runtime(&hook)?;
    Ok(Box::new(OnTokio::new(
        runtime,
        Hooked { front, peer, hook },
    )))
}

/// Both sides always sleep.
///
/// # Errors
/// If memory or peer cannot be had.
pub(crate) fn sleeping(cores: Cores) -> Result<Box<dyn Path>> {
    let event = || eventfd(0, EventfdFlags::NONBLOCK).context("no eventfd");
    let (wake_front, wake_peer) = (event()?, event()?);
    let (front, peer) = start(cores, &[&wake_front, &wake_peer])?;
    let runtime = runtime()?;
    let entered = runtime.enter();
    // SAFETY: the eventfd is open, and stays so as long as the `AsyncFd` that owns it.
    let wake_front = unsafe { AsyncFd::register_with_interest(wake_front, Interest::READABLE) };
    drop(entered);
    let sleeping = Sleeping {
        front,
        wake_front: wake_front.map_err(std::io::Error::from)?,
        wake_peer,
        _peer: peer,
    };
    Ok(Box::new(OnTokio::new(runtime, sleeping)))
}

/// Fresh memory, and a peer that has it and `events`.
fn start(cores: Cores, events: &[&OwnedFd]) -> Result<(Front, Peer)> {
    let (map, memory) = Map::create()?;
    let descriptors = std::iter::once(&memory).chain(events.iter().copied());
    let descriptors: Vec<String> = descriptors.map(|fd| fd.as_raw_fd().to_string()).collect();
    let role = std::iter::once("ring").chain(descriptors.iter().map(String::as_str));
    let peer = Peer::start(cores, &role.collect::<Vec<_>>(), &[])?;
    for event in events {
        rustix::io::fcntl_setfd(event, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((Front::new(map), peer))
}

/// The front side, however it waits.
struct Front {
    map: Arc<Map>,
    sent: u64,
    answered: u64,
    slots: Slots,
    /// Last freed at the back.
    free: VecDeque<u32>,
}

impl Front {
    fn new(map: Map) -> Front {
        Front {
            map: Arc::new(map),
            sent: 0,
            answered: 0,
            slots: Slots::OldestFree,
            free: (0..WINDOW as u32).collect(),
        }
    }

    fn send(&mut self, source: &Source, ticket: u64) {
        let request = Request {
            ticket,
            bytes: u32::try_from(source.len()).expect("less than 4 GiB"),
            slot: self.free_slot(),
        };
        // SAFETY: the slot is not free until its answer is read, and fewer requests are in
        // flight than there are entries.
        source.write(unsafe { self.map.payload_mut(self.sent, request) }, ticket);
        self.publish(request);
    }

    fn free_slot(&mut self) -> u32 {
        let slot = match self.slots {
            Slots::OldestFree => self.free.pop_front(),
            Slots::LastFree => self.free.pop_back(),
        };
        slot.expect("a slot for each in flight")
    }

    fn publish(&mut self, request: Request) {
        self.map.publish_request(self.sent, request);
        self.sent += 1;
    }

    fn take(&mut self) -> Option<Answer> {
        let answer = self.map.take_answer(self.answered)?;
        self.answered += 1;
        self.free.push_back(answer.slot);
        Some(Answer {
            ticket: answer.ticket,
            sum: Some(answer.sum),
        })
    }

    /// Sends a spinning peer to rest. It answers this too, or the next burst's first request
    /// could be taken for the one after.
    fn rest(&mut self) -> Result<()> {
        let slot = self.free_slot();
        self.publish(Request {
            ticket: 0,
            bytes: REST,
            slot,
        });
        spin(|| self.take()).map(drop)
    }
}

struct Spinning {
    front: Front,
    peer: Peer,
}

impl Exchange for Spinning {
    fn begin(&mut self) -> Result<()> {
        self.peer.go()
    }

    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        self.front.send(source, ticket);
        Ok(())
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        ready(spin(|| self.front.take()))
    }

    fn end(&mut self) -> Result<()> {
        self.front.rest()
    }
}

/// What the park hook looks at, and whom it wakes.
struct Hook {
    map: Arc<Map>,
    /// The answer that the task waits for.
    next: AtomicU64,
    /// Never contended: hook and task share a thread.
    waiting: Mutex<Option<Waker>>,
}

impl Hook {
    /// Spins until the answer is there, if somebody waits for one.
    fn on_park(&self) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(waker) = waiting else { return };
        // Relaxed: written by this thread.
        let next = self.next.load(Ordering::Relaxed);
        let mut begin = None;
        'waiting: loop {
            for _ in 0..HOOK_LOOKS {
                if self.map.has_answer(next) {
                    break 'waiting;
                }
                std::hint::spin_loop();
            }
            if begin.get_or_insert_with(Instant::now).elapsed() >= HOOK_PATIENCE {
                break;
            }
        }
        // Also without an answer: the task waits again, and the reactor had its look.
        waker.wake();
    }
}

fn hooked_runtime(hook: &Arc<Hook>) -> Result<Runtime> {
    let hook = Arc::clone(hook);
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || hook.on_park())
        .build();
    built.context("cannot start a runtime")
}

struct Hooked {
    front: Front,
    peer: Peer,
    hook: Arc<Hook>,
}

impl Exchange for Hooked {
    fn begin(&mut self) -> Result<()> {
        self.peer.go()
    }

    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        self.front.send(source, ticket);
        Ok(())
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        poll_fn(|context| {
            if let Some(answer) = self.front.take() {
                return Poll::Ready(Ok(answer));
            }
            // Relaxed: read by this thread.
            self.hook.next.store(self.front.answered, Ordering::Relaxed);
            let mut waiting = self
                .hook
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *waiting = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn end(&mut self) -> Result<()> {
        self.front.rest()
    }
}

struct Sleeping {
    front: Front,
    wake_front: AsyncFd<OwnedFd>,
    wake_peer: OwnedFd,
    _peer: Peer,
}

impl Exchange for Sleeping {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        self.front.send(source, ticket);
        wake(self.front.map.peer_sleeper(), &self.wake_peer)
    }

    async fn recv(&mut self) -> Result<Answer> {
        loop {
            if let Some(answer) = self.front.take() {
                return Ok(answer);
            }
            self.front.map.front_sleeper().lie_down();
            if !self.front.map.has_answer(self.front.answered) {
                let mut readiness = self.wake_front.readable().await?;
                // Before the event is read: one that comes in between is not forgotten.
                readiness.clear_ready();
            }
            self.front.map.front_sleeper().get_up();
            drain(&self.wake_front)?;
        }
    }
}

/// Wakes the other side if it sleeps.
fn wake(sleeper: &Sleeper, event: &OwnedFd) -> Result<()> {
    if sleeper.must_be_woken() {
        rustix::io::write(event, &1_u64.to_ne_bytes()).context("cannot wake the other side")?;
    }
    Ok(())
}

/// Forgets the events so far.
fn drain(event: impl std::os::fd::AsFd) -> Result<()> {
    match rustix::io::read(event, &mut [0; 8]) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error).context("cannot read the event"),
    }
}

/// The peer: adds up each payload.
///
/// # Errors
/// If what it inherited is not what it expects.
pub(crate) fn serve(args: &PeerArgs) -> Result<()> {
    let map = Map::open(&inherited(args.memory))?;
    let mut done = 0;
    if let (Some(wake_front), Some(wake_peer)) = (args.wake_front, args.wake_peer) {
        end_with_input();
        let (wake_front, wake_peer) = (inherited(wake_front), inherited(wake_peer));
        loop {
            let request = sleep_until(&map, &wake_peer, done)?;
            answer(&map, &mut done, request);
            wake(map.front_sleeper(), &wake_front)?;
        }
    }
    serve_bursts(|| {
        loop {
            let request = spin(|| map.take_request(done))?;
            answer(&map, &mut done, request);
            if request.bytes == REST {
                return Ok(());
            }
        }
    })
}

fn answer(map: &Map, done: &mut u64, request: Request) {
    let sum = match request.bytes {
        REST => 0.0,
        // SAFETY: just read, and answered below.
        _ => sum(unsafe { map.payload(*done, request) }),
    };
    let (ticket, slot) = (request.ticket, request.slot);
    map.publish_answer(*done, map::Answer { ticket, sum, slot });
    *done += 1;
}

/// The request at `position`, slept for if it is not there yet.
fn sleep_until(map: &Map, event: &OwnedFd, position: u64) -> Result<Request> {
    loop {
        if let Some(request) = map.take_request(position) {
            return Ok(request);
        }
        map.peer_sleeper().lie_down();
        if map.take_request(position).is_none() {
            let mut events = [PollFd::new(event, PollFlags::IN)];
            match poll(&mut events, None::<&Timespec>) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the event"),
            }
        }
        map.peer_sleeper().get_up();
        drain(event)?;
    }
}

fn inherited(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the bench left it open for this process, which names it nowhere else.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

const _: () = assert!(INLINE_BYTES == crate::payload::SIZES[0]);
const _: () = assert!(PATIENCE.as_secs() > HOOK_PATIENCE.as_secs());
