//! Finds where a target's ledger is kept: its own bucket, or a folder when that was chosen or it is a sandbox.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_aws::ProvideCredentials;
use deployer_core::address::{CloudName, Target};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Ledger;
use deployer_manifest::Loaded;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig};
use secrecy::ExposeSecret;
use url::Url;

use crate::system::Surroundings;

/// Opens the ledger of the environment on one target. Writes nothing but, for a folder, the folder.
///
/// Errors: input, when the address is none of `s3://`, `gs://`, `file://`, or a folder is given where `CI=true`.
///
/// `aws` signs the calls to S3: the same cache as that of the target's other calls, for the store asks at each of its own.
pub async fn open(
    loaded: &Loaded,
    target: &Target,
    around: &Surroundings,
    aws: &deployer_aws::Credentials,
) -> Result<Ledger> {
    let targets = &loaded.manifest.targets;
    let chosen = match target.cloud {
        CloudName::Aws => targets
            .aws
            .as_ref()
            .and_then(|section| section.ledger.clone()),
        CloudName::Gcp => targets
            .gcp
            .as_ref()
            .and_then(|section| section.ledger.clone()),
    };
    let address = chosen.unwrap_or_else(|| default_address(loaded, target));
    let (store, base) = match &around.ledger {
        Some(store) => (Arc::clone(store), Key::default()),
        None => {
            let region = bucket_region(loaded, target);
            store(&address, (target, region), &loaded.base_dir, aws).await?
        }
    };
    let app = &loaded.manifest.app;
    let environment = &loaded.environment;
    let clock = Arc::clone(&around.clock);
    let ledger = Ledger::new(store, &base, app, environment, target.clone(), clock);
    let ledger = ledger.at(address.as_str());
    let how = around
        .ledger
        .is_none()
        .then(|| how_to_make(&address, target, bucket_region(loaded, target)));
    Ok(match how.flatten() {
        Some(command) => ledger.made_by(command),
        None => ledger,
    })
}

/// Has older versions and the marks of deletes go after a month: the lock is made and removed all the time, and in a versioned
/// bucket nothing ever goes by itself.
const OLD_VERSIONS: &str = r#"{"Rules":[{"ID":"old-versions","Status":"Enabled","Filter":{},"NoncurrentVersionExpiration":{"NoncurrentDays":30},"Expiration":{"ExpiredObjectDeleteMarker":true},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":7}}]}"#;

/// The same for Google: older versions go after a month, and with them the marks that deletes are there (Cloud Storage, "Object Lifecycle
/// Management": `daysSinceNoncurrentTime` is of noncurrent versions alone).
const OLD_GENERATIONS: &str =
    r#"{"rule":[{"action":{"type":"Delete"},"condition":{"daysSinceNoncurrentTime":30}}]}"#;

/// The command that makes a ledger's bucket: private and encrypted, as new ones are, with older versions kept for a while.
/// `None` for a folder.
fn how_to_make(address: &str, target: &Target, bucket_region: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let bucket = rest.split('/').next()?;
    let Target {
        account, region, ..
    } = target;
    match scheme {
        "s3" => {
            // The oldest region takes no constraint.
            let region = bucket_region;
            let place = match region {
                "us-east-1" => String::new(),
                other => format!(" --create-bucket-configuration LocationConstraint={other}"),
            };
            Some(format!(
                "aws s3api create-bucket --bucket {bucket} --region {region}{place} && \
                 aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled && \
                 aws s3api put-bucket-lifecycle-configuration --bucket {bucket} --lifecycle-configuration '{OLD_VERSIONS}'"
            ))
        }
        "gs" => Some(format!(
            "gcloud storage buckets create gs://{bucket} --project={account} --location={region} \
             --uniform-bucket-level-access --public-access-prevention && \
             echo '{OLD_GENERATIONS}' | gcloud storage buckets update gs://{bucket} --versioning --lifecycle-file=/dev/stdin"
        )),
        _ => None,
    }
}

/// Where the ledger's bucket is: with the target, unless the manifest says otherwise.
fn bucket_region<'a>(loaded: &'a Loaded, target: &'a Target) -> &'a str {
    let section = loaded.manifest.targets.aws.as_ref();
    let said = section.and_then(|section| section.ledger_region.as_deref());
    match target.cloud {
        CloudName::Aws => said.unwrap_or(&target.region),
        CloudName::Gcp => &target.region,
    }
}

fn default_address(loaded: &Loaded, target: &Target) -> String {
    let Target {
        account, region, ..
    } = target;
    match target.cloud {
        _ if target.sandbox => {
            format!(
                "file://{}",
                loaded.base_dir.join(".deployer/ledger").display()
            )
        }
        CloudName::Aws => format!("s3://deployer-{account}-{region}"),
        CloudName::Gcp => format!("gs://deployer-{account}-{region}"),
    }
}

