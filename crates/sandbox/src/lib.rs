//! AWS and Google Cloud APIs on loopback, which run the real container command.
//!
//! Depends on nothing of deployer's: a misreading of a cloud must not sit on both sides of the wire.

pub mod aws;
pub mod backing;
pub mod clock;
mod control;
pub mod env;
pub mod gcp;
mod host;
mod moto;
mod process;
pub mod registry;
pub mod runner;
mod service_account;

pub use clock::{Clock, Time};
pub use host::{Host, Moto, Options, Sandbox, StartError, serve};
pub use service_account::ServiceAccount;
