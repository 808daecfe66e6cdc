//! AWS and Google Cloud APIs on loopback, which run the real container command.
//!
//! Depends on nothing of deployer's: a misreading of a cloud must not sit on both sides of the wire.

pub mod aws;
pub mod clock;
pub mod gcp;
pub mod registry;
pub mod runner;
