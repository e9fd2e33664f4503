//! The loop on a terminal: polls, keys and signals come as [`Event`]s, one after the other, and
//! after each the screen is drawn.
//!
//! # Invariants
//! - The terminal is as it was before when [`run`] has returned or panicked, and after SIGTERM,
//!   SIGINT and SIGHUP.
//! - A thread that panics ends the loop.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossterm::event::{self, KeyEvent};
use crossterm::terminal::is_raw_mode_enabled;
use tokio::signal::unix::{SignalKind, signal};

use super::draw::{Paint, draw};
use super::poll::{Poller, Ticks};
use super::ui::{Asked, Sample, Ui};
use crate::frontend::INTERRUPTED;

/// Events that wait for the screen; those who send more wait.
const EVENTS_MAX: usize = 16;
/// Time after which the screen is drawn though nothing came: it says for how long that is.
const REDRAW: Duration = Duration::from_secs(1);

/// What the loop hears of.
enum Event {
    Key(KeyEvent),
    Resized,
    Answered {
        address: String,
        sample: Sample,
    },
    Lost(String),
    /// A signal, and the exit status that it ends with.
    Signalled(u8),
    /// One of the threads can tell no more.
    Ended(&'static str),
}

/// The terminal while it is ours; dropping it gives it back.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    /// Takes the terminal. A panic from now on gives it back before it is told.
    fn open() -> anyhow::Result<Screen> {
        let terminal = ratatui::try_init();
        Ok(Screen(terminal.context("cannot use the terminal")?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic it is given back already; once more would write over what was told.
        if is_raw_mode_enabled().unwrap_or(true) {
            // A terminal that is gone needs nothing.
            drop(ratatui::try_restore());
        }
    }
}

/// Says that a thread ended, however it does.
struct Watch(SyncSender<Event>, &'static str);

impl Drop for Watch {
    fn drop(&mut self) {
        // The loop may have ended first.
        drop(self.0.send(Event::Ended(self.1)));
    }
}

/// Shows `ui` until a key or a signal ends it; `poller` has found the front end.
///
/// # Errors
/// If the terminal cannot be used.
pub(super) fn run(mut ui: Ui, poller: Poller, interval: Duration) -> anyhow::Result<ExitCode> {
    let paint = Paint::by_environment();
    let (sender, events) = sync_channel(EVENTS_MAX);
    let ticks = Ticks::from(Instant::now(), interval);
    let mut screen = Screen::open()?;
    start(&sender, "signals", hear_signals)?;
    start(&sender, "keys", hear_keys)?;
    start(&sender, "polls", move |sender| poll(poller, ticks, sender))?;
    loop {
        ui.tick(Instant::now());
        screen
            .0
            .draw(|frame| draw(frame, &mut ui, paint))
            .context("cannot draw on the terminal")?;
        if let Some(status) = step(&events, &mut ui)? {
            return Ok(status);
        }
    }
}

/// Takes what comes next; gives the exit status if that is the end.
fn step(events: &Receiver<Event>, ui: &mut Ui) -> anyhow::Result<Option<ExitCode>> {
    match events.recv_timeout(REDRAW) {
        Ok(Event::Key(key)) => match ui.on_key(key) {
            Asked::Quit => return Ok(Some(ExitCode::SUCCESS)),
            Asked::Draw => {}
        },
        Ok(Event::Answered { address, sample }) => ui.answered(address, sample),
        Ok(Event::Lost(why)) => ui.lost(why),
        Ok(Event::Signalled(status)) => return Ok(Some(ExitCode::from(status))),
        Ok(Event::Ended(what)) => bail!("the thread that hears of {what} has ended"),
        Ok(Event::Resized) | Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => bail!("the threads of the view have ended"),
    }
    Ok(None)
}

/// Starts a thread that tells of `what`.
fn start(
    sender: &SyncSender<Event>,
    what: &'static str,
    hear: impl FnOnce(&SyncSender<Event>) + Send + 'static,
) -> anyhow::Result<()> {
    let sender = sender.clone();
    let thread = std::thread::Builder::new().name(format!("top-{what}"));
    let run = move || {
        let watch = Watch(sender, what);
        hear(&watch.0);
    };
    thread.spawn(run).context("cannot start a thread")?;
    Ok(())
}

/// Ends when the terminal cannot be read any more.
fn hear_keys(sender: &SyncSender<Event>) {
    while let Ok(event) = event::read() {
        let event = match event {
            event::Event::Key(key) => Event::Key(key),
            event::Event::Resize(..) => Event::Resized,
            _ => continue,
        };
        if sender.send(event).is_err() {
            return;
        }
    }
}

/// Ends at the first signal.
fn hear_signals(sender: &SyncSender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime signals end the process as they do by themselves.
    let Ok(runtime) = runtime else { return };
    let heard = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = terminate.recv() => std::io::Result::Ok(0),
            _ = interrupt.recv() => Ok(INTERRUPTED),
            _ = hang_up.recv() => Ok(0),
        }
    });
    if let Ok(status) = heard {
        // The loop may have ended first.
        drop(sender.send(Event::Signalled(status)));
    }
}

/// Ends with the loop.
fn poll(mut poller: Poller, mut ticks: Ticks, sender: &SyncSender<Event>) {
    loop {
        std::thread::sleep(ticks.wait(Instant::now()));
        let event = match poller.sample() {
            Ok(sample) => Event::Answered {
                address: poller.address(),
                sample,
            },
            Err(error) => Event::Lost(error.to_string()),
        };
        if sender.send(event).is_err() {
            return;
        }
    }
}
