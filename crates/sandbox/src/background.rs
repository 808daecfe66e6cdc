//! What the clouds do on their own: tasks that end with the sandbox, however it ends.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The tasks of one sandbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Background {
    over: CancellationToken,
}

impl Background {
    /// Runs `work` until it or the sandbox ends, whichever is first. The handle gives `None` when
    /// it was the sandbox.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let over = self.over.clone();
        tokio::spawn(async move { over.run_until_cancelled(work).await })
    }

    /// Drops all work that is under way, and whatever is begun later.
    pub fn end(&self) {
        self.over.cancel();
    }
}
