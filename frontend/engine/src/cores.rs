//! One current-thread tokio runtime per core.
//!
//! Each runtime has its own thread and lives until the process ends. What is spawned on one
//! stays there, so the data plane's tasks never move between cores. Before a runtime sleeps it
//! may look at the containers' rings for a while ([`park`]).

use std::future::Future;

use skysail_rpc::channel::park;
use tokio::runtime::{Builder, Handle};

/// The runtimes of a front end.
#[derive(Clone, Debug)]
pub struct Cores {
    handles: Vec<Handle>,
}

impl Cores {
    /// Starts `count` runtimes, at least one.
    ///
    /// # Errors
    /// If a thread or its descriptors cannot be made.
    pub fn start(count: usize) -> std::io::Result<Cores> {
        let handles: std::io::Result<_> = (0..count.max(1)).map(start_one).collect();
        Ok(Cores { handles: handles? })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// The first runtime, which also owns the containers' socket.
    #[must_use]
    pub fn first(&self) -> &Handle {
        &self.handles[0]
    }

    /// All runtimes.
    pub fn iter(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter()
    }

    /// Runs `future` on the first runtime and waits for it on this thread.
    ///
    /// # Panics
    /// If called from one of the runtimes, or if `future` panics.
    pub fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (to, from) = std::sync::mpsc::sync_channel(1);
        self.first()
            .spawn(async move { drop(to.send(future.await)) });
        from.recv().expect("the future ran to its end")
    }
}

fn start_one(index: usize) -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(park::before_park)
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(format!("core-{index}"))
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
