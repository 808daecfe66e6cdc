//! The service as its users meet it: a process, its environment, its answers.
//!
//! What needs a database runs when `DEPLOYER_TEST_POSTGRES_URL` names one (a superuser's URL), and
//! is otherwise reported as skipped.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod database;
mod encrypting;
mod migrating;
mod process;
mod releases;
mod servers;
mod serving;
mod starting;
