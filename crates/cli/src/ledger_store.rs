//! Finds where a target's ledger is kept: its own bucket, or a folder when that was chosen or it is
//! a sandbox.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_aws::{Profiles, ProvideCredentials};
use deployer_core::address::Target;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Ledger;
use deployer_manifest::{Loaded, catalogue};
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig};
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use crate::system::Surroundings;

/// Opens the ledger of the environment on one target. Writes nothing but, for a folder, the folder.
///
/// Errors: input, when the address is none of `s3://`, `gs://`, `file://`, or a folder is given
/// where `CI=true`.
///
/// `aws` signs the calls to S3: the same cache as that of the target's other calls, for the store
/// asks at each of its own.
pub async fn open(
    loaded: &Loaded,
    target: &Target,
    around: &Surroundings,
    aws: &deployer_aws::Credentials,
) -> Result<Ledger> {
    let cloud = target.cloud;
    let place = loaded.manifest.ledger(cloud);
    let place =
        place.ok_or_else(|| Error::input(format!("the manifest has no `[targets.{cloud}]`")))?;
    let address = place.address;
    let address = address.map_or_else(|| default_address(target), str::to_owned);
    let (store, base) = match &around.ledger {
        Some(store) => (Arc::clone(store), Key::default()),
        None => {
            let bucket = (target, place.region, place.owner);
            store(&address, bucket, &loaded.base_dir, aws).await?
        }
    };
    let app = &loaded.manifest.app;
    let environment = &loaded.environment;
    let clock = Arc::clone(&around.clock);
    let ledger = Ledger::new(store, &base, app, environment, target.clone(), clock);
    let ledger = ledger
        .at(address.as_str())
        .moved(catalogue(target.cloud).kinds.moved)
        .renamed(loaded.manifest.renames());
    let how = around
        .ledger
        .is_none()
        .then(|| how_to_make(&address, target, place.region));
    Ok(match how.flatten() {
        Some(command) => ledger.made_by(command),
        None => ledger,
    })
}

/// Says whose a bucket must be (S3 API reference, all operations on buckets and objects).
const EXPECTED_OWNER: HeaderName = HeaderName::from_static("x-amz-expected-bucket-owner");

/// Has older versions and the marks of deletes go after a month: the lock is made and removed all
/// the time, and in a versioned bucket nothing ever goes by itself.
const OLD_VERSIONS: &str = r#"{"Rules":[{"ID":"old-versions","Status":"Enabled","Filter":{},"NoncurrentVersionExpiration":{"NoncurrentDays":30},"Expiration":{"ExpiredObjectDeleteMarker":true},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":7}}]}"#;

/// The same for Google: older versions go after a month, and with them the marks that deletes are
/// there (Cloud Storage, "Object Lifecycle Management": `daysSinceNoncurrentTime` is of noncurrent
/// versions alone).
const OLD_GENERATIONS: &str =
    r#"{"rule":[{"action":{"type":"Delete"},"condition":{"daysSinceNoncurrentTime":30}}]}"#;

/// The command that makes a ledger's bucket: private and encrypted, as new ones are, with older
/// versions kept for a while. `None` for a folder.
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

/// The address that is the same from wherever the ledger is used.
pub fn absolute(address: &str, base: &Path) -> String {
    let Some(folder) = address.strip_prefix("file://") else {
        return address.trim_end_matches('/').to_owned();
    };
    let folder = folder_at(base, folder);
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    format!("file://{}", folder.display())
}

/// Of a folder, relative to the manifest's.
fn default_address(target: &Target) -> String {
    let Target {
        account, region, ..
    } = target;
    match target.sandbox {
        true => "file://.deployer/ledger".to_owned(),
        false => {
            let scheme = catalogue(target.cloud).buckets;
            format!("{scheme}://deployer-{account}-{region}")
        }
    }
}

async fn store(
    address: &str,
    (target, region, owner): (&Target, &str, Option<&str>),
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
        if folder == "~" || folder.starts_with("~/") {
            return Err(bad("`~` is not expanded here: write the whole path".into()));
        }
        let folder = folder_at(base, folder);
        return folder_store(&folder, target).map_err(|why| {
            let what = format!("cannot use {} as the ledger's folder: {why}", folder.display());
            Error::input(what).hint(format!(
                "look whether a file is in its way and whether you may write there, or name another one: `[targets.{}] ledger = \"file:///FOLDER\"`",
                target.cloud
            ))
        });
    }
    let url = Url::parse(address).map_err(|error| bad(error.to_string()))?;
    let bucket = url
        .host_str()
        .ok_or_else(|| bad("it names no bucket".into()))?;
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "s3" => Arc::new(s3(bucket, (region, owner), aws)?),
        "gs" => Arc::new(gcs(bucket, target).await?),
        other => return Err(bad(format!("`{other}://` is no kind of ledger"))),
    };
    let prefix =
        Key::parse(url.path().trim_matches('/')).map_err(|error| bad(error.to_string()))?;
    Ok((store, prefix))
}

