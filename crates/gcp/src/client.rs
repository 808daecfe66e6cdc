//! Google's clients as this crate uses them: one endpoint override, one time-out, one owner of retries.

use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
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

/// One client per API.
pub(crate) struct Clients {
    pub(crate) services: Services,
    pub(crate) revisions: Revisions,
    pub(crate) jobs: Jobs,
    pub(crate) executions: Executions,
    pub(crate) tasks: Tasks,
    pub(crate) secrets: SecretManagerService,
    pub(crate) repositories: ArtifactRegistry,
    pub(crate) logging: LoggingServiceV2,
    pub(crate) sql_instances: SqlInstancesService,
    pub(crate) sql_databases: SqlDatabasesService,
    pub(crate) sql_users: SqlUsersService,
    pub(crate) sql_operations: SqlOperationsService,
    pub(crate) redis: CloudRedis,
    pub(crate) zones: ManagedZones,
    pub(crate) record_sets: ResourceRecordSets,
    pub(crate) record_changes: Changes,
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
        Ok(Self {
            services: client!(Services),
            revisions: client!(Revisions),
            jobs: client!(Jobs),
            executions: client!(Executions),
            tasks: client!(Tasks),
            secrets: client!(SecretManagerService),
            repositories: client!(ArtifactRegistry),
            logging: client!(LoggingServiceV2),
            sql_instances: client!(SqlInstancesService),
            sql_databases: client!(SqlDatabasesService),
            sql_users: client!(SqlUsersService),
            sql_operations: client!(SqlOperationsService),
            redis: client!(CloudRedis),
            zones: client!(ManagedZones),
            record_sets: client!(ResourceRecordSets),
            record_changes: client!(Changes),
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
