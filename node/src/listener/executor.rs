//! hyper's executor over a task tracker: the tasks that HTTP/2 needs for its streams are the node's own.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Spawns into a tracker.
#[derive(Debug, Clone)]
pub(super) struct Tracked(pub(super) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
