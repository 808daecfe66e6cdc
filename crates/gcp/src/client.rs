//! Google's clients as this crate uses them: one endpoint override, one time-out, one owner of
//! retries.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use futures::FutureExt;
use google_cloud_artifactregistry_v1::client::ArtifactRegistry;
use google_cloud_auth::credentials::Credentials;
use google_cloud_dns_v1::client::{Changes, ManagedZones, ResourceRecordSets};
use google_cloud_gax::client_builder::ClientBuilder;
use google_cloud_logging_v2::client::LoggingServiceV2;
use google_cloud_redis_v1::client::CloudRedis;
use google_cloud_resourcemanager_v3::client::Projects;
use google_cloud_run_v2::client::{Executions, Jobs, Revisions, Services, Tasks};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_sql_v1::client::{
    SqlDatabasesService, SqlInstancesService, SqlOperationsService, SqlUsersService,
};

use crate::gcloud::Refused;
use crate::rates::{Paced, Rates};
use crate::retry;

/// One client per API.
pub(crate) struct Clients {
    pub(crate) services: Paced<Services>,
    pub(crate) revisions: Paced<Revisions>,
    pub(crate) jobs: Paced<Jobs>,
    pub(crate) executions: Paced<Executions>,
    pub(crate) tasks: Paced<Tasks>,
    pub(crate) secrets: Paced<SecretManagerService>,
    /// For what secrets hold, which may be read far more often.
    pub(crate) payloads: Paced<SecretManagerService>,
    pub(crate) projects: Paced<Projects>,
    pub(crate) repositories: Paced<ArtifactRegistry>,
    pub(crate) logging: Paced<LoggingServiceV2>,
    pub(crate) sql_instances: Paced<SqlInstancesService>,
    pub(crate) sql_databases: Paced<SqlDatabasesService>,
    pub(crate) sql_users: Paced<SqlUsersService>,
    pub(crate) sql_operations: Paced<SqlOperationsService>,
    pub(crate) redis: Paced<CloudRedis>,
    pub(crate) zones: Paced<ManagedZones>,
    pub(crate) record_sets: Paced<ResourceRecordSets>,
    pub(crate) record_changes: Paced<Changes>,
    pub(crate) credentials: Credentials,
}

impl Clients {
    /// Clients that call `endpoint` instead of Google when there is one. No call is made yet.
    ///
    /// What is tried again: see [`retry::Patient`]; `call_timeout` bounds each attempt, and all of
    /// them together end after four times as long. They take their turns by `clock`.
    pub(crate) async fn open(
        endpoint: Option<&str>,
        credentials: Credentials,
        refused: &Refused,
        call_timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        // What cannot be made is told now.
        let checked = settled(
            Projects::builder(),
            endpoint,
            &credentials,
            refused,
            call_timeout,
        );
        let projects = checked.build().await.map_err(unbuilt)?;
        // What makes one client makes them all: where this one can be made, so can those that are
        // made later.
        macro_rules! lazy {
            ($kind:ty) => {{
                let endpoint = endpoint.map(str::to_owned);
                let (credentials, refused) = (credentials.clone(), refused.clone());
                LazyLock::new(Box::new(move || {
                    let endpoint = endpoint.as_deref();
                    settled(
                        <$kind>::builder(),
                        endpoint,
                        &credentials,
                        &refused,
                        call_timeout,
                    )
                    .build()
                    .now_or_never()
                    .and_then(Result::ok)
                    .expect("a client over HTTP is made at once")
                }))
            }};
        }
        let rates = Rates::new(clock);
        let secrets = rates.secrets.pace(lazy!(SecretManagerService));
        Ok(Self {
            services: rates.run.pace(lazy!(Services)),
            revisions: rates.run.pace(lazy!(Revisions)),
            jobs: rates.run.pace(lazy!(Jobs)),
            executions: rates.run.pace(lazy!(Executions)),
            tasks: rates.run.pace(lazy!(Tasks)),
            payloads: rates.payloads.share(&secrets),
            secrets,
            projects: rates
                .projects
                .pace(LazyLock::new(Box::new(move || projects))),
            repositories: rates.artifacts.pace(lazy!(ArtifactRegistry)),
            logging: rates.logs.pace(lazy!(LoggingServiceV2)),
            sql_instances: rates.sql.pace(lazy!(SqlInstancesService)),
            sql_databases: rates.sql.pace(lazy!(SqlDatabasesService)),
            sql_users: rates.sql.pace(lazy!(SqlUsersService)),
            sql_operations: rates.sql.pace(lazy!(SqlOperationsService)),
            redis: rates.redis.pace(lazy!(CloudRedis)),
            zones: rates.names.pace(lazy!(ManagedZones)),
            record_sets: rates.names.pace(lazy!(ResourceRecordSets)),
            record_changes: rates.names.pace(lazy!(Changes)),
            credentials,
        })
    }
}

/// The client for what Google's own do not reach. It takes proxies and authorities from where they
/// do.
pub(crate) fn http(call_timeout: Duration) -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(call_timeout).build();
    client.map_err(unbuilt)
}

fn settled<F>(
    builder: ClientBuilder<F, Credentials>,
    endpoint: Option<&str>,
    credentials: &Credentials,
    refused: &Refused,
    call_timeout: Duration,
) -> ClientBuilder<F, Credentials> {
    let (patient, pauses) = retry::policies(call_timeout, refused);
    let builder = builder
        .with_credentials(credentials.clone())
        .with_attempt_timeout(call_timeout)
        .with_backoff_policy(pauses)
        .with_retry_policy(patient);
    // Their spans of attempts are what `-v` makes its lines of. Others hold whole requests and
    // answers: whoever listens leaves them out.
    let builder = match tracing::enabled!(tracing::Level::DEBUG) {
        true => builder.with_tracing(),
        false => builder,
    };
    match endpoint {
        Some(base) => builder.with_endpoint(base),
        None => builder,
    }
}

fn unbuilt(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "cannot make a client for Google Cloud").because(error)
}
