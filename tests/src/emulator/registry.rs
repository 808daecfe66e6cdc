//! An image registry that admits everybody, beside emulators that have none.

use std::sync::Arc;

use axum::http::HeaderMap;
use deployer_sandbox::registry::{Access, Gate, Refusal, Store, routes};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// An image registry that admits everybody; it stops when dropped.
pub struct Registry {
    url: String,
    _stop: oneshot::Sender<()>,
    _folder: TempDir,
}

struct Everybody;

impl Gate for Everybody {
    fn admit(
        &self,
        _headers: &HeaderMap,
        repository: &str,
        _access: Access,
        _tag: Option<&str>,
    ) -> Result<String, Refusal> {
        Ok(repository.to_owned())
    }
}

impl Registry {
    /// Starts an empty one on a free port.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let store = Store::open(folder.path().to_owned()).expect("the store can be made");
        let (stop, stopped) = oneshot::channel();
        let address =
            crate::recorder::serve_in_background(routes(store, Arc::new(Everybody)), stopped);
        Self {
            url: format!("http://{address}"),
            _stop: stop,
            _folder: folder,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}
