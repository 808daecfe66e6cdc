//! Reading images: references, layouts, archives of both kinds, and what is wrong with them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::path::Path;

use common::{INDEX, MANIFEST, image, layout_files, multi_platform, part, tar, write_dir};
use deployer_oci::{Anonymous, Digest, Error, ErrorKind, Image, ImageSource};
use serde_json::json;

async fn open(reference: &str, base: &Path) -> Result<Image, Error> {
    ImageSource::parse(reference, base)?.open(Anonymous).await
}

/// What `docker save` wrote before it knew OCI.
fn saved(layer: &[u8]) -> Vec<(String, Vec<u8>)> {
    let diff_id = Digest::of(layer);
    // Spelt out, since its bytes decide the digest that is pinned below.
    let config = part(
        format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        )
        .as_bytes(),
    );
    let name = format!("{}.json", &config.0.as_str()[7..]);
    let list = json!([
        {"Config": name, "RepoTags": ["team/app:v1"], "Layers": ["abc/layer.tar"]},
    ]);
    vec![
        ("abc/layer.tar".into(), layer.to_vec()),
        (name, config.1),
        ("manifest.json".into(), list.to_string().into_bytes()),
    ]
}

#[tokio::test]
async fn a_layout_is_read_from_a_directory_and_from_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let parts = multi_platform();
    let top = parts.last().unwrap();
    let files = layout_files(&parts, &[(top, INDEX, Some("v1"))]);
    write_dir(&dir.path().join("img"), &files);
    std::fs::write(dir.path().join("img.tar"), tar(&files)).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar(&files)).unwrap();
    std::fs::write(dir.path().join("img.tgz"), gzip.finish().unwrap()).unwrap();
    for reference in [
        "img",
        "img:v1",
        "oci:img",
        "oci:img:v1",
        "img.tar",
        "img.tgz",
        "oci-archive:img.tar:v1",
    ] {
        let image = open(reference, dir.path()).await.unwrap();
        assert_eq!(image.digest(), &top.0, "{reference}");
        assert_eq!(image.media_type(), INDEX);
        assert_eq!(image.blobs().len(), 7);
    }
}

#[tokio::test]
async fn several_images_want_a_tag_and_the_error_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image("amd64", &[b"one"]), image("amd64", &[b"two"]));
    let tops = [
        (one.last().unwrap(), MANIFEST, Some("v1")),
        (two.last().unwrap(), MANIFEST, Some("v2")),
    ];
    let all = [one.clone(), two.clone()].concat();
    write_dir(dir.path(), &layout_files(&all, &tops));
    let layout = format!("oci:{}", dir.path().display());
    let found = open(&format!("{layout}:v2"), Path::new("/")).await.unwrap();
    assert_eq!(found.digest(), &two.last().unwrap().0);
    let error = open(&layout, Path::new("/")).await.unwrap_err();
    assert!(
        error.to_string().ends_with("choose one of `v1`, `v2`"),
        "{error}"
    );
    let error = open(&format!("{layout}:v3"), Path::new("/"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("`v1`, `v2`"), "{error}");
}

#[tokio::test]
async fn a_platform_that_is_missing_is_named_with_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let parts = multi_platform();
    let top = parts.last().unwrap();
    write_dir(dir.path(), &layout_files(&parts, &[(top, INDEX, None)]));
    let image = open("oci:.", dir.path()).await.unwrap();
    image.require_platform("linux", "amd64").unwrap();
    let child = image.child_digest("linux", "amd64").unwrap();
    let manifest = image
        .manifests()
        .iter()
        .find(|m| m.digest == *child)
        .unwrap();
    assert_eq!(manifest.platform.as_ref().unwrap().architecture, "amd64");
    let error = image.require_platform("windows", "amd64").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongPlatform);
    let wanted = "windows/amd64 is needed, it has linux/arm64, linux/amd64";
    assert!(error.to_string().ends_with(wanted), "{error}");
}

