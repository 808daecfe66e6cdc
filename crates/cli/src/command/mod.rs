//! The commands, one file each.

pub mod apply;
pub mod check;
pub mod completions;
pub mod config;
pub mod destroy;
pub mod env;
pub mod exec;
pub mod forget;
pub mod init;
pub mod lock;
pub mod logs;
pub mod man;
pub mod migrate;
pub mod permissions;
pub mod plan;
pub mod releases;
pub mod report;
pub mod rollback;
pub mod run;
pub mod runs;
pub mod sandbox;
pub mod schema;
pub mod secrets;
pub mod show;
pub mod status;
pub mod verify;
