//! AWS and Google Cloud APIs on loopback, which run the real container command.
//!
//! Depends on nothing of deployer's: a misreading of a cloud must not sit on both sides of the
//! wire.

pub mod aws;
pub mod background;
pub mod backing;
pub mod call;
pub mod clock;
mod control;
mod dump;
pub mod env;
pub mod faults;
pub mod gcp;
mod glob;
mod host;
mod interceptor;
mod moto;
mod name_server;
mod options;
mod process;
mod rates;
pub mod registry;
pub mod runner;
mod sandbox;
mod server;
mod service_account;
mod verdict;
mod walls;

pub use clock::{Clock, Time};
pub use host::Host;
pub use interceptor::Interceptor;
pub use options::{Moto, Options, Rates, StateDir};
pub use sandbox::{Sandbox, StartError, serve};
pub use service_account::{AccountKey, ServiceAccount};
