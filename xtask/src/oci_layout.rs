//! Writes container images to disk, byte for byte the same from the same files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    Arch, Config, Descriptor, DescriptorBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The annotation that names an image in a layout's index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One file of a layer.
pub struct File {
    /// Where, from the root of the image, without a leading `/`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub contents: Vec<u8>,
}

/// A layer in both of its forms.
#[derive(Clone)]
pub struct Layer {
    tar: Vec<u8>,
    gzip: Vec<u8>,
}

/// An image for one platform.
pub struct Image {
    architecture: Arch,
    layers: Vec<Layer>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Layer {
    /// A layer of `files` and the directories that hold them: sorted, owned by root, dated 1970.
    pub fn new(mut files: Vec<File>) -> Result<Self> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut archive = tar::Builder::new(Vec::new());
        for directory in parents(&files) {
            // Everybody's, as on every system.
            let mode = if directory == "tmp" { 0o1777 } else { 0o755 };
            let header = header(tar::EntryType::Directory, mode, 0);
            append(&mut archive, header, &format!("{directory}/"), &[])?;
        }
        for file in &files {
            let header = header(tar::EntryType::Regular, file.mode, file.contents.len());
            append(&mut archive, header, &file.path, &file.contents)?;
        }
        let tar = archive.into_inner()?;
        let mut encoder = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::fast());
        encoder.write_all(&tar)?;
        Ok(Self {
            gzip: encoder.finish()?,
            tar,
        })
    }
}

impl Image {
    /// An image of `layers`, lowest first, that runs as `config` says.
    pub fn new(architecture: Arch, config: Config, layers: Vec<Layer>) -> Result<Self> {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", sha256(&layer.tar)))
            .collect();
        let rootfs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(diff_ids)
            .build()?;
        let config = ImageConfigurationBuilder::default()
            .created("1970-01-01T00:00:00Z")
            .architecture(architecture.clone())
            .os(Os::Linux)
            .config(config)
            .rootfs(rootfs)
            .build()?;
        let config = stable_json(&config)?;
        let layer = |layer: &Layer| descriptor(MediaType::ImageLayerGzip, &layer.gzip);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, &config)?)
            .layers(layers.iter().map(layer).collect::<Result<Vec<_>>>()?)
            .build()?;
        let manifest = stable_json(&manifest)?;
        Ok(Self {
            architecture,
            layers,
            config,
            manifest,
        })
    }

    /// Adds the image's blobs to a layout and describes its manifest.
    fn put(&self, layout: &Path) -> Result<Descriptor> {
        for layer in &self.layers {
            put(layout, &layer.gzip)?;
        }
        put(layout, &self.config)?;
        put(layout, &self.manifest)?;
        let mut descriptor = descriptor(MediaType::ImageManifest, &self.manifest)?;
        let platform = PlatformBuilder::default()
            .os(Os::Linux)
            .architecture(self.architecture.clone())
            .build()?;
        descriptor.set_platform(Some(platform));
        Ok(descriptor)
    }
}

/// Writes an OCI layout that holds `image` as `tag`; returns the manifest's digest.
pub fn write_layout(directory: &Path, tag: &str, image: &Image) -> Result<String> {
    replace_directory(directory, |layout| named(layout, tag, image.put(layout)?))
}

/// Writes an OCI layout that holds one index over `images` as `tag`; returns the index's digest.
pub fn write_multi_platform(directory: &Path, tag: &str, images: &[Image]) -> Result<String> {
    replace_directory(directory, |layout| {
        let manifests = images
            .iter()
            .map(|image| image.put(layout))
            .collect::<Result<Vec<_>>>()?;
        let index = stable_json(&index(manifests)?)?;
        put(layout, &index)?;
        named(layout, tag, descriptor(MediaType::ImageIndex, &index)?)
    })
}

