//! Counts the calls to the clouds and disturbs one of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deployer_sandbox::call::{ApiCall, Cloud, Effect};
use deployer_sandbox::faults::{End, FaultKind, Observer, Verdict};

use jiff::Timestamp;

use super::time::VirtualTime;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and changes nothing, and so does every other call of that name until the command
    /// ends.
    BeforeEffect,
    /// It is carried out, and the connection ends before the answer.
    ReplyLost,
    /// It is refused as too much, and so is the next call of that name.
    ThrottledTwice,
}

/// Whether a call is the last that its cloud answers.
pub type IsLast = fn(&ApiCall) -> bool;

/// Whether the caller may make a call.
pub type IsAllowed = fn(&ApiCall) -> bool;

/// The calls. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    state: Arc<Mutex<State>>,
    time: VirtualTime,
}

#[derive(Default)]
struct State {
    names: Vec<String>,
    writes: Vec<String>,
    fault: Option<(usize, Fault)>,
    /// How long each call is under way before it is carried out.
    latency: Duration,
    /// When each call arrived.
    arrivals: Vec<(String, Timestamp)>,
    /// The cloud that does not answer, and how.
    down: Option<(Cloud, FaultKind)>,
    /// Which call is the last that its cloud answers, and how it does not answer later ones.
    last: Option<(IsLast, FaultKind)>,
    /// What nobody may call.
    denied: Option<String>,
    /// What alone may be called, when that is restricted.
    allowed: Option<IsAllowed>,
    /// The name whose next call is carried out so much later.
    slow: Option<(String, Duration)>,
    /// The name that is disturbed, and how often it still is.
    struck: Option<(String, usize)>,
}

impl Calls {
    pub fn new(time: VirtualTime) -> Self {
        Self {
            state: Arc::default(),
            time,
        }
    }

    /// Forgets the calls so far and disturbs the nth from here.
    pub fn arm(&self, fault: Option<(usize, Fault)>) {
        self.time.nothing_is_under_way();
        *self.state() = State {
            fault,
            ..State::default()
        };
    }

    /// Lets every call take its time, from here on.
    pub fn each_takes(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Has no call of a cloud be answered until the next [`Calls::arm`].
    pub fn take_down(&self, cloud: Cloud) {
        self.arm(None);
        self.state().down = Some((cloud, FaultKind::Unavailable));
    }

    /// Has no call of a cloud be answered after the first for which this holds, until the next
    /// [`Calls::arm`].
    pub fn take_down_after(&self, last: IsLast, how: FaultKind) {
        self.arm(None);
        self.state().last = Some((last, how));
    }

    /// Refuses every call of this name until the next [`Calls::arm`]: the caller may not.
    pub fn deny(&self, name: &str) {
        self.arm(None);
        self.state().denied = Some(name.to_owned());
    }

    /// Refuses every call for which this does not hold until the next [`Calls::arm`]: the caller
    /// may not.
    pub fn allow_only(&self, allowed: IsAllowed) {
        self.arm(None);
        self.state().allowed = Some(allowed);
    }

    /// Has the next call of this name be carried out so much later.
    pub fn delay(&self, name: &str, by: Duration) {
        self.arm(None);
        self.state().slow = Some((name.to_owned(), by));
    }

    /// The calls since [`Calls::arm`], by name, with when they arrived.
    pub fn arrivals(&self) -> Vec<(String, Timestamp)> {
        self.state().arrivals.clone()
    }

    /// The calls since [`Calls::arm`], by name.
    pub fn names(&self) -> Vec<String> {
        self.state().names.clone()
    }

    /// Those that may have changed something.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn judge(&mut self, name: &str) -> Verdict {
        let refuse = |kind: FaultKind| Verdict::Refuse(kind.into());
        let (nth, fault) = match self.fault {
            Some(armed) => armed,
            None if self.latency.is_zero() => return Verdict::Pass,
            None => return Verdict::Delay(self.latency),
        };
        let first = self.names.len() == nth;
        if first {
            let times = match fault {
                Fault::BeforeEffect => usize::MAX,
                Fault::ReplyLost => 1,
                Fault::ThrottledTwice => 2,
            };
            self.struck = Some((name.to_owned(), times));
        }
        match &mut self.struck {
            Some((struck, times)) if struck == name && *times > 0 => {
                *times -= 1;
                match fault {
                    Fault::BeforeEffect => refuse(FaultKind::Internal),
                    Fault::ReplyLost => Verdict::LoseReply,
                    Fault::ThrottledTwice => refuse(FaultKind::Throttled),
                }
            }
            _ => Verdict::Pass,
        }
    }
}

impl Observer for Calls {
    fn before(&self, call: &ApiCall) -> Verdict {
        let mut state = self.state();
        state.arrivals.push((call.name.clone(), self.time.now()));
        let slow = state.slow.take_if(|(name, _)| *name == call.name);
        // A call that only waits for time to pass must not keep it from passing.
        if state.latency.is_zero() && slow.is_none() {
            self.time.begins();
        }
        state.names.push(call.name.clone());
        if call.effect == Effect::Write {
            state.writes.push(call.name.clone());
        }
        match state.down {
            // Who gives out tokens is another service.
            Some((cloud, how)) if cloud == call.cloud && call.name != "oauth2.token" => {
                return Verdict::Refuse(how.into());
            }
            _ => {}
        }
        if let Some((_, by)) = slow {
            return Verdict::Delay(by);
        }
        if let Some((_, how)) = state.last.take_if(|(is_last, _)| is_last(call)) {
            state.down = Some((call.cloud, how));
        }
        let may_not = state.allowed.is_some_and(|allowed| !allowed(call));
        if may_not || state.denied.as_ref() == Some(&call.name) {
            return Verdict::Refuse(FaultKind::Denied.into());
        }
        state.judge(&call.name)
    }

    fn after(&self, _: &ApiCall, _: End) {
        self.time.ends();
    }
}
