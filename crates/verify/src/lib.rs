//! Asks a deployed service whether it is what it should be: health, metrics, keys, tokens, TLS, and
//! what the manifest adds. Prints nothing, changes nothing, follows no redirect.

mod check;
mod examination;
mod examining;
mod finding;
mod http;
mod jwt;
mod subject;
mod verifier;

pub use examination::{Absentee, Examination, cross_verify};
pub use finding::{Finding, Outcome, Overall};
pub use subject::{Credentials, Pass, Subject, Word};
pub use verifier::{Settings, Verifier};
