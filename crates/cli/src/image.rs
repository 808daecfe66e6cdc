//! Opens the images that the manifest names and lets the registries copy them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::capability::{Destination, ImageContent, LocalImage, Services};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Watch;
use deployer_core::spec::{Architecture, ServiceSpec};
use deployer_oci::{Anonymous, Config, CopyEvent, Image, ImageSource, Registry, Retry};
use futures::future::BoxFuture;

use crate::logins::{self, Asked, Logins, Ways};

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

/// Stands for an image where nothing is copied: what belongs to a service is declared to be found
/// by its name.
pub fn none() -> LocalImage {
    LocalImage {
        source: Arc::new(NoImage),
        digest: String::new(),
        platform_digest: String::new(),
        tag: None,
        origin: None,
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

    async fn tag(&self, _: &Destination, _: &str) -> Result<()> {
        Self::error()
    }

    async fn is_at(&self, _: &Destination) -> Result<bool> {
        Self::error()
    }
}
/// An image that was opened, before any target is looked at.
pub struct Found {
    source: Arc<Opened>,
    /// `sha256:...` of the index or manifest.
    pub digest: String,
    /// The tag to give it, when the source has one.
    pub tag: Option<String>,
    origin: Option<String>,
    /// How the manifest names it.
    reference: String,
    builds: BTreeMap<Architecture, Build>,
}

/// What it is for one architecture.
struct Build {
    digest: String,
    config: Config,
}

/// The images of some services, by the manifest's names, and what people should know about them.
pub type Images = (BTreeMap<String, Found>, Vec<String>);

/// Opens the image of each service once.
///
/// Errors: input or not found, naming service and image; denied, naming the registry and where was
/// looked for a login. An image that runs on no Linux is refused here, before anything is written.
pub async fn open_all(
    services: &BTreeMap<String, ServiceSpec>,
    base: &Path,
    clock: &Arc<dyn Clock>,
    logins: &Logins,
) -> Result<Images> {
    let opened = services.iter().map(|(key, service)| async move {
        let found = open(&service.image, base, clock, logins).await;
        let (found, note) = found.map_err(|error| {
            let action = format!(
                "cannot open the image of service `{key}`: `{}`",
                service.image
            );
            let hint = error.hint_text().map(str::to_owned);
            let error = Error::new(error.kind(), action).because(error);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        let note = note.map(|note| format!("service `{key}`: {note}"));
        Ok::<_, Error>((key.clone(), found, note))
    });
    let (mut all, mut notes) = (BTreeMap::new(), Vec::new());
    for (key, found, note) in futures::future::try_join_all(opened).await? {
        all.insert(key, found);
        notes.extend(note);
    }
    Ok((all, notes))
}

async fn open(
    reference: &str,
    base: &Path,
    clock: &Arc<dyn Clock>,
    logins: &Logins,
) -> Result<(Found, Option<String>)> {
    let source = ImageSource::parse(reference, base).map_err(told)?;
    let retry = patience(clock);
    let image = match source.reference() {
        None => source.open_with(Anonymous, retry).await.map_err(told)?,
        Some(named) => {
            let (registry, repository) = (named.registry(), named.repository());
            open_remote(&source, (registry, repository), logins, retry).await?
        }
    };
    let builds = builds(&image).await.map_err(told)?;
    if builds.is_empty() {
        image.require_platform("linux", "amd64").map_err(told)?;
    }
    let named = source.reference();
    let found = Found {
        digest: image.digest().to_string(),
        tag: match named {
            Some(named) => named.tag().map(str::to_owned),
            None => image.tag().and_then(tag_of).or_else(|| tag_of(reference)),
        },
        origin: named.map(|named| format!("{}/{}", named.registry(), named.repository())),
        reference: reference.to_owned(),
        builds,
        source: Arc::new(Opened {
            image,
            clock: Arc::clone(clock),
        }),
    };
    let untagged = named.filter(|_| names_no_tag(reference));
    let note = untagged
        .map(|named| format!("the image `{reference}` names no tag: {named} was taken, which may be another one tomorrow"));
    Ok((found, note))
}

/// Opens an image in a registry by the first way that the registry does not refuse.
async fn open_remote(
    source: &ImageSource,
    (registry, repository): (&str, &str),
    logins: &Logins,
    retry: Retry,
) -> Result<Image> {
    let Ways { all, mut in_vain } = logins.ways(registry, repository).await;
    let mut refusal = None;
    for way in all {
        match source.open_with(way.auth, retry.clone()).await {
            Ok(image) => return Ok(image),
            Err(error) if error.kind() == deployer_oci::ErrorKind::Denied => {
                // Where not the registry refuses but nothing could be shown to it: why.
                let why = Error::found_in(&error);
                let why = why.map_or_else(|| "refused".to_owned(), |why| why.to_string());
                in_vain.push(format!("{} ({why})", way.from));
                // The first one says most: nobody, who comes last, is refused anyway.
                let error = told(error);
                tracing::debug!(from = way.from, error = error.chain().join(": "), "refused");
                refusal.get_or_insert(error);
            }
            Err(error) if error.kind() == deployer_oci::ErrorKind::NotFound => {
                let hint = logins::push(registry, repository, &source.to_string());
                return Err(told(error).hint(hint));
            }
            Err(error) => return Err(told(error)),
        }
    }
    let words = format!(
        "{registry} wants another login; tried: {}",
        in_vain.join("; ")
    );
    let error = Error::new(ErrorKind::Denied, words);
    Err(match refusal {
        // Who could not be asked knows better what to do.
        Some(refusal) if refusal.hint_text().is_some() => error.because(refusal),
        Some(refusal) => error.hint(logins::hint(registry)).because(refusal),
        None => error.hint(logins::hint(registry)),
    })
}

async fn builds(image: &Image) -> Result<BTreeMap<Architecture, Build>, deployer_oci::Error> {
    let mut builds = BTreeMap::new();
    for architecture in [Architecture::X86, Architecture::Arm] {
        let name = architecture.in_images();
        let Some(digest) = image.child_digest("linux", name) else {
            continue;
        };
        let build = Build {
            digest: digest.to_string(),
            config: image.config("linux", name).await?.unwrap_or_default(),
        };
        builds.insert(architecture, build);
    }
    Ok(builds)
}

impl Found {
    /// The image as one target takes it, and what it runs on there: what the manifest says, else
    /// what the image is built for, x86_64 where it is built for both.
    ///
    /// Errors: input, when the target cannot run it, with what to do.
    pub fn on(
        &self,
        service: &ServiceSpec,
        runtime: &dyn Services,
    ) -> Result<(Architecture, LocalImage)> {
        let first = self.builds.keys().next().copied().unwrap_or_default();
        let architecture = service.architecture.unwrap_or(first);
        let key = &service.key;
        let platform = format!("linux/{}", architecture.in_images());
        let Some(build) = self.builds.get(&architecture) else {
            let has = self
                .builds
                .keys()
                .map(|it| format!("linux/{}", it.in_images()));
            let has: Vec<_> = has.collect();
            return Err(Error::input(format!(
                "the image `{}` of service `{key}` is not built for {platform}, which `architecture` asks for; it has {}",
                self.reference,
                has.join(", ")
            ))
            .hint(format!(
                "build it (`docker build --platform {platform}`), or change `architecture`"
            )));
        };
        runtime.runs(service, architecture).map_err(|error| {
            let words = format!(
                "the image `{}` of service `{key}` is for {platform}",
                self.reference
            );
            let hint = error.hint_text().unwrap_or_default().to_owned();
            Error::input(words)
                .hint(hint.replace("NAME", key))
                .because(error)
        })?;
        self.check(service, &platform, build)?;
        let local = LocalImage {
            source: Arc::clone(&self.source) as Arc<dyn ImageContent>,
            digest: self.digest.clone(),
            platform_digest: build.digest.clone(),
            tag: self.tag.clone(),
            origin: self.origin.clone(),
        };
        Ok((architecture, local))
    }

    /// What would end with "exec format error" or "no command specified" on every cloud.
    fn check(&self, service: &ServiceSpec, platform: &str, build: &Build) -> Result<()> {
        let (key, config) = (&service.key, &build.config);
        let says = config
            .platform
            .as_ref()
            .map(|it| format!("{}/{}", it.os, it.architecture));
        if let Some(says) = says.filter(|says| says != platform) {
            return Err(Error::input(format!(
                "the image `{}` of service `{key}` contradicts itself: its index says {platform}, its configuration {says}",
                self.reference
            ))
            .hint(format!("build it again: `docker build --platform {platform}`")));
        }
        let given = [
            &service.entrypoint,
            &service.command,
            &config.entrypoint,
            &config.command,
        ];
        if given.iter().all(|words| words.is_empty()) {
            return Err(Error::input(format!(
                "the image `{}` has neither ENTRYPOINT nor CMD, and `[services.{key}]` no `command`: nothing says what to \
                 start",
                self.reference
            ))
            .hint(format!("write `command = [\"/path/of/the/program\"]` into `[services.{key}]`")));
        }
        Ok(())
    }
}

/// Whether a registry reference leaves the tag to Docker's default.
fn names_no_tag(reference: &str) -> bool {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    !reference.contains('@') && !last.contains(':')
}

/// The tag of a layout; the image's folder or file name otherwise.
fn tag_of(reference: &str) -> Option<String> {
    let last = reference.rsplit('/').next()?;
    let tag = last.rsplit_once(':').map_or(last, |(_, tag)| tag);
    let tag = tag.trim_end_matches(".tar").trim_end_matches(".docker");
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = !tag.is_empty() && tag.len() <= 128 && tag.chars().all(valid);
    (fits && !tag.starts_with(['.', '-'])).then(|| tag.to_owned())
}

/// A failure to read an image, as ours.
fn told(error: deployer_oci::Error) -> Error {
    // Whose credentials are missing, and what to do, is deeper down.
    let hint = Error::found_in(&error).and_then(|ours| ours.hint_text().map(str::to_owned));
    let told = Error::new(error_kind(&error), error.to_string());
    let told = match hint {
        Some(hint) => told.hint(hint),
        None => told,
    };
    match std::error::Error::source(&error) {
        Some(_) => told.because(error),
        None => told,
    }
}

/// The tries of each step, waited for by the program's clock.
fn patience(clock: &Arc<dyn Clock>) -> Retry {
    let clock = Arc::clone(clock);
    let sleep = move |wait| -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&clock);
        Box::pin(async move { clock.pause(wait).await })
    };
    Retry::new(ATTEMPTS, Arc::new(sleep))
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
        let base = to.base.parse().map_err(|error| {
            Error::input(format!("`{}` is no registry address", to.base)).because(error)
        })?;
        let registry = Registry::new(base, Asked(Arc::clone(&to.login)));
        let registry = registry.map_err(|error| wrap(to, "use", error))?;
        Ok(registry.with_retry(patience(&self.clock)))
    }
}

