//! Images that cannot be deployed are refused before anything is made.

use aws_sdk_ecr::types::{ImageIdentifier, ImageTagMutability};
use deployer::Exit;
use reqwest::Method;
use serde_json::json;

use crate::in_process::stage::{Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, run, says};

crate::tests! {
    an_image_for_arm64_runs_on_ecs_and_is_refused_by_cloud_run_before_anything_is_made => other_architecture,
    an_image_that_cannot_start_is_refused_before_anything_is_made => that_cannot_start,
    an_image_in_a_private_registry_is_opened_by_the_login_that_docker_keeps => private_registry,
    an_image_that_is_absent_is_refused_by_name => absent_layout,
    what_serves_is_kept_where_images_without_a_tag_expire => kept_from_expiry,
    a_tag_that_may_not_move_is_no_failure => immutable_tags,
    a_tag_that_may_not_move_is_no_failure_on_google_cloud => immutable_on_google,
    a_tag_that_is_absent_is_refused_by_name_before_anything_is_made => absent_tag,
}

/// What a registry answers that has no such manifest.
const UNKNOWN: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
/// What one answers that wants to know who asks, and does not say how.
const DENIED: &str = r#"{"errors":[{"code":"DENIED","message":"access is denied"}]}"#;

const THIRD: Wanted = Wanted {
    version: 3,
    ..Wanted::FIRST
};

/// Builds the image anew under the tag of the one before; the digest of the new one.
fn built_anew(stage: &Stage, build: u32) -> String {
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": ["/app"], "Cmd": ["serve"], "Labels": { "build": build.to_string() } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{:064}", 1)] },
    });
    stage.write_image_of(1, None, &config);
    stage.want(&Wanted::FIRST);
    stage.digest(1)
}

/// The tags of an image in ECR.
async fn tags(stage: &Stage, digest: &str) -> Vec<String> {
    let ecr = aws_sdk_ecr::Client::new(&stage.aws().await);
    let id = ImageIdentifier::builder().image_digest(digest);
    let seen = ecr.describe_images().repository_name(stage.service());
    let seen = seen.image_ids(id.build()).send().await;
    let seen = seen.expect("it is there");
    let mut tags = seen.image_details()[0].image_tags().to_vec();
    tags.sort();
    tags
}

/// What the newest task runs.
fn newest(stage: &Stage) -> String {
    let started = stage.containers.started();
    started.last().expect("a task").digest.clone()
}

fn ours(digest: &str) -> String {
    format!("deployer-{}", &digest[7..19])
}

/// Rules that let images without a tag expire are common; a tag that moves on leaves the image
/// without one that a rollback needs.
async fn kept_from_expiry(stage: &Stage) {
    let first = built_anew(stage, 1);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(
        tags(stage, &first).await,
        [ours(&first), "image-1".to_owned()]
    );
    let plan = ["plan", "--detailed-exitcode"];
    run(stage, &plan, "aws", Exit::Success).await;
    let second = built_anew(stage, 2);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(tags(stage, &first).await, [ours(&first)]);
    stage.sandbox.expire_untagged(&stage.service());
    let back = ["rollback", "--yes", "--no-verify"];
    run(stage, &back, "aws", Exit::Success).await;
    assert_eq!(newest(stage), first);
    // One that was there without our tag, as from before, gets it.
    let ecr = aws_sdk_ecr::Client::new(&stage.aws().await);
    let id = ImageIdentifier::builder().image_tag(ours(&second));
    let untagged = ecr.batch_delete_image().repository_name(stage.service());
    let untagged = untagged.image_ids(id.build()).send().await;
    untagged.expect("it is taken off");
    let words = [APPLY, &["--release-hold"]].concat();
    let said = run(stage, &words, "aws", Exit::Success).await;
    says(&said, &["no tag keeps it from expiring"]);
    assert_eq!(
        tags(stage, &second).await,
        [ours(&second), "image-1".to_owned()]
    );
    assert_eq!(newest(stage), second);
}

