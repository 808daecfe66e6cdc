//! Finds in an OCI layout's `index.json` the manifest that the user means.

use std::path::Path;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;

use crate::{Digest, Error, ErrorKind};

/// The tag of an entry, by the image specification.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The whole name of an entry, as `docker save` and containerd write it.
const FULL_NAME: &str = "io.containerd.image.name";

/// The manifest at the top of an image: its digest, and its media type as its entry has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// The tag of its entry. `None` where it has none, or several.
    pub(crate) tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Reads a layout directory's index and selects from it. Blocks.
pub(crate) fn select_in_dir(dir: &Path, tag: Option<&str>) -> Result<Top, Error> {
    let invalid = || Error::new(ErrorKind::Invalid, "read OCI layout", dir.display());
    if let Ok(text) = std::fs::read(dir.join("oci-layout")) {
        let marker: Marker = serde_json::from_slice(&text)
            .map_err(|e| invalid().detail("its `oci-layout` file").caused_by(e))?;
        if !marker.image_layout_version.starts_with("1.") {
            let version = marker.image_layout_version;
            return Err(invalid().detail(format!("its version is {version}, 1.x can be read")));
        }
    }
    let index = std::fs::read(dir.join("index.json")).map_err(|e| {
        Error::io("read OCI layout", dir.display(), e).detail("its `index.json` cannot be read")
    })?;
    select(&index, tag, &dir.display().to_string())
}

/// Selects from the text of an `index.json`: the entry with this tag, or the only one there is.
pub(crate) fn select(index: &[u8], tag: Option<&str>, object: &str) -> Result<Top, Error> {
    let failed = |kind| Error::new(kind, "read OCI layout", object);
    let index: ImageIndex = serde_json::from_slice(index).map_err(|e| {
        failed(ErrorKind::Invalid)
            .detail("its `index.json` is not an image index")
            .caused_by(e)
    })?;
    let entries = index.manifests();
    let fitting = entries
        .iter()
        .filter(|e| tag.is_none_or(|tag| is_named(e, tag)));
    let mut found: Vec<&Descriptor> = fitting.collect();
    let tags = found.iter().map(|it| annotation(it, REF_NAME));
    let tags: Vec<Option<&str>> = tags.collect();
    // One image under several names is still one image.
    found.sort_by_key(|e| e.digest().as_ref().to_owned());
    found.dedup_by_key(|e| e.digest().clone());
    match (found.as_slice(), tag) {
        ([one], _) => Ok(Top {
            digest: Digest::try_from(one.digest())?,
            media_type: one.media_type().to_string(),
            tag: match tags.as_slice() {
                [one] => one.map(str::to_owned),
                _ => None,
            },
        }),
        ([], None) => Err(failed(ErrorKind::NotFound).detail("it holds no image")),
        ([], Some(tag)) => Err(failed(ErrorKind::NotFound).detail(format!(
            "it holds no image tagged `{tag}`, only {}",
            names(entries)
        ))),
        (several, None) => Err(failed(ErrorKind::Invalid).detail(format!(
            "it holds {} images; add `:TAG` to choose one of {}",
            several.len(),
            names(entries)
        ))),
        (several, Some(tag)) => Err(failed(ErrorKind::Invalid).detail(format!(
            "{} of its images are tagged `{tag}`",
            several.len()
        ))),
    }
}

fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a str> {
    entry.annotations().as_ref()?.get(key).map(String::as_str)
}

fn is_named(entry: &Descriptor, wanted: &str) -> bool {
    annotation(entry, REF_NAME) == Some(wanted)
        || annotation(entry, FULL_NAME).is_some_and(|name| same_name(name, wanted))
}

/// Whether two image names mean the same one, once the defaults of registry and tag are filled in.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let whole = |name| Reference::try_from(name).map(|r: Reference| r.whole());
    matches!((whole(a), whole(b)), (Ok(a), Ok(b)) if a == b)
}

fn names(entries: &[Descriptor]) -> String {
    let name = |e: &Descriptor| {
        let found = annotation(e, REF_NAME).or_else(|| annotation(e, FULL_NAME));
        found.map_or_else(|| format!("{} (no tag)", e.digest()), |n| format!("`{n}`"))
    };
    let mut all: Vec<_> = entries.iter().map(name).collect();
    all.sort();
    if all.is_empty() {
        "nothing".into()
    } else {
        all.join(", ")
    }
}
