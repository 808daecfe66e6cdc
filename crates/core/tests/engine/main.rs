//! The planner and the engine on fake clouds, in virtual time, with a real ledger in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

#[path = "../fake/mod.rs"]
mod fake;

mod applying;
mod data;
mod drifting;
mod failing;
mod gating;
mod markless;
mod migrating;
mod moving;
mod nodes;
mod owning;
mod replacing;
mod sweep;
mod undoing;
mod waiting;