/// The digest is in and serves; where the tag stays, is told.
async fn immutable_tags(stage: &Stage) {
    built_anew(stage, 1);
    run(stage, APPLY, "aws", Exit::Success).await;
    let ecr = aws_sdk_ecr::Client::new(&stage.aws().await);
    let frozen = ecr
        .put_image_tag_mutability()
        .repository_name(stage.service());
    let frozen = frozen.image_tag_mutability(ImageTagMutability::Immutable);
    frozen.send().await.expect("ECR takes it");
    let second = built_anew(stage, 2);
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &["tags are immutable: `image-1` stays where it was"]);
    assert_eq!(newest(stage), second);
    assert_eq!(tags(stage, &second).await, [ours(&second)]);
    let plan = ["plan", "--detailed-exitcode"];
    run(stage, &plan, "aws", Exit::Success).await;
}

async fn immutable_on_google(stage: &Stage) {
    built_anew(stage, 1);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let location = "/v1/projects/sandbox-project/locations/us-central1";
    let listed = format!("{location}/repositories");
    let listed = stage.google(Method::GET, &listed, None).await;
    let name = listed["repositories"][0]["name"]
        .as_str()
        .expect("a repository");
    let (_, id) = name.rsplit_once('/').expect("a path");
    let path = format!("{location}/repositories/{id}?updateMask=dockerConfig");
    let frozen = json!({ "dockerConfig": { "immutableTags": true } });
    stage.google(Method::PATCH, &path, Some(frozen)).await;
    let second = built_anew(stage, 2);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(&said, &["tags are immutable: `image-1` stays where it was"]);
    assert_eq!(newest(stage), second);
    let plan = ["plan", "--detailed-exitcode"];
    run(stage, &plan, "gcp", Exit::Success).await;
}

/// Cloud Run has no such machines and ECS has: its tasks run on them without a word in the
/// manifest.
async fn other_architecture(stage: &Stage) {
    stage.write_image(3, "arm64");
    stage.want(&THIRD);
    for cloud in ["gcp", "all"] {
        let said = run(stage, APPLY, cloud, Exit::Input).await;
        says(
            &said,
            &[
                "image-3",
                "linux/arm64",
                "Cloud Run runs no arm64 containers",
                "docker build --platform linux/amd64",
            ],
        );
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
    }
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    let digest = stage.digest(3);
    assert!(started.iter().all(|it| it.digest == digest) && !started.is_empty());
    // What the manifest asks for and the image is not is refused, by name.
    let wish = "[services.idp]\narchitecture = \"x86_64\"\n";
    stage.file("deployer.test.toml", wish);
    stage.calls.arm(None);
    let said = run(stage, &["plan"], "aws", Exit::Input).await;
    says(
        &said,
        &["is not built for linux/amd64", "it has linux/arm64"],
    );
}

/// Nothing says what to start; or index and configuration say different things of the platform.
async fn that_cannot_start(stage: &Stage) {
    let empty = json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": null, "Cmd": null },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let arm = json!({
        "architecture": "arm64", "os": "linux", "config": { "Entrypoint": ["/app"] },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    for (index_says, config, words) in [
        (
            None,
            &empty,
            &[
                "neither ENTRYPOINT nor CMD",
                "`[services.idp]`",
                "command = ",
            ][..],
        ),
        (
            Some("amd64"),
            &arm,
            &[
                "its index says linux/amd64, its configuration linux/arm64",
                "docker build --platform linux/amd64",
            ][..],
        ),
    ] {
        stage.write_image_of(3, index_says, config);
        stage.want(&THIRD);
        for command in [&["plan"][..], APPLY] {
            let said = run(stage, command, "all", Exit::Input).await;
            says(&said, words);
            says(&said, &["image-3"]);
            assert_eq!(stage.calls.writes(), Vec::<String>::new());
        }
    }
    // A command of the manifest's own is enough.
    stage.write_image_of(3, None, &empty);
    stage.file(
        "deployer.test.toml",
        "[services.idp]\ncommand = [\"/app\"]\n",
    );
    run(stage, &["plan"], "all", Exit::Success).await;
    stage.file("deployer.test.toml", "[services.idp]\ncommand = [\"\"]\n");
    let said = run(stage, &["plan"], "all", Exit::Input).await;
    says(&said, &["its first word, the program to start, is empty"]);
}

