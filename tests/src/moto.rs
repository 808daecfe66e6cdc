//! moto, an AWS emulator that others wrote, with an image registry beside it, which it lacks.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use deployer_sandbox::registry::{Access, Gate, Refusal, Store, routes};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::manifest::{ACCOUNT, REGION};
use crate::prepared::Prepared;
use crate::python;
use crate::wait;

/// A running moto; it ends when dropped.
pub struct Moto {
    process: Child,
    url: String,
    /// Where images go.
    pub registry: Registry,
}

impl Moto {
    /// Starts one on a free port, with a cluster and a network; their ids are the answer's second part.
    pub fn start(prepared: &Prepared) -> (Self, Value) {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a listener has an address").port();
        drop(free);
        let process = Command::new(prepared.python_program("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto can be started");
        let moto = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            registry: Registry::start(),
        };
        wait::until("moto", Duration::from_secs(30), || {
            ureq::get(format!("{}/moto-api/", moto.url)).call().ok()
        });
        let environment: Vec<_> = moto.environment(&moto.url).into_iter().collect();
        let made = python::run(prepared, "prepare_moto.py", &[], &environment);
        (moto, made)
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The variables with which a client reaches it at `url`: itself, or a recorder before it.
    pub fn environment(&self, url: &str) -> BTreeMap<String, String> {
        [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", "AKIDMOTO000000000000"),
            ("AWS_SECRET_ACCESS_KEY", "opens-only-a-local-emulator"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("MOTO_ACCOUNT_ID", ACCOUNT),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

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
