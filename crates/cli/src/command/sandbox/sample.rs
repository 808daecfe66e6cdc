//! A sample image to try things with: this program, as a small web service that says its version.
//! Nothing has to be built or fetched.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_oci::Digest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::args::{Global, SandboxSampleArgs};
use crate::exit::Exit;
use crate::system::{Stop, StopWords};
use crate::view;
use deployer_core::engine::Interrupt;

/// Where the blobs of a layout are.
const BLOBS: &str = "blobs/sha256";
/// A layer that is not compressed: its digest is that of its content, too.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Where the program is in the image.
const PROGRAM: &str = "deployer";
/// What the service prints and answers with.
const VERSION: &str = "SAMPLE_VERSION";
/// Whether it ends at once, as a bad configuration makes it.
const BROKEN: &str = "SAMPLE_BROKEN";
/// Where it listens when nobody sets PORT.
const PORT: u16 = 8080;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the image, over one that is there.
pub fn write(global: &Global, args: &SandboxSampleArgs) -> Result<Exit> {
    let cannot = |error: std::io::Error| {
        let folder = args.folder.display();
        Error::input(format!("cannot write the sample image to `{folder}`")).because(error)
    };
    let program = std::env::current_exe().map_err(cannot)?;
    let layer = layer(&args.folder, &program).map_err(cannot)?;
    layout(&args.folder, &layer, &args.tag, args.broken).map_err(cannot)?;
    if global.json {
        view::json(&json!({"image": args.folder, "tag": args.tag, "broken": args.broken}));
        return Ok(Exit::Success);
    }
    outln!(
        "an image of version {} is in {}",
        args.tag,
        args.folder.display()
    );
    outln!("  image = \"oci:{}\"", args.folder.display());
    Ok(Exit::Success)
}

/// What the descriptor of the layer says of the program in it.
const MADE_OF: &str = "deployer.program";

/// The descriptor of the layer: the program with the libraries that it runs with. One of this very
/// program that is there already is taken: a second version is written at once. It is not
/// compressed, which costs more than it saves on one machine.
fn layer(folder: &Path, program: &Path) -> std::io::Result<Value> {
    let about = std::fs::metadata(program)?;
    let made_of = format!("{} {} {}", about.len(), about.mtime(), about.mtime_nsec());
    if let Some(layer) = layer_of(folder, &made_of) {
        return Ok(layer);
    }
    let blobs = folder.join(BLOBS);
    std::fs::create_dir_all(&blobs)?;
    let mut new = tempfile::NamedTempFile::new_in(&blobs)?;
    let mut builder = tar::Builder::new(Hashed {
        to: new.as_file_mut(),
        hash: Context::new(&SHA256),
        length: 0,
    });
    let mut add = |inside: &Path, from: &Path| {
        let content = std::fs::read(from)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(0);
        builder.append_data(&mut header, inside, content.as_slice())
    };
    add(Path::new(PROGRAM), program)?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for library in libraries(&maps) {
        for inside in places(&library) {
            add(&inside, &library)?;
        }
    }
    let Hashed { hash, length, .. } = builder.into_inner()?;
    let hash = hex::encode(hash.finish());
    new.persist(blobs.join(&hash))?;
    Ok(json!({
        "mediaType": LAYER, "digest": format!("sha256:{hash}"), "size": length,
        "annotations": { MADE_OF: made_of },
    }))
}

/// The layer of the image that is there, if it is made of that.
fn layer_of(folder: &Path, made_of: &str) -> Option<Value> {
    let read = |path: PathBuf| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str()?.strip_prefix("sha256:")?;
        Some(folder.join(BLOBS).join(digest))
    };
    let index = read(folder.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0])?)?;
    let layer = &manifest["layers"][0];
    let there = std::fs::metadata(blob(layer)?).ok()?;
    let is_whole = layer["size"].as_u64() == Some(there.len());
    (is_whole && layer["annotations"][MADE_OF] == made_of).then(|| layer.clone())
}

/// Counts and hashes what is written.
struct Hashed<W> {
    to: W,
    hash: Context,
    length: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The libraries that are mapped into a process; none into a static one.
fn libraries(maps: &str) -> BTreeSet<PathBuf> {
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let libraries = paths.filter(|path| path.ends_with(".so") || path.contains(".so."));
    libraries.map(PathBuf::from).collect()
}

/// Where a library is looked for in the image: where it is here; the loader also where programs
/// name it.
fn places(library: &Path) -> Vec<PathBuf> {
    let inside = library.strip_prefix("/").unwrap_or(library).to_path_buf();
    let name = library.file_name().unwrap_or_default();
    match name.to_string_lossy().starts_with("ld-") {
        false => vec![inside],
        true => {
            let usual = ["lib64", "lib"].map(|folder| Path::new(folder).join(name));
            let mut places: BTreeSet<PathBuf> = usual.into();
            places.insert(inside);
            places.into_iter().collect()
        }
    }
}

fn layout(folder: &Path, layer: &Value, version: &str, broken: bool) -> std::io::Result<()> {
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        let name = digest.as_str().trim_start_matches("sha256:");
        std::fs::write(folder.join(BLOBS).join(name), bytes)?;
        std::io::Result::Ok(json!({
            "mediaType": kind, "digest": digest.as_str(), "size": bytes.len(),
        }))
    };
    let mut environment = vec![format!("{VERSION}={version}")];
    if broken {
        environment.push(format!("{BROKEN}=1"));
    }
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}"), "sandbox", "sample"],
            "Cmd": ["--serve"],
            "Env": environment,
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let text = |value: &Value| value.to_string().into_bytes();
    let config = put(&text(&config), "application/vnd.oci.image.config.v1+json")?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = text(&json!({
        "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer],
    }));
    let mut top = put(&manifest, kind)?;
    top["annotations"] = json!({ "org.opencontainers.image.ref.name": version });
    let index = json!({ "schemaVersion": 2, "manifests": [top] });
    std::fs::write(folder.join("index.json"), text(&index))?;
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

