//! Google's clients as this crate uses them: one endpoint override, one time-out, one owner of retries.

use std::sync::LazyLock;
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use futures::FutureExt;
use google_cloud_artifactregistry_v1::client::ArtifactRegistry;
use google_cloud_auth::credentials::Credentials;
use google_cloud_dns_v1::client::{Changes, ManagedZones, ResourceRecordSets};
use google_cloud_gax::client_builder::ClientBuilder;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_logging_v2::client::LoggingServiceV2;
use google_cloud_redis_v1::client::CloudRedis;
use google_cloud_run_v2::client::{Executions, Jobs, Revisions, Services, Tasks};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_sql_v1::client::{
    SqlDatabasesService, SqlInstancesService, SqlOperationsService, SqlUsersService,
};

use crate::retry::{self, Patient};

/// How often a call that changes nothing when repeated is tried at most; the clients back off in between.
const ATTEMPTS: u32 = 6;

/// A client that is made when it is first used: each reads every certificate that this machine trusts, which takes longer
/// than a command that needs three of them should.
pub(crate) type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send + Sync>>;

/// One client per API.
pub(crate) struct Clients {
    pub(crate) services: Lazy<Services>,
    pub(crate) revisions: Lazy<Revisions>,
    pub(crate) jobs: Lazy<Jobs>,
    pub(crate) executions: Lazy<Executions>,
    pub(crate) tasks: Lazy<Tasks>,
    pub(crate) secrets: SecretManagerService,
    pub(crate) repositories: Lazy<ArtifactRegistry>,
    pub(crate) logging: Lazy<LoggingServiceV2>,
    pub(crate) sql_instances: Lazy<SqlInstancesService>,
    pub(crate) sql_databases: Lazy<SqlDatabasesService>,
    pub(crate) sql_users: Lazy<SqlUsersService>,
    pub(crate) sql_operations: Lazy<SqlOperationsService>,
    pub(crate) redis: Lazy<CloudRedis>,
    pub(crate) zones: Lazy<ManagedZones>,
    pub(crate) record_sets: Lazy<ResourceRecordSets>,
    pub(crate) record_changes: Lazy<Changes>,
    /// For what has no official client here.
    pub(crate) plain: reqwest::Client,
    pub(crate) credentials: Credentials,
    endpoint: Option<String>,
}

impl Clients {
    /// Clients that call `endpoint` instead of Google when there is one. No call is made yet.
    ///
    /// What is tried again: see [`Patient`]; `call_timeout` bounds each attempt, and all of them
    /// together end after four times as long.
    pub(crate) async fn open(
        endpoint: Option<&str>,
        credentials: Credentials,
        call_timeout: Duration,
    ) -> Result<Self> {
        macro_rules! client {
            ($kind:ty) => {
                settled(<$kind>::builder(), endpoint, &credentials, call_timeout)
                    .build()
                    .await
                    .map_err(unbuilt)?
            };
        }
        // What makes one client makes them all: where this one can be made, so can those that are made later.
        macro_rules! lazy {
            ($kind:ty) => {{
                let endpoint = endpoint.map(str::to_owned);
                let credentials = credentials.clone();
                LazyLock::new(Box::new(move || {
                    let endpoint = endpoint.as_deref();
                    settled(<$kind>::builder(), endpoint, &credentials, call_timeout)
                        .build()
                        .now_or_never()
                        .and_then(Result::ok)
                        .expect("a client over HTTP is made at once")
                }))
            }};
        }
        Ok(Self {
            services: lazy!(Services),
            revisions: lazy!(Revisions),
            jobs: lazy!(Jobs),
            executions: lazy!(Executions),
            tasks: lazy!(Tasks),
            secrets: client!(SecretManagerService),
            repositories: lazy!(ArtifactRegistry),
            logging: lazy!(LoggingServiceV2),
            sql_instances: lazy!(SqlInstancesService),
            sql_databases: lazy!(SqlDatabasesService),
            sql_users: lazy!(SqlUsersService),
            sql_operations: lazy!(SqlOperationsService),
            redis: lazy!(CloudRedis),
            zones: lazy!(ManagedZones),
            record_sets: lazy!(ResourceRecordSets),
            record_changes: lazy!(Changes),
            plain: reqwest::Client::builder()
                .timeout(call_timeout)
                .build()
                .map_err(unbuilt)?,
            endpoint: endpoint.map(|base| base.trim_end_matches('/').to_owned()),
            credentials,
        })
    }

    /// The base URL of an API that is called without a client: `https://NAME.googleapis.com`, or the override.
    pub(crate) fn base(&self, api: &str) -> String {
        self.endpoint
            .clone()
            .unwrap_or_else(|| format!("https://{api}.googleapis.com"))
    }
}

fn settled<F>(
    builder: ClientBuilder<F, Credentials>,
    endpoint: Option<&str>,
    credentials: &Credentials,
    call_timeout: Duration,
) -> ClientBuilder<F, Credentials> {
    let builder = builder
        .with_credentials(credentials.clone())
        .with_attempt_timeout(call_timeout)
        .with_backoff_policy(retry::backoff())
        .with_retry_policy(
            Patient
                .with_time_limit(call_timeout * 4)
                .with_attempt_limit(ATTEMPTS),
        );
    match endpoint {
        Some(base) => builder.with_endpoint(base),
        None => builder,
    }
}

fn unbuilt(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "cannot make a client for Google Cloud").because(error)
}
