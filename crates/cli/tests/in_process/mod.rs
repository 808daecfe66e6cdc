//! The whole program and both clouds in one process, in virtual time: for programs that try a
//! command very often.

#![allow(dead_code, reason = "no program uses all of it")]

pub mod calls;
pub mod environment;
pub mod ledger;
pub mod stage;
pub mod time;
