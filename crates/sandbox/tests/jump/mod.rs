//! Virtual time: whenever a real millisecond passes, it jumps to the next moment that somebody
//! waits for.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deployer_sandbox::{Clock, Time};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::oneshot;

#[derive(Clone)]
pub struct Jumping(Arc<Mutex<State>>);

struct State {
    now: Timestamp,
    count: u64,
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
}

impl Jumping {
    /// Starts in a year that no machine's clock shows, within a runtime.
    pub fn start() -> Self {
        let now = "2001-01-01T00:00:00Z".parse().unwrap();
        let state = State {
            now,
            count: 0,
            waiting: BTreeMap::new(),
        };
        let time = Self(Arc::new(Mutex::new(state)));
        let weak = Arc::downgrade(&time.0);
        tokio::spawn(async move {
            while let Some(state) = weak.upgrade() {
                if let Some(next) = state.lock().unwrap().next() {
                    let _ = next.send(());
                }
                drop(state);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        time
    }

    pub fn clock(&self) -> Clock {
        Clock::given(Arc::new(self.clone()))
    }
}

impl State {
    /// Whoever waits for the next moment, which is now then.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            let ((at, _), waiter) = self.waiting.pop_first()?;
            if !waiter.is_closed() {
                self.now = self.now.max(at);
                return Some(waiter);
            }
        }
    }
}

impl Time for Jumping {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (sender, woken) = oneshot::channel();
        let mut state = self.0.lock().unwrap();
        state.count += 1;
        let at = (state.now + duration, state.count);
        state.waiting.insert(at, sender);
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}
