//! Reads an image reference as users write it: a layout, an archive or a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::distribution::Reference;

use crate::archive::ArchiveKind;
use crate::store::Store;
use crate::{Error, ErrorKind, Image, Registry, RegistryAuth, Retry, docker_save, layout};

const ACTION: &str = "find image";

/// How the names of archives end.
const ARCHIVES: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// Where an image is to be read from.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// An OCI layout directory.
    Layout {
        /// The directory with `index.json` and `blobs`.
        dir: PathBuf,
        /// Which of its images, by `org.opencontainers.image.ref.name`; `None` for the only one.
        tag: Option<String>,
    },
    /// A tar file, which may be compressed with gzip.
    Archive {
        /// The file.
        file: PathBuf,
        /// What it is expected to be.
        kind: ArchiveKind,
        /// Which of its images, by tag or name; `None` for the only one.
        name: Option<String>,
    },
    /// A repository in a registry.
    Registry {
        /// The reference, defaults filled in.
        reference: Reference,
        /// The path that the reference might have meant but that does not exist, or is no image.
        not_a_path: PathBuf,
    },
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, name) = match self {
            ImageSource::Registry { reference, .. } => return write!(f, "{reference}"),
            ImageSource::Layout { dir, tag } => ("oci", dir, tag),
            ImageSource::Archive {
                file,
                kind: ArchiveKind::DockerSave,
                name,
            } => ("docker-archive", file, name),
            ImageSource::Archive {
                file,
                kind: ArchiveKind::Oci,
                name,
            } => ("oci-archive", file, name),
            ImageSource::Archive {
                file,
                kind: ArchiveKind::Detect,
                name,
            } => ("archive", file, name),
        };
        write!(f, "{prefix}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

impl ImageSource {
    /// Reads a reference; relative paths start at `base_dir`.
    ///
    /// - `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, `docker://REF`;
    /// - a path that exists, with `:TAG` if need be: of a folder with an `index.json`, of a file
    ///   whose name ends in `.tar`, `.tgz` or `.tar.gz`, or of anything when it begins with `.`
    ///   or `/`;
    /// - else a registry reference by Docker's rules (`app` is `docker.io/library/app:latest`).
    ///
    /// `NotFound` when a path does not exist, `Invalid` when the text is none of these; both say
    /// what was tried.
    pub fn parse(reference: &str, base_dir: &Path) -> Result<Self, Error> {
        if let Some(rest) = reference.strip_prefix("oci:") {
            let (dir, tag) = existing(rest, base_dir, reference)?;
            return layout_at(dir, tag, reference);
        }
        if let Some(rest) = reference.strip_prefix("oci-archive:") {
            let (file, name) = existing(rest, base_dir, reference)?;
            return archive_at(file, ArchiveKind::Oci, name, reference);
        }
        if let Some(rest) = reference.strip_prefix("docker-archive:") {
            let (file, name) = existing(rest, base_dir, reference)?;
            return archive_at(file, ArchiveKind::DockerSave, name, reference);
        }
        if let Some(rest) = reference.strip_prefix("docker://") {
            return in_registry(rest, base_dir);
        }
        let found = existing(reference, base_dir, reference);
        match found.ok().filter(|(path, _)| is_meant(reference, path)) {
            Some((path, tag)) if path.is_dir() => layout_at(path, tag, reference),
            Some((path, tag)) => archive_at(path, ArchiveKind::Detect, tag, reference),
            None => in_registry(reference, base_dir),
        }
    }

    /// The registry's reference; `None` for what is on this machine.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            ImageSource::Registry { reference, .. } => Some(reference),
            ImageSource::Layout { .. } | ImageSource::Archive { .. } => None,
        }
    }

    /// Opens the image: reads and checks its manifests, finds its blobs, changes nothing.
    ///
    /// `auth` is asked for a registry's credentials only. Errors are those of reading: `NotFound`,
    /// `Invalid`, `DigestMismatch`, and for a registry `Denied` and `Unreachable`.
    pub async fn open(&self, auth: impl RegistryAuth + 'static) -> Result<Image, Error> {
        self.open_with(auth, Retry::default()).await
    }

    /// [`Self::open`] with other patience for a registry.
    pub async fn open_with(
        &self,
        auth: impl RegistryAuth + 'static,
        retry: Retry,
    ) -> Result<Image, Error> {
        match self.clone() {
            ImageSource::Layout { dir, tag } => {
                let found = dir.clone();
                let top = blocking(move || layout::select_in_dir(&found, tag.as_deref())).await?;
                let store = Store::Layout(dir);
                let image = Image::load(store, top.digest, Some(top.media_type)).await?;
                Ok(image.tagged(top.tag))
            }
            ImageSource::Archive { file, kind, name } => {
                let (archive, top) =
                    blocking(move || docker_save::open(&file, kind, name.as_deref())).await?;
                let store = Store::Archive(Arc::new(archive));
                Image::load(store, top.digest, Some(top.media_type)).await
            }
            ImageSource::Registry {
                reference,
                not_a_path,
            } => {
                open_remote(&reference, auth, retry)
                    .await
                    .map_err(|e| match e.kind() {
                        // A mistyped path looks like a reference: say so, or nobody will guess.
                        ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unreachable => {
                            e.note(&not_taken(&not_a_path))
                        }
                        ErrorKind::Invalid
                        | ErrorKind::Conflict
                        | ErrorKind::DigestMismatch
                        | ErrorKind::WrongPlatform => e,
                    })
            }
        }
    }
}

