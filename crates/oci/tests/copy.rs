//! Copying into a registry: what arrives, what is sent, and what is not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::registry::{Door, Fake, Fault};
use common::{INDEX, layout_files, multi_platform, simple_layout, write_dir};
use deployer_oci::{
    Anonymous, Copied, Credentials, Error, ErrorKind, Image, ImageSource, Registry, RegistryAuth,
};

async fn open(reference: &str) -> Image {
    ImageSource::parse(reference, Path::new("/"))
        .unwrap()
        .open(Anonymous)
        .await
        .unwrap()
}

async fn copy(fake: &Fake, image: &Image, tag: Option<&str>) -> Result<Copied, Error> {
    fake.client(Credentials::Anonymous)
        .copy(image, "team/app", tag, &|_| {})
        .await
}

fn large() -> Vec<u8> {
    (0..4 * 1024 * 1024 + 7_u32)
        .map(|i| (i % 251) as u8)
        .collect()
}

#[tokio::test]
async fn a_copied_image_keeps_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let parts = multi_platform();
    let top = parts.last().unwrap();
    write_dir(dir.path(), &layout_files(&parts, &[(top, INDEX, None)]));
    let fake = Fake::start().await;
    let reference = dir.path().to_str().unwrap().to_owned();
    let image = tokio::spawn(async move { open(&reference).await })
        .await
        .unwrap();
    // In a task of its own, as the engine runs it.
    let (this, source) = (fake.clone(), image);
    let task = tokio::spawn(async move { copy(&this, &source, Some("v1")).await });
    let copied = task.await.unwrap().unwrap();
    assert_eq!(copied.digest, top.0);
    for reference in ["v1", top.0.as_str()] {
        assert_eq!(fake.manifest("team/app", reference).as_ref(), Some(&top.1));
        let found = fake
            .client(Credentials::Anonymous)
            .head_manifest("team/app", reference)
            .await;
        assert_eq!(found.unwrap().as_ref(), Some(&top.0));
    }
    // Three children share a layer: it is sent once.
    assert_eq!(copied.blobs_uploaded, 7);
}

#[tokio::test]
async fn blobs_that_are_there_are_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(dir.path(), &[b"one", b"two"]);
    let fake = Fake::start().await;
    let image = open(dir.path().to_str().unwrap()).await;
    copy(&fake, &image, Some("v1")).await.unwrap();
    fake.forget_requests();
    let again = copy(&fake, &image, Some("v1")).await.unwrap();
    assert_eq!(
        (again.blobs_present, again.blobs_uploaded, again.bytes),
        (3, 0, 0)
    );
    let writes = ["PUT ", "POST ", "PATCH "].map(|method| fake.requests(method));
    assert!(writes.iter().all(Vec::is_empty), "{writes:?}");
}

#[tokio::test]
async fn a_large_blob_is_streamed_and_its_progress_told() {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(dir.path(), &[&large()]);
    let fake = Fake::start().await;
    let image = open(dir.path().to_str().unwrap()).await;
    let events = std::sync::Mutex::new(Vec::new());
    let registry = fake.client(Credentials::Anonymous);
    registry
        .copy(&image, "team/app", None, &|event| {
            events.lock().unwrap().push(event)
        })
        .await
        .unwrap();
    assert_eq!(fake.requests("PATCH ").len(), 1);
    let told = format!("{:?}", events.lock().unwrap());
    assert!(
        told.contains(&format!("sent: {0}, size: {0}", large().len())),
        "{told}"
    );
}