/// `robot:s3cret`.
const SHOWN: &str = "Basic cm9ib3Q6czNjcmV0";

/// A registry that shows nobody anything without the password that `docker login` left behind.
async fn private_registry(stage: &Stage) {
    let text = |value: serde_json::Value| -> &'static str { value.to_string().leak() };
    let config = text(json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/app"] },
        "rootfs": { "type": "layers", "diff_ids": [] },
    }));
    let digest = |text: &str| deployer_oci::Digest::of(text.as_bytes()).to_string();
    let manifest = text(json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": config.len(),
        },
    }));
    let blob = format!("/v2/team/idp/blobs/{}", digest(config));
    let registry = Web::guarded(Some(SHOWN), move |path| match path {
        path if path == blob => (200, config),
        path if path.starts_with("/v2/team/idp/manifests/") => (200, manifest),
        _ => (404, UNKNOWN),
    })
    .await;
    let reference = format!("{}/team/idp:v9", registry.host());
    stage.want(&Wanted::FIRST);
    let overlay = format!("[services.idp]\nimage = \"{reference}\"\n");
    stage.file("deployer.test.toml", &overlay);
    let docker = std::env::var("DOCKER_CONFIG").unwrap();
    let said = run(stage, APPLY, "all", Exit::Denied).await;
    let file = format!("{docker}/config.json (no such file)");
    says(
        &said,
        &[
            "service `idp`",
            &reference,
            &format!("{} wants another login; tried: {file}", registry.host()),
            "no login at all (refused)",
            &format!("docker login {}", registry.host()),
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    std::fs::create_dir_all(&docker).unwrap();
    let login = json!({ "auths": { registry.host(): { "auth": &SHOWN["Basic ".len()..] } } });
    std::fs::write(format!("{docker}/config.json"), login.to_string()).unwrap();
    run(stage, APPLY, "all", Exit::Success).await;
    let started = stage.containers.started();
    let digest = digest(manifest);
    assert!(started.iter().all(|it| it.digest == digest) && !started.is_empty());
}

async fn absent_layout(stage: &Stage) {
    stage.want(&Wanted {
        version: 9,
        ..Wanted::FIRST
    });
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(&said, &["image-9"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// Of another registry than the clouds' own, which has no such tag, or gives nothing to strangers.
async fn absent_tag(stage: &Stage) {
    let answers = [
        (
            404,
            UNKNOWN,
            Exit::Input,
            "MANIFEST_UNKNOWN: manifest unknown",
        ),
        (403, DENIED, Exit::Denied, "DENIED: access is denied"),
    ];
    for (status, body, exit, words) in answers {
        let registry = Web::serve(move |path| match path {
            "/v2/" => (200, "{}"),
            _ => (status, body),
        })
        .await;
        let reference = format!("{}/team/idp:v9", registry.host());
        stage.want(&Wanted::FIRST);
        stage.file(
            "deployer.test.toml",
            &format!("[services.idp]\nimage = \"{reference}\"\n"),
        );
        for command in [&["plan"][..], APPLY] {
            stage.calls.arm(None);
            let said = run(stage, command, "all", exit).await;
            says(&said, &["service `idp`", &reference, words]);
            let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
            let push = format!("`docker push {reference}`");
            assert_eq!(flat.contains(&push), exit == Exit::Input, "{said}");
            if exit == Exit::Denied {
                says(
                    &said,
                    &["config.json (no such file)", "no login at all (refused)"],
                );
            }
            assert_eq!(stage.calls.writes(), Vec::<String>::new());
            assert_eq!(stage.containers.started(), []);
        }
        let asked = registry.asked();
        let manifest = "/v2/team/idp/manifests/v9".to_owned();
        assert!(asked.contains(&manifest), "{asked:?}");
    }
}
