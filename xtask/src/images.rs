//! Builds the test service once and packs it into the images of its releases, without Docker.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use oci_spec::image::{Arch, Config, ConfigBuilder};
use serde_json::Value;

use crate::oci_layout::{self, File, Image, Layer};
use crate::workspace;

const RELEASES: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One file that needs nothing around it. The default source of randomness looks for the system
/// call's wrapper at run time, finds none in a static program, and falls back to `/dev/urandom`,
/// which an empty root does not have.
const STATIC: &str = r#"-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom""#;

/// The programs of this machine that one image has, for people who look into a container.
const SHELL: [&str; 6] = ["sh", "cat", "mkdir", "sleep", "stty", "tty"];

/// When the packing changes, so do the images.
const RECIPE: [&str; 2] = [include_str!("images.rs"), include_str!("oci_layout.rs")];

/// One image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The path below `target/images`.
    pub name: String,
    /// The digest of its manifest or index; `-` where the form has none.
    pub digest: String,
}

/// `cargo xtask images`: prints each image's name and digest.
pub fn command() -> Result<()> {
    for built in build()? {
        println!("{:<24} {}", built.name, built.digest);
    }
    Ok(())
}

/// Where the images are.
pub fn directory() -> PathBuf {
    workspace::generated("images")
}

/// Builds what is not there yet or has changed.
pub fn build() -> Result<Vec<Built>> {
    let binary = fs::read(binary()?).context("cannot read the service's binary")?;
    let releases = RELEASES.iter().map(|version| release_files(version));
    let releases = releases.collect::<Result<Vec<_>>>()?;
    let shell = shell_files()?;
    let inputs = fingerprint(&binary, releases.iter().chain([&shell]));
    let record = directory().join("built.json");
    if let Some(built) = recorded(&record, &inputs) {
        return Ok(built);
    }
    fs::create_dir_all(directory())?;
    let program = File {
        path: "app/idp".to_owned(),
        mode: 0o755,
        contents: binary,
    };
    // The releases share the layer of the program, as releases of one base image would.
    let program = Layer::new(vec![program])?;
    let mut built = Vec::new();
    for (version, files) in RELEASES.into_iter().zip(releases) {
        let layers = vec![program.clone(), Layer::new(files)?];
        built.extend(write(version, layers)?);
    }
    built.push(write_with_shell(vec![
        program,
        Layer::new(release_files(RELEASES[0])?)?,
        Layer::new(shell)?,
    ])?);
    let pairs: Vec<_> = built
        .iter()
        .map(|built| [&built.name, &built.digest])
        .collect();
    fs::write(
        record,
        serde_json::json!({ "inputs": inputs, "images": pairs }).to_string(),
    )?;
    Ok(built)
}

/// Writes one release; the first in every form that an image can come in.
fn write(version: &str, layers: Vec<Layer>) -> Result<Vec<Built>> {
    let image = Image::new(Arch::Amd64, config("/app")?, layers.clone())?;
    let name = format!("idp-{version}");
    let digest = oci_layout::write_layout(&directory().join(&name), version, &image)?;
    let mut built = vec![Built { name, digest }];
    if version == RELEASES[0] {
        let archive = format!("idp-{version}.docker.tar");
        let tag = format!("idp:{version}");
        oci_layout::write_docker_archive(&directory().join(&archive), &tag, &image)?;
        built.push(Built {
            name: archive,
            digest: "-".to_owned(),
        });
        // Nobody runs it on arm64: it is there to be passed over.
        let other = Image::new(Arch::ARM64, config("/app")?, layers)?;
        let name = format!("idp-{version}-multi");
        let path = directory().join(&name);
        let digest = oci_layout::write_multi_platform(&path, version, &[image, other])?;
        built.push(Built { name, digest });
    }
    Ok(built)
}

/// Writes the first release with a shell in it.
fn write_with_shell(layers: Vec<Layer>) -> Result<Built> {
    let image = Image::new(Arch::Amd64, config("/app:/bin:/usr/bin")?, layers)?;
    let name = format!("idp-{}-shell", RELEASES[0]);
    let digest = oci_layout::write_layout(&directory().join(&name), RELEASES[0], &image)?;
    Ok(Built { name, digest })
}

/// A shell and what is typed there, each at its place, with the libraries that they need.
fn shell_files() -> Result<Vec<File>> {
    let mut paths = BTreeSet::new();
    for name in SHELL {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let program = found.into_iter().find(|it| it.exists());
        let program = program.with_context(|| format!("this machine has no `{name}`"))?;
        let needs = Command::new("ldd").arg(&program).output();
        let needs = needs.context("cannot run `ldd`")?;
        let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
        let words = needs.split_whitespace();
        paths.extend(words.filter(|it| it.starts_with('/')).map(PathBuf::from));
        paths.insert(program);
    }
    let files = paths.into_iter().map(|path| {
        let contents = fs::read(&path);
        let contents = contents.with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.to_string_lossy().trim_start_matches('/').to_owned();
        Ok(File {
            path,
            mode: 0o755,
            contents,
        })
    });
    files.collect()
}

fn config(path: &str) -> Result<Config> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let config = ConfigBuilder::default()
        .entrypoint(words(&["/app/idp"]))
        .cmd(words(&["serve"]))
        .env(words(&[
            &format!("PATH={path}"),
            "NODE_ENV=production",
            "PORT=3000",
        ]))
        .exposed_ports(words(&["3000/tcp"]))
        .working_dir("/app")
        .build()?;
    Ok(config)
}

/// Builds the service as one static file, which needs no base image, and returns its path.
fn binary() -> Result<PathBuf> {
    // The flags reach only what is built for `--target`: build scripts and macros stay as they are.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags = format!("{flags} {STATIC}");
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--package",
        "idp",
        "--profile",
        "image",
        "--target",
        TARGET,
    ]);
    workspace::build_program(build.env("RUSTFLAGS", flags), "idp").context("the test service")
}

/// `release.json` and the migrations of one release, as they lie in `/app`.
fn release_files(version: &str) -> Result<Vec<File>> {
    let root = workspace::root()
        .join("tests/apps/idp/releases")
        .join(version);
    let mut files = vec![file(&root, "release.json")?];
    for entry in fs::read_dir(root.join("migrations"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        files.push(file(&root, &format!("migrations/{name}"))?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn file(root: &Path, path: &str) -> Result<File> {
    let contents = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    Ok(File {
        path: format!("app/{path}"),
        mode: 0o644,
        contents,
    })
}

fn fingerprint<'a>(binary: &[u8], files: impl Iterator<Item = &'a Vec<File>>) -> String {
    let mut parts = vec![oci_layout::sha256(binary)];
    parts.extend(RECIPE.map(|source| oci_layout::sha256(source.as_bytes())));
    for file in files.flatten() {
        parts.push(format!(
            "{} {}",
            file.path,
            oci_layout::sha256(&file.contents)
        ));
    }
    oci_layout::sha256(parts.join("\n").as_bytes())
}

/// The images that these inputs made, while all of them are still there.
fn recorded(record: &Path, inputs: &str) -> Option<Vec<Built>> {
    let record: Value = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    let images = record["images"]
        .as_array()
        .filter(|_| record["inputs"] == inputs)?;
    let built = |image: &Value| {
        let (name, digest) = (image[0].as_str()?.to_owned(), image[1].as_str()?.to_owned());
        directory()
            .join(&name)
            .exists()
            .then_some(Built { name, digest })
    };
    images.iter().map(built).collect()
}
