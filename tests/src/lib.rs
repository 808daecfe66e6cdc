//! What the end-to-end tests share: the binary, the sandbox, recorders on the wire, projects to
//! deploy.
//!
//! Everything is found through the variables that `cargo xtask test` sets. A test that cannot run
//! says so in the list that xtask prints, and passes.

pub mod database;
pub mod deployer;
pub mod emulator;
pub mod idp;
pub mod journal;
pub mod manifest;

pub mod prepared;
pub mod project;
pub mod python;
pub mod recorder;
pub mod report;
pub mod sandbox;
pub mod terminal;
pub mod wait;
