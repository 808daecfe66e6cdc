//! AWS: JSON protocols, signed requests, one folder or file per service.

/// The AWS side. Cheap to clone.
#[derive(Clone)]
pub struct Aws {}

impl Aws {
    /// Starts empty.
    pub fn new(_host: crate::Host) -> Self {
        Self {}
    }

    /// Everything on the AWS port.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
    }

    /// For `sandbox status`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