fn wrap(to: &Destination, verb: &str, error: deployer_oci::Error) -> Error {
    // Nothing could be shown to the registry: that is the cloud's error, whole, and not the
    // registry's refusal.
    if let Some(ours) = Error::found_in(&error) {
        return ours;
    }
    Error::new(
        error_kind(&error),
        format!("cannot {verb} the registry {}/{}", to.base, to.repository),
    )
    .because(error)
}

/// A blob that is smaller is sent before anybody reads that it is.
const WORTH_SAYING: u64 = 1 << 20;

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[async_trait]
impl ImageContent for Opened {
    async fn copy_to(&self, to: &Destination, tag: Option<&str>, watch: &dyn Watch) -> Result<()> {
        let progress = |event: CopyEvent| match event {
            CopyEvent::Started { blobs, bytes } => {
                watch.note(&format!("{blobs} blobs, {}", mebibytes(bytes)));
            }
            CopyEvent::Retrying { what, wait } => {
                watch.note(&format!("{what}: again in {:.1} s", wait.as_secs_f64()));
            }
            CopyEvent::BlobStarted { size, .. } if size >= WORTH_SAYING => {
                watch.note(&format!("sending {}", mebibytes(size)));
            }
            CopyEvent::BlobUploaded { size, .. } if size >= WORTH_SAYING => {
                watch.note(&format!("sent {}", mebibytes(size)));
            }
            CopyEvent::BlobUploaded { .. }
            | CopyEvent::BlobPresent { .. }
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

    async fn tag(&self, to: &Destination, tag: &str) -> Result<()> {
        self.registry(to)?
            .tag(&self.image, &to.repository, tag)
            .await
            .map_err(|error| wrap(to, "tag the image in", error))
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
    }

    #[test]
    fn docker_gives_a_tag_to_whoever_names_none() {
        for (reference, none) in [
            ("nginx", true),
            ("localhost:5000/team/app", true),
            ("nginx:1.27", false),
            ("nginx@sha256:abcd", false),
            ("nginx:1.27@sha256:abcd", false),
        ] {
            assert_eq!(names_no_tag(reference), none, "{reference}");
        }
    }
}
