//! The one key pair that the sandboxed AWS knows; obviously not a secret.

/// The access key id of the sandbox's user; of the vendor's form (20 characters).
pub const ACCESS_KEY_ID: &str = "AKIASANDBOX000000000";

/// The secret that belongs to [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "sandbox-only-not-a-secret-0123456789abcd";

/// The name of the IAM user that the key pair belongs to.
pub const USER: &str = "sandbox";