fn port() -> u16 {
    let told = std::env::var("PORT").ok();
    told.and_then(|port| port.parse().ok()).unwrap_or(PORT)
}

/// What the service says when it is stopped.
const WORDS: StopWords = StopWords {
    first: "sample: stopping",
    second: "sample: leaving now",
};

/// Is the service, until somebody stops it.
pub async fn serve() -> Result<Exit> {
    let version = std::env::var(VERSION).unwrap_or_else(|_| "unknown".into());
    if std::env::var_os(BROKEN).is_some() {
        sayln!("sample {version}: cannot read the configuration");
        return Ok(Exit::Failure);
    }
    let stop = Stop::on_signals(WORDS)
        .map_err(|error| Error::internal("cannot listen to signals").because(error))?;
    let port = port();
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Failed, format!("cannot listen on port {port}")).because(error)
        })?;
    outln!("sample {version} listens on {port}");
    while !stop.requested() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.requested_at_last() => break,
        };
        let Ok((connection, _)) = accepted else {
            continue;
        };
        let answer = format!("sample {version}\n");
        tokio::spawn(async move {
            // Whoever asks too slowly gets no answer.
            let _ = tokio::time::timeout(PATIENCE, respond(connection, &answer)).await;
        });
    }
    Ok(Exit::Success)
}

/// Answers every request alike: the sample is healthy as long as it runs.
async fn respond(mut connection: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut asked = [0; 4096];
    let length = connection.read(&mut asked).await?;
    let first = String::from_utf8_lossy(&asked[..length]);
    outln!(
        "{}",
        view::foreign::line(first.lines().next().unwrap_or_default())
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

/// Asks the service in the same container, as ECS's check does.
///
/// Errors: failed, when it does not answer with 200.
pub async fn check() -> Result<Exit> {
    let failed =
        |why: String| Error::new(ErrorKind::Failed, "the sample does not answer").because(why);
    let url = format!("http://127.0.0.1:{}/health", port());
    let answer = super::client()?.get(url).send().await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    match answer.status().is_success() {
        true => Ok(Exit::Success),
        false => Err(failed(answer.status().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path) -> Value {
        let program = folder.join("program");
        if !program.exists() {
            std::fs::write(&program, "a program").unwrap();
        }
        layer(folder, &program).unwrap()
    }

    const MAPS: &str = "\
5581 r-xp 00000000 08:01 131 /usr/local/bin/deployer
7f01 r-xp 00000000 08:01 132 /usr/lib/x86_64-linux-gnu/libc.so.6
7f02 r--p 00000000 08:01 132 /usr/lib/x86_64-linux-gnu/libc.so.6
7f03 r-xp 00000000 08:01 133 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffd rw-p 00000000 00:00 0 [stack]
";

    #[test]
    fn the_libraries_of_a_process_go_with_it_and_the_loader_stands_where_programs_name_it() {
        let found: Vec<PathBuf> = libraries(MAPS).into_iter().collect();
        assert_eq!(found.len(), 2, "{found:?}");
        let loader = places(&found[0]);
        assert!(
            loader.contains(&PathBuf::from("lib64/ld-linux-x86-64.so.2")),
            "{loader:?}"
        );
        assert_eq!(
            places(&found[1]),
            [Path::new("usr/lib/x86_64-linux-gnu/libc.so.6")]
        );
        assert!(libraries("5581 r-xp 0 08:01 131 /usr/local/bin/deployer\n").is_empty());
    }

    #[test]
    fn a_layout_is_an_image_that_can_be_read_with_its_version_as_tag() {
        let folder = tempfile::tempdir().unwrap();
        let layer = made(folder.path());
        layout(folder.path(), &layer, "1.0", true).unwrap();
        let read = |path: PathBuf| -> Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            folder.path().join("blobs").join(digest)
        };
        let index = read(folder.path().join("index.json"));
        let top = &index["manifests"][0];
        assert_eq!(
            top["annotations"]["org.opencontainers.image.ref.name"],
            "1.0"
        );
        let manifest = read(blob(top));
        let config = read(blob(&manifest["config"]));
        let environment = &config["config"]["Env"];
        assert_eq!(
            environment,
            &json!(["SAMPLE_VERSION=1.0", "SAMPLE_BROKEN=1"])
        );
        let bytes = std::fs::read(blob(&manifest["layers"][0])).unwrap();
        let digest = Digest::of(&bytes);
        assert_eq!(manifest["layers"][0]["digest"], digest.as_str());
        assert_eq!(manifest["layers"][0]["size"], bytes.len());
        assert_eq!(config["rootfs"]["diff_ids"][0], digest.as_str());
    }

    #[test]
    fn a_second_version_has_the_same_layer_and_a_damaged_one_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let first = made(folder.path());
        layout(folder.path(), &first, "1.0", false).unwrap();
        let made_of = first["annotations"][MADE_OF].as_str().unwrap();
        assert_eq!(layer_of(folder.path(), made_of), Some(first.clone()));
        assert_eq!(layer_of(folder.path(), "another program"), None);
        let name = first["digest"].as_str().unwrap().replace(':', "/");
        std::fs::write(folder.path().join("blobs").join(name), "cut off").unwrap();
        assert_eq!(layer_of(folder.path(), made_of), None);
        assert_eq!(made(folder.path()), first);
    }
}
