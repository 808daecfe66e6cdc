//! The same copy into the reference implementation of a registry, where it is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{INDEX, layout_files, multi_platform, simple_layout, write_dir};
use deployer_oci::{Anonymous, Credentials, ImageSource, Registry};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts Debian's `docker-registry` on a free port; `None` when it is not installed.
async fn start(dir: &Path) -> Option<(Running, Registry, String)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let host = format!("127.0.0.1:{port}");
    let storage = dir.join("storage");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
         http: {{addr: '{host}'}}\n",
        storage.display()
    );
    std::fs::write(dir.join("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command
        .arg("serve")
        .arg(dir.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = Running(command.spawn().ok()?);
    let registry = Registry::named(&host, Credentials::Anonymous).unwrap();
    for _ in 0..100 {
        if std::net::TcpStream::connect(&host).is_ok() {
            return Some((child, registry, host));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("docker-registry does not listen on {host}");
}

/// What a client that is not ours reads; `None` when it is not installed.
fn read_by_skopeo(name: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("skopeo");
    command.args([
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{name}"),
    ]);
    let output = command.output().ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_registry_takes_and_gives_back_the_same_digest() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_running, registry, host)) = start(dir.path()).await else {
        eprintln!("skipped: docker-registry is not installed");
        return;
    };
    let parts = multi_platform();
    let top = parts.last().unwrap();
    write_dir(
        &dir.path().join("multi"),
        &layout_files(&parts, &[(top, INDEX, None)]),
    );
    let large = vec![7_u8; 5 * 1024 * 1024];
    simple_layout(&dir.path().join("single"), &[&large, b"small"]);
    for name in ["multi", "single"] {
        let source = ImageSource::parse(&format!("oci:{name}"), dir.path()).unwrap();
        let image = source.open(Anonymous).await.unwrap();
        let copied = registry
            .copy(&image, name, Some("v1"), &|_| {})
            .await
            .unwrap();
        assert_eq!(&copied.digest, image.digest());
        assert_eq!(copied.blobs_uploaded, image.blobs().len());
        let top = &image.manifests().last().unwrap().bytes;
        match read_by_skopeo(&format!("{host}/{name}:v1")) {
            Some(found) => assert_eq!(found, top[..]),
            None => eprintln!("skipped: skopeo is not installed"),
        }
        let remote = ImageSource::parse(&format!("{host}/{name}:v1"), dir.path()).unwrap();
        let image = remote.open(Anonymous).await.unwrap();
        assert_eq!(&copied.digest, image.digest());
        let elsewhere = format!("copy/{name}");
        let copied = registry
            .copy(&image, &elsewhere, None, &|_| {})
            .await
            .unwrap();
        assert_eq!(copied.blobs_mounted, image.blobs().len());
        let again = registry
            .copy(&image, &elsewhere, None, &|_| {})
            .await
            .unwrap();
        assert_eq!(again.blobs_present, image.blobs().len());
    }
}
