//! What a cloud does for deployer.
//!
//! What *declares* puts nodes into the graph of one composition: [`Registry`], [`SecretStore`],
//! [`Database`], [`Cache`] and [`Runtime`], together the [`Provider`], and [`Dns`]. What *operates*
//! reads and changes what is there, outside any graph: [`Secrets`], [`Databases`], [`Caches`],
//! [`Services`], [`Zones`] and [`Logs`].

mod autopsy;
mod cache;
mod cloud;
mod console;
mod database;
mod dns;
mod logs;
mod marked;
mod migration;
pub mod one_off;
mod registry;
mod runtime;
mod secret_store;
mod secrets;
mod services;
mod store;
mod survey;

pub use autopsy::{Autopsy, StoppedContainer, StoppedInstance, UnfitTarget};
pub use cache::{Cache, CacheOutputs, Caches};
pub use cloud::{Caller, Cloud, Context, Provider, Switching};
pub use console::{Console, Keyboard, Over, Shown};
pub use database::{Database, DatabaseOutputs, Databases};
pub use dns::{Dns, RecordStatus, Zones};
pub use logs::{LinesOf, LogLine, Logs};
pub use marked::{Marked, Unlisted};
pub use migration::{Birth, MigrationKey, Rerun};
pub use one_off::{OneOffs, Order};
pub use registry::{Destination, ImageContent, LocalImage, Registry, RegistryLogin};
pub use runtime::{Runtime, Scope, ServiceInputs, ServiceOutputs};
pub use secret_store::{SecretContent, SecretStore};
pub use secrets::{SecretStatus, Secrets};
pub use services::{
    Activation, Entrance, LetIn, PutBack, RecordedRelease, RevisionInfo, Services, Serving,
    ServingState,
};
pub use store::{PasswordRule, StoreStatus};
pub use survey::{Candidate, Findings, Network, Survey};

pub use crate::migration_record::{MigrationRecord, MigrationStanding, Turn};
pub use crate::pins::{ImageRef, Revision, SecretVersion};
