//! Images that cannot be deployed are refused before anything is made.

use deployer::Exit;

use crate::in_process::stage::{Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, run, says};

/// What a registry answers that has no such manifest.
const UNKNOWN: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
/// What one answers that wants to know who asks, and does not say how.
const DENIED: &str = r#"{"errors":[{"code":"DENIED","message":"access is denied"}]}"#;

pub async fn other_architecture(stage: &Stage) {
    stage.write_image(3, "arm64");
    stage.want(&Wanted {
        version: 3,
        ..Wanted::FIRST
    });
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(&said, &["linux/amd64", "image-3"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

pub async fn absent_layout(stage: &Stage) {
    stage.want(&Wanted {
        version: 9,
        ..Wanted::FIRST
    });
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(&said, &["image-9"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// Of another registry than the clouds' own, which has no such tag, or gives nothing to strangers.
pub async fn absent_tag(stage: &Stage) {
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
            assert_eq!(stage.calls.writes(), Vec::<String>::new());
            assert_eq!(stage.containers.started(), []);
        }
        let asked = registry.asked();
        let manifest = "/v2/team/idp/manifests/v9".to_owned();
        assert!(asked.contains(&manifest), "{asked:?}");
    }
}