#[tokio::test]
async fn a_damaged_blob_is_refused_before_the_manifest_is_written() {
    for layer in [b"layer".to_vec(), large()] {
        let dir = tempfile::tempdir().unwrap();
        simple_layout(dir.path(), &[&layer]);
        let digest = deployer_oci::Digest::of(&layer);
        let blob = dir
            .path()
            .join("blobs")
            .join(digest.as_str().replace(':', "/"));
        let mut bytes = layer.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(blob, bytes).unwrap();
        let fake = Fake::start().await;
        let image = open(dir.path().to_str().unwrap()).await;
        let error = copy(&fake, &image, Some("v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
        assert!(error.to_string().contains(digest.as_str()), "{error}");
        assert_eq!(fake.requests("/manifests/"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("small"), &[b"one"]);
    simple_layout(&dir.path().join("large"), &[&large()]);
    let small = open(dir.path().join("small").to_str().unwrap()).await;
    let large = open(dir.path().join("large").to_str().unwrap()).await;
    for request in [
        "HEAD /v2/team/app/blobs",
        "POST ",
        "PATCH ",
        "PUT /v2/team/app/blobs",
        "HEAD /v2/team/app/manifests",
        "PUT /v2/team/app/manifests",
    ] {
        for fault in [Fault::Status(503), Fault::Throttle(7), Fault::LostReply] {
            let fake = Fake::start().await;
            fake.fail(request, fault);
            let image = if request == "PATCH " { &large } else { &small };
            let copied = copy(&fake, image, Some("v1")).await.unwrap();
            let arrived = fake.manifest("team/app", copied.digest.as_str());
            assert_eq!(
                arrived.as_deref(),
                Some(&image.manifests()[0].bytes[..]),
                "{request}"
            );
            let waits = fake.0.lock().unwrap().waits.clone();
            assert_eq!(waits.len(), 1, "{request} {fault:?}");
            if let Fault::Throttle(seconds) = fault {
                assert_eq!(waits[0].as_secs(), seconds);
            }
        }
    }
}

#[tokio::test]
async fn a_failure_that_does_not_pass_ends_and_says_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(dir.path(), &[b"one"]);
    let image = open(dir.path().to_str().unwrap()).await;
    let fake = Fake::start().await;
    for _ in 0..12 {
        fake.fail("POST ", Fault::Status(500));
    }
    let error = copy(&fake, &image, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.transient());
    assert!(
        error
            .to_string()
            .starts_with("cannot upload blob `127.0.0.1:"),
        "{error}"
    );
    assert!(fake.requests("POST ").len() <= 12);
    fake.0.lock().unwrap().faults.clear();
    fake.fail("POST ", Fault::Status(403));
    fake.forget_requests();
    let error = copy(&fake, &image, None).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.transient()),
        (ErrorKind::Denied, false)
    );
}

#[tokio::test]
async fn a_registry_that_nobody_runs_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let base = format!("http://{gone}").parse().unwrap();
    let retry = Fake::start().await.retry();
    let registry = deployer_oci::Registry::new(base, Credentials::Anonymous)
        .unwrap()
        .with_retry(retry);
    let error = registry.head_manifest("app", "v1").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.transient()),
        (ErrorKind::Unreachable, true)
    );
}

#[tokio::test]
async fn a_registry_that_reports_another_digest_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(dir.path(), &[b"one"]);
    let image = open(dir.path().to_str().unwrap()).await;
    let fake = Fake::start().await;
    fake.0.lock().unwrap().lie = Some(deployer_oci::Digest::of(b"other").to_string());
    let error = copy(&fake, &image, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
}

#[tokio::test]
async fn credentials_are_shown_when_asked_for_and_to_the_one_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let digest = simple_layout(dir.path(), &[b"one", &large()]);
    let image = open(dir.path().to_str().unwrap()).await;
    let basic = || Credentials::Basic {
        user: "AWS".into(),
        password: "secret".into(),
    };
    for (door, credentials) in [
        (Door::Basic, basic()),
        (Door::Token, basic()),
        (Door::Token, Credentials::Bearer("granted".into())),
    ] {
        let fake = Fake::start().await;
        fake.0.lock().unwrap().door = door.clone();
        let copied = fake
            .client(credentials)
            .copy(&image, "team/app", Some("v1"), &|_| {})
            .await;
        assert_eq!(copied.unwrap().digest, digest, "{door:?}");
        let refused = fake
            .client(Credentials::Anonymous)
            .head_manifest("team/app", "v1")
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied, "{door:?}");
    }
}

/// Knows the password of today, and counts how often it is asked for it.
struct Today(Fake, Arc<AtomicU32>);

#[async_trait::async_trait]
impl RegistryAuth for Today {
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error> {
        assert_eq!(registry, self.0.base().authority());
        assert_eq!(repository, "team/app");
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Credentials::Basic {
            user: "AWS".into(),
            password: self.0.0.lock().unwrap().now("secret").into(),
        })
    }
}