/// The folder that `file://` and this text name, relative to the manifest's unless it is absolute.
/// As in any address, `%20` is a space.
fn folder_at(base: &Path, text: &str) -> PathBuf {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    base.join(OsString::from_vec(bytes))
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
    (region, owner): (&str, Option<&str>),
    aws: &deployer_aws::Credentials,
) -> Result<impl ObjectStore + use<>> {
    let mut options = owned_by(client_options(), owner)?;
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
        let fips = asks_fips(|name| std::env::var_os(name));
        builder = builder.with_endpoint(deployer_aws::s3_endpoint(region, fips));
    }
    let store = builder.with_client_options(options).build();
    store.map_err(|error| unusable(bucket, error))
}

/// The SDK's credentials (profiles, SSO, roles), which the object store does not know how to find
/// itself.
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

/// Whether the validated endpoints are asked for: by the variable, or by the profile as for every
/// other call.
fn asks_fips(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let said = variable("AWS_USE_FIPS_ENDPOINT").filter(|it| !it.is_empty());
    match said {
        Some(said) => said == "true",
        None => Profiles::read(variable).setting("use_fips_endpoint") == Some("true"),
    }
}

/// Has S3 refuse every call to a bucket of another account than this.
fn owned_by(options: ClientOptions, owner: Option<&str>) -> Result<ClientOptions> {
    let Some(owner) = owner else {
        return Ok(options);
    };
    let value = HeaderValue::from_str(owner)
        .map_err(|error| Error::input(format!("`{owner}` is no account of AWS")).because(error))?;
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_OWNER, value);
    Ok(options.with_default_headers(headers))
}

/// A lease is short: a store that does not answer must be known in time.
fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(10))
}

/// The client itself tries nothing again: the ledger does, and asks before each try that changes
/// something whether the lease still lasts.
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use deployer_core::address::CloudName;
    use object_store::ObjectStoreExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn target(sandbox: bool) -> Target {
        Target {
            cloud: CloudName::Aws,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            sandbox,
        }
    }

    #[test]
    fn the_folder_of_a_sandbox_is_beside_the_manifest_wherever_that_is_named_from() {
        let address = default_address(&target(true));
        let folder = address.strip_prefix("file://").unwrap();
        let at = |base: &[u8]| folder_at(Path::new(std::ffi::OsStr::from_bytes(base)), folder);
        assert_eq!(at(b"."), Path::new("./.deployer/ledger"));
        assert_eq!(at(b"sub"), Path::new("sub/.deployer/ledger"));
        // A name that is no UTF-8 stays as it is.
        let odd = at(b"/a\xff b");
        assert_eq!(odd.as_os_str().as_bytes(), b"/a\xff b/.deployer/ledger");
    }

    #[test]
    fn a_folder_is_read_as_an_address_is() {
        let at = |text: &str| folder_at(Path::new("sub"), text);
        assert_eq!(at("/var/a%20b"), Path::new("/var/a b"));
        assert_eq!(at("/var/100%"), Path::new("/var/100%"));
        assert_eq!(at("ledger"), Path::new("sub/ledger"));
    }

    /// What a store that expects this owner sends.
    async fn sent(owner: Option<&str>) -> String {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.unwrap();
            let mut asked = vec![0; 16 * 1024];
            let length = connection.read(&mut asked).await.unwrap();
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            connection.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..length]).to_lowercase()
        });
        let options = owned_by(client_options().with_allow_http(true), owner).unwrap();
        let store = AmazonS3Builder::new()
            .with_bucket_name("deployer-123456789012-us-east-1")
            .with_region("us-east-1")
            .with_endpoint(format!("http://{address}"))
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_retry(retries())
            .with_client_options(options)
            .build()
            .unwrap();
        store.get(&Key::from("runs/1.json")).await.unwrap_err();
        answering.await.unwrap()
    }

    #[tokio::test]
    async fn every_call_to_the_bucket_names_its_owner_and_signs_that() {
        let with = sent(Some("123456789012")).await;
        assert!(
            with.contains("x-amz-expected-bucket-owner: 123456789012"),
            "{with}"
        );
        let signed = with.split("signedheaders=").nth(1).unwrap_or_default();
        let signed = signed.split(',').next().unwrap_or_default();
        assert!(signed.contains("x-amz-expected-bucket-owner"), "{signed}");
        let without = sent(None).await;
        assert!(!without.contains("expected-bucket-owner"), "{without}");
    }

    #[test]
    fn a_profile_asks_for_validated_endpoints_as_the_variable_does() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::write(&config, "[profile gov]\nuse_fips_endpoint = true\n").unwrap();
        let asks = |fips: Option<&str>, profile: &str| {
            asks_fips(|name| match name {
                "AWS_USE_FIPS_ENDPOINT" => fips.map(OsString::from),
                "AWS_CONFIG_FILE" => Some(config.clone().into()),
                "AWS_PROFILE" => Some(profile.into()),
                _ => None,
            })
        };
        assert!(asks(None, "gov") && asks(Some("true"), "other"));
        assert!(!asks(None, "other") && !asks(Some("false"), "gov"));
    }
}
