//! Google Cloud: REST/JSON, bearer tokens, one folder or file per service.

/// The Google side. Cheap to clone.
#[derive(Clone)]
pub struct Gcp {}

impl Gcp {
    /// Starts empty.
    pub fn new(_host: crate::Host) -> Self {
        Self {}
    }

    /// Everything on the Google port.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
    }

    /// For `sandbox status`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