async fn store(
    address: &str,
    (target, region): (&Target, &str),
    base: &Path,
    aws: &deployer_aws::Credentials,
) -> Result<(Arc<dyn ObjectStore>, Key)> {
    let bad = |why: String| {
        Error::input(format!(
            "`[targets.{}] ledger = \"{address}\"`: {why}",
            target.cloud
        ))
        .hint("write `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `file:///FOLDER`")
    };
    if let Some(folder) = address.strip_prefix("file://") {
        return folder_store(&base.join(folder), target).map_err(|why| bad(why.to_string()));
    }
    let url = Url::parse(address).map_err(|error| bad(error.to_string()))?;
    let bucket = url
        .host_str()
        .ok_or_else(|| bad("it names no bucket".into()))?;
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "s3" => Arc::new(s3(bucket, region, aws)?),
        "gs" => Arc::new(gcs(bucket, target).await?),
        other => return Err(bad(format!("`{other}://` is no kind of ledger"))),
    };
    let prefix =
        Key::parse(url.path().trim_matches('/')).map_err(|error| bad(error.to_string()))?;
    Ok((store, prefix))
}

fn folder_store(folder: &Path, target: &Target) -> Result<(Arc<dyn ObjectStore>, Key)> {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if in_ci && !target.sandbox {
        return Err(Error::input(
            "a folder of this machine is no ledger where CI=true: it goes with the machine",
        ));
    }
    let broken = |error: std::io::Error| {
        Error::new(
            ErrorKind::Ledger,
            format!("cannot open the ledger in {}", folder.display()),
        )
        .because(error)
    };
    std::fs::create_dir_all(folder).map_err(broken)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
        Error::new(
            ErrorKind::Ledger,
            format!("cannot open the ledger in {}", folder.display()),
        )
        .because(error)
    })?;
    // "Durable before the call" is to be true where the power fails too.
    Ok((Arc::new(store.with_fsync(true)), Key::default()))
}

fn s3(
    bucket: &str,
    region: &str,
    aws: &deployer_aws::Credentials,
) -> Result<impl ObjectStore + use<>> {
    let mut options = client_options();
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_region(region)
        .with_credentials(Arc::new(SdkCredentials(aws.clone())));
    if let Some(endpoint) = std::env::var("AWS_ENDPOINT_URL")
        .ok()
        .filter(|url| !url.is_empty())
    {
        options = options.with_allow_http(endpoint.starts_with("http:"));
        builder = builder.with_endpoint(endpoint);
    } else if !["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"]
        .map(std::env::var_os)
        .iter()
        .any(Option::is_some)
    {
        // The store itself knows `amazonaws.com` only.
        let fips = std::env::var("AWS_USE_FIPS_ENDPOINT").is_ok_and(|it| it == "true");
        builder = builder.with_endpoint(deployer_aws::s3_endpoint(region, fips));
    }
    let store = builder.with_client_options(options).build();
    store.map_err(|error| unusable(bucket, error))
}

/// The SDK's credentials (profiles, SSO, roles), which the object store does not know how to find itself.
#[derive(Debug)]
struct SdkCredentials(deployer_aws::Credentials);

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let found = self.0.provide_credentials().await;
        let found = found.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(error),
        })?;
        Ok(Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        }))
    }
}

async fn gcs(bucket: &str, target: &Target) -> Result<impl ObjectStore> {
    let mut options = client_options();
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_credentials(Arc::new(GoogleCredentials(
            deployer_gcp::Bearer::find(&target.account).await?,
        )));
    if let Some(endpoint) = std::env::var("DEPLOYER_GCP_ENDPOINT")
        .ok()
        .filter(|_| target.sandbox)
    {
        options = options.with_allow_http(true);
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let store = builder.with_client_options(options).build();
    store.map_err(|error| unusable(bucket, error))
}

/// The same credentials as every other Google call has.
#[derive(Debug)]
struct GoogleCredentials(deployer_gcp::Bearer);

#[async_trait]
impl CredentialProvider for GoogleCredentials {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let token = self.0.token().await;
        let token = token.map_err(|error| object_store::Error::Generic {
            store: "GCS",
            source: error.into(),
        })?;
        Ok(Arc::new(GcpCredential {
            bearer: token.expose_secret().to_owned(),
        }))
    }
}

/// A lease is short: a store that does not answer must be known in time.
fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(10))
}

/// The client itself tries nothing again: the ledger does, and asks before each try that changes something whether the lease still lasts.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn unusable(bucket: &str, error: object_store::Error) -> Error {
    Error::new(
        ErrorKind::Ledger,
        format!("cannot open the ledger in bucket `{bucket}`"),
    )
    .because(error)
}
