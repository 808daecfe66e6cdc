//! Plans, executes and records deployments. Knows no cloud, prints nothing, reads no clock or
//! environment.

pub mod address;
pub mod batch;
pub mod capability;
pub mod catalogue;
pub mod clock;
pub mod compose;
pub mod engine;
pub mod error;
pub mod fields;
pub mod gate;
pub mod graph;
pub mod history;
pub mod jobs;
pub mod journal;
pub mod kind;
pub mod ledger;
pub mod member;
pub mod migration;
pub mod moved;
pub mod names;
pub mod node;
pub mod numbering;
pub mod one_off;
pub mod ours;
pub mod permissions;
pub mod plan;
pub mod rate;
pub mod reach;
pub mod redaction;
pub mod redeploy;
pub mod renames;
pub mod report;
pub mod spec;
pub mod usual;
pub mod wait;
