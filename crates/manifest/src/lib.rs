//! Reads, checks and explains the manifest; makes the cloud-neutral specification of each target
//! from it.
//!
//! [`load`] merges the layers (defaults, `deployer.toml`, `deployer.ENV.toml`, `DEPLOYER_*`, flags)
//! and checks them; [`Loaded::environment_spec`] says what a target is to hold; [`Loaded::leaves`]
//! says where each value came from.
//!
//! Invariants: no environment variable is read but those passed in; a secret's value is never read;
//! faults that have different causes are reported together, and one cause is reported once.

mod called;
mod check;
mod clouds;
mod content;
mod described;
mod extract;
mod interpolate;
mod layers;
mod load;
pub mod model;
pub mod names;
mod naming;
mod origins;
mod problem;
mod resolve;
mod schema;
mod secret_from;
pub mod section;
mod source;
mod units;

pub use called::Called;
pub use clouds::catalogue;
pub use layers::nearest;
pub use load::{
    DEFAULT_ENVIRONMENT, Inputs, KnownEnvironment, Leaf, Loaded, environments, load, load_to_read,
};
pub use model::Manifest;
pub use origins::Renamed;
pub use problem::{Colour, Problem, Problems, Severity, render};
pub use schema::{Describes, schema};
pub use section::{AwsNames, GcpNames, LedgerPlace};
pub use source::{KeyPath, Origin};
pub use units::{Cpu, Memory, Scale};
