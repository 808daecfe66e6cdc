//! The PostgreSQL server behind an instance: its start, what is known of it, and what it refuses.

use serde_json::{Value, json};

use super::operations::Failure;
use super::{Instance, flags, settings};
use crate::backing::{BackingError, Postgres, PostgresSpec};
use crate::gcp::Gcp;
use crate::gcp::certificate::Certificate;
use crate::gcp::error::ApiError;
use crate::gcp::schema::Object;

/// Cloud SQL's clients are told no port.
const PORT: u16 = 5432;

/// The user that every PostgreSQL instance has from the start.
pub(super) const DEFAULT_USER: &str = "postgres";

/// An address that leads nowhere, for an instance without a server.
const NOWHERE: &str = "10.113.0.2";

impl Gcp {
    /// Starts the server of a new instance. `None` when PostgreSQL is not installed.
    pub(super) async fn start_server(
        &self,
        name: &str,
        major: u32,
        settings: &Object,
        root_password: Option<String>,
    ) -> Result<Option<Postgres>, Failure> {
        let spec = PostgresSpec {
            name: format!("{}:{name}", self.host().project),
            administrator: "cloudsqladmin".into(),
            master_role: "cloudsqlsuperuser".into(),
            major: Some(major),
            port: PORT,
            force_tls: settings::forces_tls(settings),
            settings: flags::server_settings(settings),
        };
        let server = match self.host().backing.start_postgres(spec).await {
            Ok(server) => server,
            Err(BackingError::NotInstalled(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // Without a password nobody can log in as `postgres`, as on Cloud SQL.
        let password = root_password.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let made = server.create_user(DEFAULT_USER, &password, true).await;
        made.map_err(failed)?;
        if !settings::is_active(settings) {
            server.stop().await;
        }
        Ok(Some(server))
    }

    /// The certificate of the authority that signed the server's, as a message `SslCert`.
    pub(super) fn server_ca(&self, instance: &str) -> Value {
        let authority = Certificate::of(self.host().backing.authority());
        json!({
            "kind": "sql#sslCert",
            "cert": authority.pem,
            "commonName": authority.subject,
            "certSerialNumber": authority.serial,
            "sha1Fingerprint": authority.fingerprint,
            "instance": instance,
            "createTime": authority.since,
            "expirationTime": authority.until,
        })
    }
}

impl Instance {
    /// The messages `IpMapping` of an instance that runs.
    pub(super) fn addresses(&self, settings: &Object) -> Value {
        let ip = match &self.server {
            Some(server) => server.endpoint().ip().to_string(),
            None => NOWHERE.into(),
        };
        let network = &settings["ipConfiguration"];
        let mut all = Vec::new();
        if network["ipv4Enabled"] == true {
            all.push(json!({ "type": "PRIMARY", "ipAddress": ip }));
        }
        if network["privateNetwork"].is_string() {
            all.push(json!({ "type": "PRIVATE", "ipAddress": ip }));
        }
        Value::Array(all)
    }
}

/// What the machine refused, as an operation tells it.
pub(super) fn failed(error: BackingError) -> Failure {
    Failure {
        code: "INTERNAL_ERROR",
        message: error.to_string(),
    }
}

/// What the server refused, in Cloud SQL's sentence.
pub(super) fn refused(what: &str, error: &BackingError) -> ApiError {
    super::invalid(format!("failed to {what}. Detail: pq: {error}"))
}
