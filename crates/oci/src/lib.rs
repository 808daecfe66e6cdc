//! Reads a container image from where the user has it and copies it into a registry, byte for byte.
//!
//! An image comes from an OCI layout directory, an archive of one, a `docker save` archive or a
//! registry ([`ImageSource`]); [`ImageSource::open`] reads its manifests and checks their digests;
//! [`Registry::copy`] writes it. What is written has the digest of what was read: manifests are
//! sent as the bytes they were read as, never parsed and written again.
//!
//! Logins are found where `docker` and `podman` keep them ([`Keychain`]), or given by whoever opens
//! the image ([`RegistryAuth`]).
//!
//! Invariants: this crate knows no cloud and prints nothing; of the environment only the usual
//! proxy variables count and those that [`Keychain::new`] is given; it waits in one place only
//! ([`Retry`]); no secret is in an error or in `Debug` output.

mod archive;
mod auth;
mod challenge;
mod copy;
mod credentials;
mod digest;
mod docker_save;
mod error;
mod image;
mod keychain;
mod layout;
mod place;
mod registry;
mod retry;
mod source;
mod store;
mod token;
mod transport;
mod upload;

pub use archive::ArchiveKind;
pub use copy::{Copied, CopyEvent};
pub use credentials::{Anonymous, Credentials, RegistryAuth};
pub use digest::Digest;
pub use error::{Error, ErrorKind};
pub use image::{Blob, Config, Image, Manifest, Platform};
pub use keychain::{Found, Keychain, Search};
pub use registry::{PulledManifest, Registry};
pub use retry::{Retry, Sleep};
pub use source::ImageSource;
