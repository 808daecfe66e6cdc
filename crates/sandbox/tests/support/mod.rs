//! Images made by hand for the tests, around one static program.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use deployer_sandbox::registry::Store;
use deployer_sandbox::runner::{ContainerSpec, LogSink, Purpose, Runner, Stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const REPOSITORY: &str = "aws/123456789012/us-east-1/app";

/// A runner with its store, in a folder that goes when dropped.
pub struct Machine {
    pub store: Store,
    pub runner: Runner,
    pub folder: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Self {
        Self::with_scratch("containers")
    }

    /// With its containers in a folder of that name.
    pub fn with_scratch(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("registry")).unwrap();
        let runner = Runner::new(store.clone(), folder.path().join(name));
        Self {
            store,
            runner,
            folder,
        }
    }
}

/// The guest program, built once per run of the tests.
pub fn guest() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Test binaries may run side by side: each builds its own and moves it into place.
        let built = folder.join(format!("guest-{}", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/guest.rs");
        let compiled = Command::new(std::env::var("RUSTC").unwrap_or("rustc".into()))
            .args([
                "--edition=2024",
                "-Ctarget-feature=+crt-static",
                "-Copt-level=s",
                "-Cstrip=symbols",
            ])
            .args(["--target=x86_64-unknown-linux-gnu", "-o"])
            .args([built.as_path(), source.as_path()])
            .status()
            .unwrap();
        assert!(compiled.success(), "the guest program builds");
        let program = folder.join("guest");
        std::fs::rename(built, &program).unwrap();
        program
    })
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A layer: files and the guest program at `/bin/guest`.
pub fn layer(files: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    add("bin/guest", &std::fs::read(guest()).unwrap(), 0o755);
    for (path, text, mode) in files {
        add(path, text.as_bytes(), *mode);
    }
    archive.into_inner().unwrap()
}

/// A layer with this machine's shell and some programs, and whatever libraries they need.
pub fn layer_with_shell() -> Vec<u8> {
    let programs = [
        "sh", "cat", "id", "mkdir", "printf", "rm", "sleep", "stty", "tail", "tr", "head", "seq",
    ];
    let mut files = std::collections::BTreeSet::new();
    for name in programs {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let program = found.into_iter().find(|it| it.exists()).unwrap();
        let needs = Command::new("ldd").arg(&program).output().unwrap();
        let needs = String::from_utf8(needs.stdout).unwrap();
        let words = needs
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        files.extend(words.map(PathBuf::from));
        files.insert(program);
    }
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        let path = file.strip_prefix("/").unwrap();
        archive
            .append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

/// How an image is packed and what platform it claims.
pub struct Packed<'a> {
    pub architecture: &'a str,
    pub files: &'a [(&'a str, &'a str, u32)],
    pub config: Value,
}

/// Puts a gzipped one-layer image into the store. Returns its manifest's digest and size.
pub fn put_image(store: &Store, reference: Option<&str>, packed: &Packed<'_>) -> (String, usize) {
    let layer = layer(packed.files);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &layer).unwrap();
    let gzipped = gzip.finish().unwrap();
    let config = json!({
        "os": "linux", "architecture": packed.architecture, "config": packed.config,
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let digest = store.put_blob(REPOSITORY, bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &gzipped)],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let own = digest(&manifest);
    let reference = reference.unwrap_or(&own);
    let size = manifest.len();
    let stored = store.put_manifest(REPOSITORY, reference, OCI_MANIFEST, manifest.into());
    (stored.unwrap().digest, size)
}

/// The usual image: linux/amd64, the guest as its entry point.
pub fn put_app(store: &Store) {
    let packed = Packed {
        architecture: "amd64",
        files: &[("bin/notes.txt", "not a program", 0o644)],
        config: json!({ "Entrypoint": ["/bin/guest"], "Cmd": ["listen", "0.0.0.0"] }),
    };
    put_image(store, Some("v1"), &packed);
}

/// Collected output.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<(Stream, String)>>>);

impl Lines {
    pub fn sink(&self) -> LogSink {
        let lines = self.0.clone();
        Arc::new(move |stream, line| lines.lock().unwrap().push((stream, line.to_owned())))
    }

    pub fn all(&self) -> Vec<(Stream, String)> {
        self.0.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        let lines: Vec<_> = self.all().into_iter().map(|(_, line)| line).collect();
        lines.join("\n")
    }

    /// Waits until a line is there.
    pub async fn wait_for(&self, line: &str) {
        for _ in 0..500 {
            if self.all().iter().any(|(_, it)| it == line) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("no line `{line}` in:\n{}", self.text());
    }
}

/// Runs `v1` of the usual image with this command and environment.
pub fn spec(command: &[&str], env: &[(&str, &str)], lines: &Lines) -> ContainerSpec {
    let env: BTreeMap<_, _> = env
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    ContainerSpec {
        name: format!("test-{}", command.join("-")),
        repository: REPOSITORY.into(),
        reference: "v1".into(),
        entrypoint: None,
        command: Some(command.iter().map(|it| (*it).to_owned()).collect()),
        env,
        purpose: Purpose::Serve,
        port: None,
        platform: "linux/amd64",
        logs: lines.sink(),
    }
}
