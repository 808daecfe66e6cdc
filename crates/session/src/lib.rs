//! The client's side of a Session Manager data channel: what `ecs:ExecuteCommand` opens.
//!
//! [`Session::open`] takes the address and the token of its answer; [`Session::next`] gives what
//! the program prints, [`Input`] takes what is typed. What is lost, doubled or out of order on the
//! way is put right here.
//!
//! An agent does not slow down for who acknowledges nothing: it keeps 100,000 messages to be sent
//! again, none of those beyond them (`AddDataToOutgoingMessageBuffer` of the agent's
//! `datachannel.go`), and waits two seconds for acknowledgements at a session's end. So what a slow
//! reader has not taken is acknowledged and waits here, up to 32 MiB. Of a reader who is further
//! behind than that and those messages nothing is promised: what the gateway between the two keeps
//! is published nowhere.
//!
//! ECS runs each command in a terminal: standard output and standard error come as one, line ends
//! as `\r\n`, input is echoed, and no exit code comes at all. Whoever needs one has the command
//! print it.
//!
//! Invariants: this crate depends on nothing of ours, prints nothing, and has neither token nor
//! input in an error or in `Debug` output. A session that is to be encrypted with a KMS key is
//! refused in words ([`Closed::Encrypted`]); one whose connection breaks is not resumed, for which
//! `ecs` has no call.

mod channel;
mod contents;
mod message;
mod open;
mod order;
mod proxy;
mod session;

use bytes::Bytes;

pub use open::{Endpoint, OpenError};
pub use proxy::Proxy;
pub use session::{Input, Session};

/// What a session gives.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// What the program printed. In a terminal that is all of it.
    Stdout(Bytes),
    /// What a program without a terminal printed to standard error.
    Stderr(Bytes),
    /// How a program without a terminal ended.
    Exit(i32),
    /// What the account's preferences have for people who open a session.
    Notice(String),
}

impl Output {
    /// How many bytes of the program's it has.
    fn len(&self) -> usize {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.len(),
            Self::Exit(_) | Self::Notice(_) => 0,
        }
    }
}

impl std::fmt::Debug for Output {
    /// How much it is: a program may print anything.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout(bytes) => write!(out, "Stdout({} bytes)", bytes.len()),
            Self::Stderr(bytes) => write!(out, "Stderr({} bytes)", bytes.len()),
            Self::Exit(code) => write!(out, "Exit({code})"),
            Self::Notice(words) => write!(out, "Notice({words})"),
        }
    }
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The other side ended it: the program ended, could not be started, or was idle for too long;
    /// its words, where it has some.
    Remote(Option<String>),
    /// We did.
    Local,
    /// It is to be encrypted with this KMS key.
    Encrypted(Option<String>),
    /// The connection broke, or the other side is not what it should be. The program may run on.
    Lost(String),
}

impl std::fmt::Display for Closed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Remote(Some(words)) => out.write_str(words),
            Self::Remote(None) => out.write_str("the other side ended the session"),
            Self::Local => out.write_str("the session was ended from here"),
            Self::Encrypted(key) => {
                out.write_str("the session is to be encrypted with a KMS key")?;
                match key {
                    Some(key) => write!(out, " (`{key}`)"),
                    None => Ok(()),
                }
            }
            Self::Lost(why) => write!(out, "the session was lost: {why}"),
        }
    }
}

/// A session that is over takes no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Gone;