async fn open_remote(
    reference: &Reference,
    auth: impl RegistryAuth + 'static,
    retry: Retry,
) -> Result<Image, Error> {
    let registry = Registry::named(reference.registry(), auth)?.with_retry(retry);
    let repo = reference.repository().to_owned();
    let wanted = reference.digest().or(reference.tag()).unwrap_or("latest");
    let top = registry.pull_manifest(&repo, wanted).await?;
    let store = Store::Registry { registry, repo };
    Image::load(store, top.digest, Some(top.media_type)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::new(ErrorKind::Invalid, "read", "image").caused_by(e)),
    }
}

/// Splits `PATH[:TAG]` where the path exists, the longest path first, for either may hold a colon.
fn existing(
    text: &str,
    base_dir: &Path,
    reference: &str,
) -> Result<(PathBuf, Option<String>), Error> {
    let colons = text
        .rmatch_indices(':')
        .map(|(at, _)| (&text[..at], Some(&text[at + 1..])));
    let mut tried = Vec::new();
    for (path, tag) in std::iter::once((text, None)).chain(colons) {
        let path = base_dir.join(path);
        if path.exists() && tag != Some("") {
            return Ok((path, tag.map(str::to_owned)));
        }
        tried.push(format!("`{}`", path.display()));
    }
    Err(Error::new(ErrorKind::NotFound, ACTION, reference)
        .detail(format!("tried {}: nothing is there", tried.join(" and "))))
}

fn layout_at(dir: PathBuf, tag: Option<String>, reference: &str) -> Result<ImageSource, Error> {
    if dir.join("index.json").is_file() {
        return Ok(ImageSource::Layout { dir, tag });
    }
    Err(
        Error::new(ErrorKind::Invalid, ACTION, reference).detail(format!(
            "`{}` is no OCI layout directory: it has no `index.json`",
            dir.display()
        )),
    )
}

fn archive_at(
    file: PathBuf,
    kind: ArchiveKind,
    name: Option<String>,
    reference: &str,
) -> Result<ImageSource, Error> {
    if file.is_file() {
        return Ok(ImageSource::Archive { file, kind, name });
    }
    Err(Error::new(ErrorKind::Invalid, ACTION, reference)
        .detail(format!("`{}` is not a file", file.display())))
}

/// Why a path was not taken for the image.
fn not_taken(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.exists() {
        false => format!("there is no file or directory `{}`", path.display()),
        true => format!(
            "`{}` is there and is no image: no folder with an `index.json` and no `.tar`; `docker://{name}` says that the registry's is meant",
            path.display()
        ),
    }
}

/// Whether a path that exists is what a reference without a scheme means: `app` beside an ordinary
/// file or folder `app` still means the registry's.
fn is_meant(reference: &str, path: &Path) -> bool {
    let is_path = reference.starts_with(['.', '/']);
    let is_layout = path.join("index.json").is_file();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_archive = ARCHIVES.iter().any(|end| name.ends_with(end)) && path.is_file();
    is_path || is_layout || is_archive
}

fn in_registry(text: &str, base_dir: &Path) -> Result<ImageSource, Error> {
    let not_a_path = base_dir.join(text);
    let tried = not_taken(&not_a_path);
    let is_path =
        text.starts_with(['.', '/', '~']) || ARCHIVES.iter().any(|end| text.ends_with(end));
    if is_path {
        return Err(Error::new(ErrorKind::NotFound, ACTION, text).detail(tried));
    }
    match Reference::try_from(text) {
        Ok(reference) => Ok(ImageSource::Registry {
            reference,
            not_a_path,
        }),
        Err(e) => Err(Error::new(ErrorKind::Invalid, ACTION, text)
            .detail(format!("{tried}, and it is no registry reference"))
            .caused_by(e)),
    }
}
