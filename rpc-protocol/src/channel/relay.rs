//! A waker that remembers whether it was woken.
//!
//! The task that waits for rings also waits for a listener, a control socket and bells, and asking
//! each of them at every turn costs more than a small batch. So they are asked once, with this
//! waker, and again only after one of them has used it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The wakers of sources that are asked seldom.
#[derive(Debug, Default)]
pub(super) struct Relay(Option<Arc<Sleep>>);

#[derive(Debug)]
struct Sleep {
    woken: AtomicBool,
    task: Mutex<Waker>,
}

impl Relay {
    /// Whether all sources will wake `task`, and none has yet.
    pub(super) fn is_asleep(&self, task: &Waker) -> bool {
        let Some(sleep) = &self.0 else { return false };
        // Acquire pairs with the release in `wake`: what the source did is seen.
        !sleep.woken.load(Ordering::Acquire) && sleep.task().will_wake(task)
    }

    /// The waker to give to every source, before they are asked.
    pub(super) fn sleep(&mut self, task: &Waker) -> Waker {
        let sleep = self.0.get_or_insert_with(|| {
            let (woken, task) = (AtomicBool::new(false), Mutex::new(task.clone()));
            Arc::new(Sleep { woken, task })
        });
        sleep.task().clone_from(task);
        // Before the sources are asked: one that wakes from here on is seen.
        sleep.woken.store(false, Ordering::Release);
        Waker::from(sleep.clone())
    }

    /// A source had something when it was asked: the others may not have been.
    pub(super) fn wake(&self) {
        if let Some(sleep) = &self.0 {
            sleep.woken.store(true, Ordering::Release);
        }
    }
}

impl Sleep {
    fn task(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Sleep {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn it_sleeps_until_a_source_wakes_it() {
        let (mut relay, task) = (Relay::default(), &Waker::from(Arc::new(Task)));
        assert!(!relay.is_asleep(task), "no source was asked");
        let source = relay.sleep(task);
        assert!(relay.is_asleep(task));
        source.wake_by_ref();
        assert!(!relay.is_asleep(task));
        relay.sleep(task);
        assert!(relay.is_asleep(task), "asked again");
        relay.wake();
        assert!(!relay.is_asleep(task));
    }
}