#[tokio::test]
async fn an_image_without_an_index_has_its_configurations_platform() {
    let dir = tempfile::tempdir().unwrap();
    let digest = common::simple_layout(dir.path(), &[b"layer"]);
    let image = open("oci:.", dir.path()).await.unwrap();
    assert_eq!(image.child_digest("linux", "amd64"), Some(&digest));
    assert!(image.require_platform("linux", "arm64").is_err());
}

#[tokio::test]
async fn a_docker_save_archive_has_the_same_digest_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let layer = b"a layer".repeat(100);
    let mut files = saved(&layer);
    std::fs::write(dir.path().join("a.tar"), tar(&files)).unwrap();
    files.reverse();
    std::fs::write(dir.path().join("b.tar"), tar(&files)).unwrap();
    let image = open("a.tar", dir.path()).await.unwrap();
    assert_eq!(image.media_type(), MANIFEST);
    // Pinned: a change of it would be a new release of every image of this kind.
    let pinned = "sha256:af69d596d585c82356cc93b217866de1c05902166fb806cd2c211a931307884d";
    assert_eq!(image.digest().as_str(), pinned);
    assert_eq!(image.blobs()[1].digest, Digest::of(&layer));
    for reference in [
        "b.tar",
        "docker-archive:a.tar",
        "docker-archive:a.tar:team/app:v1",
    ] {
        let again = open(reference, dir.path()).await.unwrap();
        assert_eq!(again.digest(), image.digest(), "{reference}");
    }
    let error = open("docker-archive:a.tar:team/app:v2", dir.path())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("team/app:v1"), "{error}");
}

#[tokio::test]
async fn a_newer_docker_save_archive_keeps_the_digest_it_comes_with() {
    let dir = tempfile::tempdir().unwrap();
    let parts = image("amd64", &[b"layer"]);
    let top = parts.last().unwrap();
    let mut files = layout_files(&parts, &[(top, MANIFEST, Some("v1"))]);
    files.push(saved(b"layer").pop().unwrap());
    std::fs::write(dir.path().join("a.tar"), tar(&files)).unwrap();
    for reference in ["a.tar", "docker-archive:a.tar", "oci-archive:a.tar"] {
        let image = open(reference, dir.path()).await.unwrap();
        assert_eq!(image.digest(), &top.0, "{reference}");
    }
}

#[tokio::test]
async fn an_archived_index_with_one_platform_present_gives_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let parts = multi_platform();
    let top = parts.last().unwrap();
    let kept = image("amd64", &[b"amd64", b"shared"]);
    let mut present = kept.clone();
    present.push(top.clone());
    let mut files = layout_files(&present, &[(top, INDEX, None)]);
    write_dir(&dir.path().join("layout"), &files);
    files.push(saved(b"layer").pop().unwrap());
    std::fs::write(dir.path().join("a.tar"), tar(&files)).unwrap();
    let image = open("a.tar", dir.path()).await.unwrap();
    assert_eq!(image.digest(), &kept.last().unwrap().0);
    // A layout with such an index is incomplete: no copy of it could keep its digest.
    let error = open("oci:layout", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(top.0.as_str()), "{error}");
}

#[tokio::test]
async fn a_layer_by_a_link_is_found_inside_the_archive_only() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, b"layer").unwrap();
    for (target, found) in [
        ("../def/layer.tar", true),
        (outside.to_str().unwrap(), false),
    ] {
        let mut files = saved(b"layer");
        files[0].0 = "def/layer.tar".into();
        let mut builder = tar::Builder::new(tar(&files));
        let mut archive = builder.get_mut().clone();
        archive.truncate(archive.len() - 1024);
        builder = tar::Builder::new(archive);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "abc/layer.tar", target)
            .unwrap();
        std::fs::write(dir.path().join("a.tar"), builder.into_inner().unwrap()).unwrap();
        let opened = open("a.tar", dir.path()).await;
        assert_eq!(opened.is_ok(), found, "{opened:?}");
    }
}

