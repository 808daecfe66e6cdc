//! The one user that the sandboxed AWS knows, and its key pair; obviously not a secret.

pub use crate::env::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

/// The name of the IAM user that the key pair belongs to.
pub const USER: &str = "sandbox";
