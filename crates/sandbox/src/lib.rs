//! AWS and Google Cloud APIs on loopback, which run the real container command.
//!
//! Depends on nothing of deployer's: a misreading of a cloud must not sit on both sides of the wire.

pub mod aws;
pub mod background;
pub mod backing;
pub mod clock;
mod control;
pub mod env;
pub mod gcp;
mod host;
mod moto;
mod options;
mod process;
pub mod registry;
pub mod runner;
mod server;
mod service_account;

pub use clock::{Clock, Time};
pub use host::{Host, Sandbox, StartError, serve};
pub use options::{Moto, Options, StateDir};
pub use service_account::{AccountKey, ServiceAccount};
