//! One release is shown on every cloud at once, with what it changed.

use deployer::Exit;
use serde_json::{Value, json};

use crate::in_process::stage::Stage;
use crate::typed::assert_fits;
use crate::{APPLY, SECOND, first_serves, run, says};

crate::tests! {
    a_release_is_shown_with_what_it_changed_on_both_clouds_at_once => shown,
    what_no_release_is_called_is_refused_with_what_there_is => refused,
}

async fn shown(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let said = run(stage, &["releases", "idp", "r2"], "all", Exit::Success).await;
    says(&said, &["idp · test: r2 on aws and gcp\n", "; content "]);
    says(&said, &["changed since r1\n  image  "]);
    for what in ["image", "aws", "gcp", "port", "env.GREETING"] {
        let mut lines = said.lines().filter_map(|it| it.strip_prefix("  "));
        let is_told = lines.any(|it| it.starts_with(&format!("{what}  ")));
        assert!(is_told, "no {what} in:\n{said}");
    }
    let said = run(stage, &["releases", "idp", "r1"], "all", Exit::Success).await;
    assert!(!said.contains("changed since"), "{said}");
    let differs = ["releases", "idp", "r1", "--diff", "r2"];
    let said = run(stage, &differs, "all", Exit::Success).await;
    says(&said, &["idp · test: r2 (", " → r1 (", " on aws and gcp\n"]);
    assert_eq!(said.lines().count(), 2, "{said}");

    let differs = ["releases", "idp", "r2", "--json"];
    let said = run(stage, &differs, "all", Exit::Success).await;
    let documents: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    assert_eq!(documents.len(), 2, "{said}");
    assert_fits("releases", &json!(documents));
    for document in &documents {
        assert_eq!(document["releases"][0]["number"], 2, "{said}");
        assert_eq!(document["compared_with"], 1, "{said}");
        assert_eq!(document["differs"][0]["what"], "image", "{said}");
    }
}

async fn refused(stage: &Stage) {
    first_serves(stage).await;
    let unknown = ["releases", "idp", "r7"];
    let said = run(stage, &unknown, "all", Exit::Input).await;
    says(
        &said,
        &["no release of `idp` is called `r7`", "there is r1 alone"],
    );
    let unknown = ["releases", "idp", "r1", "--diff", "r7"];
    let said = run(stage, &unknown, "all", Exit::Input).await;
    says(
        &said,
        &["no target has releases of `idp` called `r1` and `r7`"],
    );
}