#[tokio::test]
async fn what_is_damaged_is_refused_when_it_is_opened() {
    let parts = image("amd64", &[b"layer"]);
    let top = parts.last().unwrap();
    let good = layout_files(&parts, &[(top, MANIFEST, None)]);
    let cases: [(&str, usize, &[u8], ErrorKind); 4] = [
        ("index", 1, b"{", ErrorKind::Invalid),
        (
            "version",
            0,
            br#"{"imageLayoutVersion":"2.0.0"}"#,
            ErrorKind::Invalid,
        ),
        ("layer", 3, b"lay", ErrorKind::DigestMismatch),
        ("manifest", 4, b"{}", ErrorKind::DigestMismatch),
    ];
    for (what, at, bytes, kind) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut files = good.clone();
        files[at].1 = bytes.to_vec();
        write_dir(dir.path(), &files);
        let error = open("oci:.", dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = tar(&good);
    for length in [0, 1, 700, whole.len() / 2] {
        std::fs::write(dir.path().join("a.tar"), &whole[..length]).unwrap();
        assert!(open("a.tar", dir.path()).await.is_err(), "{length} bytes");
    }
}

#[tokio::test]
async fn a_document_that_is_index_and_image_at_once_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let both = part(br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#);
    write_dir(
        dir.path(),
        &layout_files(std::slice::from_ref(&both), &[(&both, INDEX, None)]),
    );
    let error = open("oci:.", dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_path_that_does_not_exist_says_what_was_tried() {
    let base = Path::new("/nowhere");
    for (reference, tried) in [
        ("./img.tar", "/nowhere/./img.tar"),
        ("img.tar", "/nowhere/img.tar"),
        ("oci:img:v1", "`/nowhere/img:v1` and `/nowhere/img`"),
        ("docker-archive:a.tar", "/nowhere/a.tar"),
    ] {
        let error = ImageSource::parse(reference, base).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{reference}");
        assert!(error.to_string().contains(tried), "{error}");
    }
    let error = ImageSource::parse("Not A Reference", base).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("/nowhere/Not A Reference"),
        "{error}"
    );
}

#[test]
fn a_registry_reference_gets_dockers_defaults() {
    let hex = "a".repeat(64);
    for (reference, whole) in [
        ("app", "docker.io/library/app:latest".to_owned()),
        ("team/app:v1", "docker.io/team/app:v1".to_owned()),
        ("docker://team/app:v1", "docker.io/team/app:v1".to_owned()),
        ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
        (
            &format!("r.example/a/b@sha256:{hex}"),
            format!("r.example/a/b@sha256:{hex}"),
        ),
    ] {
        let source = ImageSource::parse(reference, Path::new("/nowhere")).unwrap();
        assert_eq!(source.to_string(), whole);
    }
}

/// A build's output or a folder of sources beside the manifest is often called as the image is.
#[test]
fn a_name_beside_an_ordinary_file_or_folder_is_the_registrys() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    std::fs::create_dir(at("web")).unwrap();
    std::fs::write(at("api"), "a program").unwrap();
    std::fs::write(at("app.tgz"), "an archive").unwrap();
    std::fs::create_dir(at("layout")).unwrap();
    std::fs::write(at("layout/index.json"), "{}").unwrap();
    let shown = |reference: &str| {
        let source = ImageSource::parse(reference, base.path());
        source.map_or_else(|error| error.to_string(), |source| source.to_string())
    };
    for (reference, whole) in [
        ("web", "docker.io/library/web:latest"),
        ("web:v1", "docker.io/library/web:v1"),
        ("api", "docker.io/library/api:latest"),
        ("docker://layout", "docker.io/library/layout:latest"),
    ] {
        assert_eq!(shown(reference), whole);
    }
    assert!(shown("layout").starts_with("oci:"));
    assert!(shown("layout:v1").ends_with("/layout:v1"));
    assert!(shown("app.tgz").starts_with("archive:"));
    assert!(shown("./api").starts_with("archive:"), "{}", shown("./api"));
    assert!(
        shown("./web").contains("no `index.json`"),
        "{}",
        shown("./web")
    );
}
