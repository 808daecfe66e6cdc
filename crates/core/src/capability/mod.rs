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
mod migration_record;
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
pub use migration_record::{MigrationRecord, MigrationStanding, Turn};
pub use registry::{Destination, ImageContent, ImageRef, LocalImage, Registry, RegistryLogin};
pub use runtime::{Revision, Runtime, Scope, ServiceInputs, ServiceOutputs};
pub use secret_store::{SecretContent, SecretStore, SecretVersion};
pub use secrets::{SecretStatus, Secrets};
pub use services::{
    Activation, Entrance, LetIn, PutBack, RecordedRelease, RevisionInfo, Services, Serving,
    ServingState,
};
pub use store::{PasswordRule, StoreStatus};
pub use survey::{Candidate, Findings, Network, Survey};
