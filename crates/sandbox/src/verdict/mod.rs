//! What can go wrong with a call, who decides it, and the rules by which it goes wrong.

mod rules;

use std::time::Duration;

use crate::call::ApiCall;

pub(crate) use rules::{Entry, Rules, When};

/// A refusal: the call is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which way.
    pub kind: FaultKind,
    /// When the cloud says to come back, in whole seconds of the client's time; told with
    /// [`FaultKind::Throttled`] and [`FaultKind::Unavailable`].
    pub retry_after: Option<Duration>,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            retry_after: None,
        }
    }
}

/// In which way a call is refused; each in the vendor's own words and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Too many calls.
    Throttled,
    /// 503.
    Unavailable,
    /// 500.
    Internal,
    /// The caller may not.
    Denied,
    /// There may be no more of these.
    QuotaExceeded,
    /// What it needs was made a moment ago, or is being changed by another call: the same call is
    /// taken a little later.
    Settling,
    /// The service takes no new customers, and the account is none of its old ones.
    Closed,
    /// The connection is closed without an answer.
    HungUp,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out and answered.
    Pass,
    /// It is not carried out.
    Refuse(Fault),
    /// It is carried out, but the connection is closed instead of answering.
    LoseReply,
    /// It is carried out this much later, in the clouds' time, also when the client has hung up by
    /// then.
    Delay(Duration),
    /// It is answered as the same request was before the last write to the same API, also as if an
    /// ECS task or an execution of a job that was just started were not there. Without such an
    /// answer, and for writes: as [`Verdict::Pass`].
    Stale,
}

/// How a call ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this HTTP status.
    Answered(u16),
    /// With a closed connection.
    HungUp,
}

/// Told of every API call, and decides what becomes of it. Calls under `/_sandbox` are none.
pub trait Observer: Send + Sync {
    /// Before anything is done, in the order of arrival. A client that is not known is refused
    /// without asking.
    fn before(&self, call: &ApiCall) -> Verdict;

    /// When the call is over. Not told of a call whose client hung up meanwhile.
    fn after(&self, call: &ApiCall, end: End) {
        let _ = (call, end);
    }
}
