//! Reads, checks and explains the manifest; makes the cloud-neutral specification of each target from it.

pub mod section;