/// Writes what `docker save` writes: uncompressed layers, a configuration, `manifest.json`.
pub fn write_docker_archive(file: &Path, name: &str, image: &Image) -> Result<()> {
    let config = format!("{}.json", sha256(&image.config));
    let mut files = BTreeMap::from([(config.clone(), image.config.as_slice())]);
    let mut layers = Vec::new();
    for layer in &image.layers {
        let path = format!("{}/layer.tar", sha256(&layer.tar));
        files.insert(path.clone(), &layer.tar);
        layers.push(path);
    }
    let manifest = json!([{ "Config": config, "RepoTags": [name], "Layers": layers }]);
    let manifest = serde_json::to_vec(&manifest)?;
    files.insert("manifest.json".to_owned(), &manifest);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let header = header(tar::EntryType::Regular, 0o644, contents.len());
        append(&mut archive, header, &path, contents)?;
    }
    fs::write(file, archive.into_inner()?)
        .with_context(|| format!("cannot write {}", file.display()))
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn named(layout: &Path, tag: &str, mut descriptor: Descriptor) -> Result<String> {
    let digest = descriptor.digest().to_string();
    descriptor.set_annotations(Some(HashMap::from([(REF_NAME.to_owned(), tag.to_owned())])));
    fs::write(
        layout.join("index.json"),
        stable_json(&index(vec![descriptor])?)?,
    )?;
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(digest)
}

fn index(manifests: Vec<Descriptor>) -> Result<oci_spec::image::ImageIndex> {
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests);
    Ok(index.build()?)
}

/// Sorts the keys: `oci_spec` keeps some maps in hash order, which differs from run to run.
fn stable_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&serde_json::to_value(value)?)?)
}

fn descriptor(media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
    let digest: Sha256Digest = sha256(bytes).parse()?;
    let size = u64::try_from(bytes.len())?;
    Ok(DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(size)
        .build()?)
}

fn put(layout: &Path, bytes: &[u8]) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    Ok(fs::write(blobs.join(sha256(bytes)), bytes)?)
}

/// Fills a new directory and puts it in the place of the old one, so that nobody reads half of it.
fn replace_directory(
    directory: &Path,
    fill: impl FnOnce(&Path) -> Result<String>,
) -> Result<String> {
    // Not `with_extension`: what follows the last dot of a version is part of the name.
    let mut new = directory.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    let digest = fill(&new)?;
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::rename(&new, directory).with_context(|| format!("cannot write {}", directory.display()))?;
    Ok(digest)
}

/// Every directory above the files, outermost first.
fn parents(files: &[File]) -> BTreeSet<String> {
    let mut directories = BTreeSet::new();
    for file in files {
        let above = Path::new(&file.path).ancestors().skip(1);
        let above = above.map(|path| path.to_string_lossy().into_owned());
        directories.extend(above.filter(|path| !path.is_empty()));
    }
    directories
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(u64::try_from(size).expect("files are smaller than 2^64 bytes"));
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    mut header: tar::Header,
    path: &str,
    contents: &[u8],
) -> Result<()> {
    archive
        .append_data(&mut header, path, contents)
        .with_context(|| format!("cannot put `{path}` into a layer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let file = |path: &str| File {
            path: path.to_owned(),
            mode: 0o644,
            contents: path.as_bytes().to_vec(),
        };
        let layer = Layer::new(vec![file("app/z"), file("app/a/b")]).unwrap();
        let mut config = Config::default();
        let label = |n: u8| (format!("label-{n}"), n.to_string());
        config.set_labels(Some((0..9).map(label).collect()));
        Image::new(Arch::Amd64, config, vec![layer]).unwrap()
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| write_layout(&directory.path().join(name), "1", &image()).unwrap();
        assert_eq!(write("one"), write("two"));
    }

    #[test]
    fn every_blob_is_named_by_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let layout = directory.path().join("layout");
        let digest = write_multi_platform(&layout, "1", &[image()]).unwrap();
        let blobs: Vec<_> = fs::read_dir(layout.join("blobs/sha256")).unwrap().collect();
        assert_eq!(blobs.len(), 4, "layer, configuration, manifest, index");
        for blob in blobs {
            let path = blob.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(name, sha256(&fs::read(&path).unwrap()));
        }
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert!(index.contains(&digest), "{index}");
    }

    #[test]
    fn a_layer_holds_directories_before_what_is_in_them() {
        let layer = &image().layers[0];
        let mut archive = tar::Archive::new(layer.tar.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(paths, ["app/", "app/a/", "app/a/b", "app/z"]);
    }
}
