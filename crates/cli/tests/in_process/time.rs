//! Virtual time for the program and the clouds together: it stands still while anything is under
//! way, and leaps to the next thing that somebody waits for once nothing is.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::clock::Clock;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

/// How long nothing must have happened before time moves. Longer than anything on loopback takes to
/// arrive.
const QUIET: Duration = Duration::from_micros(1000);
/// The same while a call is being answered, which may itself wait for time to pass, and before long
/// leaps: where only the end counts, and where time is measured.
const HASTY: Duration = Duration::from_millis(6);
const PATIENT: Duration = Duration::from_millis(40);
/// Who watches closely looks every second.
const FAR: SignedDuration = SignedDuration::from_secs(2);
/// How often the quiet is listened for.
const LISTEN: Duration = Duration::from_micros(100);

/// One source of time. Cheap to clone.
#[derive(Clone)]
pub struct VirtualTime(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Whether the runtime's only thread waits for something.
    parked: AtomicBool,
    /// How often it began to.
    parkings: AtomicU64,
    /// How many calls are being answered.
    under_way: AtomicUsize,
    ended: AtomicBool,
    /// [`HASTY`] or [`PATIENT`].
    otherwise: Duration,
}

struct State {
    began: Timestamp,
    now: Timestamp,
    next: u64,
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
}

impl VirtualTime {
    /// For what is measured in it. Starts at the machine's time.
    pub fn patient() -> Self {
        Self::with(PATIENT)
    }

    /// For what only ends in it. Starts at the machine's time.
    pub fn start() -> Self {
        Self::with(HASTY)
    }

    fn with(otherwise: Duration) -> Self {
        let now = Timestamp::now();
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                began: now,
                now,
                next: 0,
                sleepers: BTreeMap::new(),
            }),
            parked: AtomicBool::new(false),
            parkings: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            otherwise,
        }))
    }

    /// Runs `work` on a thread of its own in this time.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let (parks, unparks) = (self.clone(), self.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                parks.0.parkings.fetch_add(1, Ordering::SeqCst);
                parks.0.parked.store(true, Ordering::SeqCst);
            })
            .on_thread_unpark(move || unparks.0.parked.store(false, Ordering::SeqCst))
            .build()
            .expect("a runtime can be made");
        let mover = self.clone();
        let moving = std::thread::spawn(move || mover.move_on());
        let ends = Ends(self);
        let result = runtime.block_on(work);
        drop(ends);
        moving.join().expect("time moves without panicking");
        runtime.shutdown_background();
        result
    }

    /// Leaps whenever the runtime has been quiet for long enough.
    fn move_on(&self) {
        let (mut seen, mut since) = (0, std::time::Instant::now());
        while !self.0.ended.load(Ordering::SeqCst) {
            std::thread::sleep(LISTEN);
            let parkings = self.0.parkings.load(Ordering::SeqCst);
            if !self.0.parked.load(Ordering::SeqCst) || parkings != seen {
                (seen, since) = (parkings, std::time::Instant::now());
            } else if since.elapsed() >= self.quiet() {
                // On a busy machine a thread may have work and wait for a processor.
                if others_sleep() && self.0.parkings.load(Ordering::SeqCst) == seen {
                    self.leap();
                }
                since = std::time::Instant::now();
            }
        }
    }

    /// How long nothing must happen before the next leap. A long leap is a sign that only somebody
    /// is waited for who goes by the machine's clock: Google's clients between two tries.
    fn quiet(&self) -> Duration {
        let state = self.state();
        let next = state.sleepers.keys().next();
        let far = next.is_none_or(|(at, _)| at.duration_since(state.now) > FAR);
        match self.0.under_way.load(Ordering::SeqCst) {
            0 if !far => QUIET,
            _ => self.0.otherwise,
        }
    }

    /// A call is being answered from now on.
    pub fn begins(&self) {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
    }

    /// A call was answered.
    pub fn ends(&self) {
        let less = |calls: usize| Some(calls.saturating_sub(1));
        let _ = self
            .0
            .under_way
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Calls whose caller has gone are not waited for.
    pub fn nothing_is_under_way(&self) {
        self.0.under_way.store(0, Ordering::SeqCst);
    }

    fn leap(&self) {
        let woken = {
            let mut state = self.state();
            let Some((at, _)) = state.sleepers.keys().next().copied() else {
                return;
            };
            state.now = state.now.max(at);
            let later = state.sleepers.split_off(&(at, u64::MAX));
            std::mem::replace(&mut state.sleepers, later)
        };
        for waker in woken.into_values().flatten() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, duration: Duration) -> Wait {
        let mut state = self.state();
        let at = state.now.checked_add(duration).unwrap_or(Timestamp::MAX);
        let key = (at, state.next);
        state.next += 1;
        state.sleepers.insert(key, None);
        drop(state);
        Wait {
            time: self.clone(),
            key,
        }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// Ends when so much time has passed.
    pub async fn pass(&self, duration: Duration) {
        self.wait(duration).await;
    }
}

/// When it is dropped, time stands still for good.
struct Ends<'a>(&'a VirtualTime);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.0.ended.store(true, Ordering::SeqCst);
    }
}

/// Whether every other thread of this process waits for something, as far as the system tells: then
/// none has work that it has not come to.
fn others_sleep() -> bool {
    let Ok(own) = std::fs::read_link("/proc/thread-self") else {
        return true;
    };
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return true;
    };
    let mut others = threads
        .flatten()
        .filter(|it| Some(it.file_name().as_os_str()) != own.file_name());
    others.all(|thread| {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else {
            return true;
        };
        // `TID (NAME) STATE ...`, where the name may hold anything.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state == Some('S')
    })
}

/// Ends at its time.
struct Wait {
    time: VirtualTime,
    key: (Timestamp, u64),
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.time.state();
        if state.now >= self.key.0 {
            return Poll::Ready(());
        }
        state
            .sleepers
            .insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.time.state().sleepers.remove(&self.key);
    }
}

#[async_trait]
impl Clock for VirtualTime {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn elapsed(&self) -> Duration {
        let state = self.state();
        let elapsed = state.now.duration_since(state.began);
        elapsed.try_into().expect("time goes on")
    }

    async fn pause(&self, duration: Duration) {
        self.pass(duration).await;
    }
}

impl deployer_sandbox::Time for VirtualTime {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.wait(duration))
    }
}
