//! The one user that the sandboxed AWS knows.

/// The name of the IAM user that the key pair belongs to.
pub const USER: &str = "sandbox";
