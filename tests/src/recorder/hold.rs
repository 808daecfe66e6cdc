//! Keeps calls of one name from their cloud, so that a test can look at who waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::wait;

/// No call that a test waits for takes longer to be made.
const SOON: Duration = Duration::from_secs(60);

/// What every call passes on its way.
#[derive(Default)]
pub(super) struct Gate {
    held: watch::Sender<Option<String>>,
    caught: AtomicUsize,
}

/// Calls that are kept from their cloud; they go on when it is dropped.
pub struct Hold(Arc<Gate>);

impl Gate {
    /// Returns once no call of this name is held.
    pub(super) async fn pass(&self, call: &str) {
        let is_held = |held: &Option<String>| held.as_deref() == Some(call);
        let mut held = self.held.subscribe();
        if is_held(&held.borrow()) {
            self.caught.fetch_add(1, Ordering::SeqCst);
        }
        // It fails when nobody can hold anything any more.
        let _ = held.wait_for(|held| !is_held(held)).await;
    }
}

impl Hold {
    pub(super) fn of(gate: &Arc<Gate>, call: &str) -> Self {
        gate.caught.store(0, Ordering::SeqCst);
        let before = gate.held.send_replace(Some(call.to_owned()));
        assert_eq!(before, None, "one name is held at a time");
        Self(Arc::clone(gate))
    }

    /// Returns once such a call was made.
    #[track_caller]
    pub fn until_caught(&self) {
        wait::until("a call to hold", SOON, || {
            (self.0.caught.load(Ordering::SeqCst) > 0).then_some(())
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.send_replace(None);
    }
}
