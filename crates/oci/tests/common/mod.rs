//! Tiny images on disk, and a registry in this process that can be told to misbehave.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod registry;

use std::path::Path;

use deployer_oci::Digest;
use serde_json::{Value, json};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A part of a layout: its digest and its bytes.
pub type Part = (Digest, Vec<u8>);

pub fn part(bytes: &[u8]) -> Part {
    (Digest::of(bytes), bytes.to_vec())
}

pub fn document(value: &Value) -> Part {
    // Not the canonical form: a copy that serialised it again would change the digest.
    part(serde_json::to_string_pretty(value).unwrap().as_bytes())
}

pub fn descriptor(kind: &str, part: &Part) -> Value {
    json!({"mediaType": kind, "digest": part.0.as_str(), "size": part.1.len()})
}

/// An image for one architecture: its parts, the manifest last.
pub fn image(architecture: &str, layers: &[&[u8]]) -> Vec<Part> {
    let config = document(&json!({"os": "linux", "architecture": architecture}));
    let layers: Vec<Part> = layers.iter().map(|l| part(l)).collect();
    let described: Vec<_> = layers
        .iter()
        .map(|l| descriptor("application/vnd.oci.image.layer.v1.tar", l))
        .collect();
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": described,
    }));
    let mut parts = vec![config];
    parts.extend(layers);
    parts.push(manifest);
    parts
}

/// An index over amd64 and arm64 with an attestation: its parts, the index last.
pub fn multi_platform() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut entries = Vec::new();
    for (os, architecture) in [
        ("linux", "arm64"),
        ("linux", "amd64"),
        ("unknown", "unknown"),
    ] {
        let child = image(architecture, &[architecture.as_bytes(), b"shared"]);
        let mut entry = descriptor(MANIFEST, child.last().unwrap());
        entry["platform"] = json!({"os": os, "architecture": architecture});
        entries.push(entry);
        parts.extend(child);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    parts.push(document(&index));
    parts
}

/// The files of a layout: each top with a tag.
pub fn layout_files(
    parts: &[Part],
    tops: &[(&Part, &str, Option<&str>)],
) -> Vec<(String, Vec<u8>)> {
    let entries: Vec<_> = tops
        .iter()
        .map(|(top, kind, tag)| {
            let mut entry = descriptor(kind, top);
            if let Some(tag) = tag {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
            }
            entry
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": entries});
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    for (digest, bytes) in parts {
        let name = format!("blobs/{}", digest.as_str().replace(':', "/"));
        files.push((name, bytes.clone()));
    }
    files
}

pub fn write_dir(dir: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layout directory with one image of one platform, untagged.
pub fn simple_layout(dir: &Path, layers: &[&[u8]]) -> Digest {
    let parts = image("amd64", layers);
    let top = parts.last().unwrap();
    write_dir(dir, &layout_files(&parts, &[(top, MANIFEST, None)]));
    top.0.clone()
}
