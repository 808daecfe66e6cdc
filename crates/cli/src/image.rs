//! Opens the images that the manifest names and lets the registries copy them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::capability::{Destination, ImageContent, LocalImage};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Watch;
use deployer_core::spec::ServiceSpec;
use deployer_oci::{Anonymous, CopyEvent, Credentials, Image, ImageSource, Registry, Retry};
use futures::future::BoxFuture;

/// Tries of each step of a copy, counting the first.
const ATTEMPTS: u32 = 6;

struct Opened {
    image: Image,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(&self.image).finish()
    }
}

/// Stands for an image where nothing is copied: what belongs to a service is declared to be found by its name.
pub fn none() -> LocalImage {
    LocalImage {
        source: Arc::new(NoImage),
        digest: String::new(),
        platform_digest: String::new(),
        tag: None,
    }
}

#[derive(Debug)]
struct NoImage;

impl NoImage {
    fn error<T>() -> Result<T> {
        Err(Error::internal(
            "an image was to be copied where none was opened",
        ))
    }
}

#[async_trait]
impl ImageContent for NoImage {
    async fn copy_to(&self, _: &Destination, _: Option<&str>, _: &dyn Watch) -> Result<()> {
        Self::error()
    }

    async fn is_at(&self, _: &Destination) -> Result<bool> {
        Self::error()
    }
}

/// Opens the image of each service once.
///
/// Errors: input or not found, naming service and image; an image without a linux/amd64 variant is refused here,
/// before anything is written.
pub async fn open_all(
    services: &BTreeMap<String, ServiceSpec>,
    base: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<String, LocalImage>> {
    let opened = services.iter().map(|(key, service)| async move {
        let image = open(&service.image, base, clock).await.map_err(|error| {
            let kind = error_kind(&error);
            Error::new(
                kind,
                format!(
                    "cannot open the image of service `{key}`: `{}`",
                    service.image
                ),
            )
            .because(error)
        })?;
        Ok((key.clone(), image))
    });
    futures::future::try_join_all(opened)
        .await
        .map(BTreeMap::from_iter)
}

async fn open(
    reference: &str,
    base: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<LocalImage, deployer_oci::Error> {
    let source = ImageSource::parse(reference, base)?;
    let tag = tag_of(reference);
    let image = source.open(&Anonymous).await?;
    image.require_platform("linux", "amd64")?;
    let digest = image.digest().to_string();
    let platform_digest = image
        .child_digest("linux", "amd64")
        .map_or_else(|| digest.clone(), ToString::to_string);
    Ok(LocalImage {
        source: Arc::new(Opened {
            image,
            clock: Arc::clone(clock),
        }),
        digest,
        platform_digest,
        tag,
    })
}

/// The tag of a registry reference or layout; the image's folder or file name otherwise.
fn tag_of(reference: &str) -> Option<String> {
    if reference.contains('@') {
        return None;
    }
    let last = reference.rsplit('/').next()?;
    let tag = last.rsplit_once(':').map_or(last, |(_, tag)| tag);
    let tag = tag.trim_end_matches(".tar").trim_end_matches(".docker");
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = !tag.is_empty() && tag.len() <= 128 && tag.chars().all(valid);
    (fits && !tag.starts_with(['.', '-'])).then(|| tag.to_owned())
}

fn error_kind(error: &deployer_oci::Error) -> ErrorKind {
    use deployer_oci::ErrorKind as Oci;
    match error.kind() {
        Oci::NotFound | Oci::Invalid | Oci::WrongPlatform | Oci::DigestMismatch => ErrorKind::Input,
        Oci::Denied => ErrorKind::Denied,
        Oci::Unreachable => ErrorKind::Unavailable,
        Oci::Conflict => ErrorKind::Conflict,
    }
}

impl Opened {
    /// The registry, which is waited for by the program's clock.
    fn registry(&self, to: &Destination) -> Result<Registry> {
        let clock = Arc::clone(&self.clock);
        let sleep = move |wait| -> BoxFuture<'static, ()> {
            let clock = Arc::clone(&clock);
            Box::pin(async move { clock.pause(wait).await })
        };
        Ok(registry(to)?.with_retry(Retry::new(ATTEMPTS, Arc::new(sleep))))
    }
}

fn registry(to: &Destination) -> Result<Registry> {
    let base = to.base.parse().map_err(|error| {
        Error::input(format!("`{}` is no registry address", to.base)).because(error)
    })?;
    let credentials = Credentials::Basic {
        user: to.user.clone(),
        password: to.password.clone(),
    };
    Registry::new(base, credentials).map_err(|error| wrap(to, "use", error))
}

fn wrap(to: &Destination, verb: &str, error: deployer_oci::Error) -> Error {
    Error::new(
        error_kind(&error),
        format!("cannot {verb} the registry {}/{}", to.base, to.repository),
    )
    .because(error)
}

#[async_trait]
impl ImageContent for Opened {
    async fn copy_to(&self, to: &Destination, tag: Option<&str>, watch: &dyn Watch) -> Result<()> {
        let progress = |event: CopyEvent| match event {
            CopyEvent::Started { blobs, bytes } => {
                watch.note(&format!(
                    "{blobs} blobs, {:.1} MiB",
                    bytes as f64 / f64::from(1 << 20)
                ));
            }
            CopyEvent::Retrying { what, wait } => {
                watch.note(&format!("{what}: again in {:.1} s", wait.as_secs_f64()));
            }
            CopyEvent::BlobUploaded { digest, .. } => watch.note(&format!("sent {digest}")),
            CopyEvent::BlobPresent { .. }
            | CopyEvent::BlobMounted { .. }
            | CopyEvent::BlobStarted { .. }
            | CopyEvent::BlobProgress { .. }
            | CopyEvent::ManifestWritten { .. }
            | CopyEvent::Tagged { .. } => {}
        };
        self.registry(to)?
            .copy(&self.image, &to.repository, tag, &progress)
            .await
            .map(drop)
            .map_err(|error| wrap(to, "copy the image into", error))
    }

    async fn is_at(&self, to: &Destination) -> Result<bool> {
        let digest = self.image.digest().to_string();
        self.registry(to)?
            .head_manifest(&to.repository, &digest)
            .await
            .map(|found| found.is_some())
            .map_err(|error| wrap(to, "look into", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_taken_from_where_people_put_versions() {
        let check =
            |reference: &str, tag: Option<&str>| assert_eq!(tag_of(reference).as_deref(), tag);
        check("oci:images/idp-1.0.0", Some("idp-1.0.0"));
        check("oci:images/idp:1.0.0", Some("1.0.0"));
        check("build/idp.docker.tar", Some("idp"));
        check("registry.example/team/idp:v3", Some("v3"));
        check("registry.example/team/idp@sha256:abcd", None);
    }
}
