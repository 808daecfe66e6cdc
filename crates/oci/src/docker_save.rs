//! Opens an archive of either kind, and gives a `docker save` archive the manifest it lacks.
//!
//! A `docker save` archive without OCI content has no manifest, hence no digest. It gets an OCI
//! manifest with uncompressed layers: the layer digests are then those that the image's own
//! configuration lists, and the same archive gives the same digest each time, on every machine and
//! with every version, since no compressor takes part. A layer that lies in the archive already
//! compressed stays as it is.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveKind};
use crate::image::{OCI_MANIFEST, Parsed, declared_platform, parse};
use crate::layout::{self, Top, same_name};
use crate::place::Place;
use crate::{Digest, Error, ErrorKind};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An entry of `manifest.json`, the list of images that `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads an archive's table of contents and selects an image from it. Blocks.
pub(crate) fn open(
    path: &Path,
    kind: ArchiveKind,
    name: Option<&str>,
) -> Result<(Archive, Top), Error> {
    let mut archive = Archive::open(path)?;
    let object = path.display().to_string();
    let has_index = archive.file("index.json").is_some();
    let has_list = archive.file("manifest.json").is_some();
    let top = match kind {
        ArchiveKind::Oci | ArchiveKind::Detect if has_index && !has_list => {
            layout::select(&archive.document("index.json")?, name, &object)?
        }
        ArchiveKind::Oci => layout::select(&archive.document("index.json")?, name, &object)?,
        ArchiveKind::DockerSave | ArchiveKind::Detect if has_list => {
            saved(&mut archive, name, has_index, &object)?
        }
        ArchiveKind::DockerSave | ArchiveKind::Detect => {
            let lacks = match kind {
                ArchiveKind::Detect => "it holds neither `index.json` nor `manifest.json`",
                ArchiveKind::DockerSave | ArchiveKind::Oci => "it holds no `manifest.json`",
            };
            return Err(Error::new(ErrorKind::Invalid, "read archive", object)
                .detail(format!("{lacks}: it is no image archive of this kind")));
        }
    };
    Ok((archive, top))
}

/// The image of a `docker save` archive: by its OCI content when it has any, else made up here.
fn saved(
    archive: &mut Archive,
    name: Option<&str>,
    has_index: bool,
    object: &str,
) -> Result<Top, Error> {
    if has_index {
        let top = layout::select(&archive.document("index.json")?, name, object)?;
        return only_complete_child(archive, top);
    }
    let invalid = || Error::new(ErrorKind::Invalid, "read archive", object);
    let list: Vec<Saved> = serde_json::from_slice(&archive.document("manifest.json")?)
        .map_err(|e| invalid().detail("its `manifest.json`").caused_by(e))?;
    let image = select(&list, name, object)?;
    let (digest, bytes) = manifest_for(archive, image, object)?;
    archive.insert(digest.clone(), Place::Memory(bytes.into()));
    Ok(Top {
        digest,
        media_type: OCI_MANIFEST.to_owned(),
        tag: None,
    })
}

fn select<'a>(list: &'a [Saved], name: Option<&str>, object: &str) -> Result<&'a Saved, Error> {
    let failed = |kind| Error::new(kind, "read archive", object);
    let tags = |s: &'a Saved| s.repo_tags.iter().flatten().map(String::as_str);
    let named = |s: &&'a Saved| name.is_none_or(|n| tags(s).any(|t| same_name(t, n)));
    let all = || list.iter().flat_map(tags).collect::<Vec<_>>().join(", ");
    let found: Vec<&Saved> = list.iter().filter(named).collect();
    match (found.as_slice(), name) {
        ([one], _) => Ok(one),
        ([], None) => Err(failed(ErrorKind::NotFound).detail("it holds no image")),
        ([], Some(name)) => Err(failed(ErrorKind::NotFound)
            .detail(format!("it holds no image named `{name}`, only {}", all()))),
        (several, _) => Err(failed(ErrorKind::Invalid).detail(format!(
            "it holds {} images; add `:NAME` to choose one of {}",
            several.len(),
            all()
        ))),
    }
}

/// Docker saves an index even when it holds one of the platforms only. Such an index cannot be
/// copied, its one complete child can.
fn only_complete_child(archive: &Archive, top: Top) -> Result<Top, Error> {
    let (algorithm, hex) = top.digest.parts();
    let bytes = archive.document(&format!("blobs/{algorithm}/{hex}"))?;
    let (Parsed::Index(entries), _) = parse(&top.digest, &bytes, Some(top.media_type.clone()))?
    else {
        return Ok(top);
    };
    let mut present = Vec::new();
    let mut complete = true;
    for entry in &entries {
        let digest = Digest::try_from(entry.digest())?;
        if archive.blob(&digest).is_none() {
            complete = false;
        } else if declared_platform(entry).is_none_or(|p| p.os != "unknown") {
            present.push(Top {
                digest,
                media_type: entry.media_type().to_string(),
                tag: None,
            });
        }
    }
    match present.pop() {
        Some(child) if !complete && present.is_empty() => Ok(child),
        _ => Ok(top),
    }
}

// Written out here, in this order and with these members, because its bytes decide the digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MadeManifest {
    schema_version: u32,
    media_type: &'static str,
    config: Part,
    layers: Vec<Part>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    media_type: &'static str,
    digest: String,
    size: u64,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

fn manifest_for(
    archive: &mut Archive,
    image: &Saved,
    object: &str,
) -> Result<(Digest, Vec<u8>), Error> {
    let invalid = || Error::new(ErrorKind::Invalid, "read archive", object);
    let config_bytes = archive.document(&image.config)?;
    let config: Config = serde_json::from_slice(&config_bytes).map_err(|e| {
        invalid()
            .detail(format!("its `{}`", image.config))
            .caused_by(e)
    })?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        return Err(invalid().detail(format!(
            "its `manifest.json` lists {} layers, the configuration {}",
            image.layers.len(),
            diff_ids.len()
        )));
    }
    let mut layers = Vec::new();
    for (file, diff_id) in image.layers.iter().zip(diff_ids) {
        layers.push(layer(archive, file, diff_id.parse()?)?);
    }
    let digest = Digest::of(&config_bytes);
    let size = config_bytes.len() as u64;
    archive.insert(digest.clone(), Place::Memory(config_bytes.into()));
    let config = Part {
        media_type: CONFIG,
        digest: digest.to_string(),
        size,
    };
    let made = MadeManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config,
        layers,
    };
    let bytes = serde_json::to_vec(&made).map_err(|e| invalid().caused_by(e))?;
    Ok((Digest::of(&bytes), bytes))
}

/// Names a layer by its digest: the configuration's word when it is uncompressed, which the copy
/// will check as it reads; its own digest when it is compressed.
fn layer(archive: &mut Archive, file: &str, diff_id: Digest) -> Result<Part, Error> {
    let mut reader = archive.reader(file)?;
    let mut magic = [0; 2];
    let compressed = reader.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let (media_type, digest) = if compressed {
        (LAYER_GZIP, compressed_digest(archive, file)?)
    } else {
        (LAYER, diff_id)
    };
    let place = archive.file(file).expect("its reader was opened above");
    let size = place.size();
    archive.insert(digest.clone(), place);
    Ok(Part {
        media_type,
        digest: digest.to_string(),
        size,
    })
}

fn compressed_digest(archive: &Archive, file: &str) -> Result<Digest, Error> {
    let failed = |e| Error::io("read archive", file, e);
    Digest::of_reader(archive.reader(file)?).map_err(failed)
}