#[tokio::test]
async fn what_ends_in_the_middle_of_a_copy_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = simple_layout(dir.path(), &[b"one", &large()]);
    let image = open(dir.path().to_str().unwrap()).await;
    for door in [Door::Basic, Door::Token] {
        let fake = Fake::start().await;
        fake.0.lock().unwrap().door = door.clone();
        fake.fail("PATCH ", Fault::Expire);
        let asked = Arc::new(AtomicU32::new(0));
        let registry = Registry::new(fake.base(), Today(fake.clone(), Arc::clone(&asked)));
        let registry = registry.unwrap().with_retry(fake.retry());
        let copied = registry.copy(&image, "team/app", Some("v1"), &|_| {}).await;
        assert_eq!(copied.unwrap().digest, digest, "{door:?}");
        // Once at first and once again, however many requests were under way.
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{door:?}");
        assert_eq!(fake.requests("PATCH ").len(), 2, "{door:?}");
        assert!(fake.0.lock().unwrap().waits.is_empty(), "{door:?}");
        let tokens = fake.requests("/token");
        // What the registry calls it is asked for beside the usual scope.
        let own =
            |line: &String| line.contains("scope=own-word") && line.contains("scope=repository");
        assert!(tokens.iter().all(own), "{tokens:?}");
    }
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let digest = simple_layout(dir.path(), &[b"one", b"two"]);
    let fake = Fake::start().await;
    let image = open(dir.path().to_str().unwrap()).await;
    copy(&fake, &image, Some("v1")).await.unwrap();
    let base = fake.base();
    let host = format!("{}:{}", base.host_str().unwrap(), base.port().unwrap());
    let image = open(&format!("{host}/team/app:v1")).await;
    assert_eq!(image.digest(), &digest);
    let registry = fake.client(Credentials::Anonymous);
    let copied = registry
        .copy(&image, "other/app", None, &|_| {})
        .await
        .unwrap();
    assert_eq!((copied.blobs_mounted, copied.blobs_uploaded), (3, 0));
    // Into another registry the bytes go through.
    let second = Fake::start().await;
    let copied = copy(&second, &image, None).await.unwrap();
    assert_eq!((copied.digest, copied.blobs_uploaded), (digest, 3));
}

#[tokio::test]
async fn a_manifest_that_is_not_there_is_none_and_pulling_it_is_not_found() {
    let fake = Fake::start().await;
    let registry = fake.client(Credentials::Anonymous);
    assert_eq!(
        registry.head_manifest("team/app", "v1").await.unwrap(),
        None
    );
    let error = registry.pull_manifest("team/app", "v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_repository_name_cannot_leave_its_place_in_the_address() {
    let fake = Fake::start().await;
    let registry = fake.client(Credentials::Anonymous);
    for repo in ["../etc", "a b", "App", "a?b", "a:b", ""] {
        let error = registry.head_manifest(repo, "v1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{repo}");
    }
    assert_eq!(fake.requests("/"), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_not_told() {
    let fake = Fake::start().await;
    for door in [Door::Basic, Door::Token] {
        fake.0.lock().unwrap().door = door;
        let wrong = Credentials::Basic {
            user: "AWS".into(),
            password: "hunter2".into(),
        };
        let error = fake
            .client(wrong)
            .head_manifest("team/app", "v1")
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.transient()),
            (ErrorKind::Denied, false),
            "{error}"
        );
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[test]
fn a_registry_elsewhere_is_reached_by_https_only() {
    for (base, good) in [
        ("https://registry.example", true),
        ("http://127.0.0.1:5000", true),
        ("http://registry.example", false),
        ("https://registry.example/prefix", false),
        ("https://user:hunter2@registry.example", false),
        ("http://user:hunter2@registry.example", false),
    ] {
        let made = deployer_oci::Registry::new(base.parse().unwrap(), Credentials::Anonymous);
        assert_eq!(made.is_ok(), good, "{base}");
        assert!(!format!("{made:?}").contains("hunter2"), "{made:?}");
    }
}
