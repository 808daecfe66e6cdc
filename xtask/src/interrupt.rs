//! What must still be done when a person presses Ctrl-C or the process is asked to end.

use std::collections::BTreeMap;
use std::sync::{Mutex, Once, PoisonError};

type Cleanup = Box<dyn FnOnce() + Send>;

static CLEANUPS: Mutex<BTreeMap<u64, Cleanup>> = Mutex::new(BTreeMap::new());
static LISTENING: Once = Once::new();

/// Keeps a clean-up registered; forgotten when dropped.
pub struct Registered(u64);

/// Runs `cleanup` if the process is interrupted before the result is dropped; the process then ends
/// with exit code 130.
pub fn on_interrupt(cleanup: impl FnOnce() + Send + 'static) -> Registered {
    LISTENING.call_once(|| {
        ctrlc::set_handler(|| {
            while let Some((_, cleanup)) = cleanups().pop_last() {
                cleanup();
            }
            std::process::exit(130);
        })
        .expect("no other handler is set");
    });
    let mut cleanups = cleanups();
    let id = cleanups.last_key_value().map_or(0, |(id, _)| id + 1);
    cleanups.insert(id, Box::new(cleanup));
    Registered(id)
}

fn cleanups() -> std::sync::MutexGuard<'static, BTreeMap<u64, Cleanup>> {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Registered {
    fn drop(&mut self) {
        cleanups().remove(&self.0);
    }
}
