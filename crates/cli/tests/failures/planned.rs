//! A plan file is of the very values and images that it was made from.

use deployer::Exit;

use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, SECOND, run, says};

crate::tests! {
    a_plan_file_is_refused_when_a_value_of_this_machine_is_another_one => another_value,
    a_plan_file_with_a_key_pair_to_make_is_applied => key_pair,
    a_plan_file_of_another_manifest_or_cloud_is_refused_as_that => another_manifest,
    a_plan_is_shown_by_service_and_its_file_shows_the_same => by_service,
}

async fn another_value(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let file = stage.file("p.json", "");
    run(stage, &["plan", "--out", &file], "all", Exit::Success).await;
    let text = std::fs::read_to_string(&file).expect("a plan");
    assert!(!text.contains("mail one"), "{text}");
    stage.want(&Wanted {
        mail_password: "mail two",
        ..Wanted::FIRST
    });
    let apply = ["apply", &file, "--yes", "--no-verify"];
    stage.calls.arm(None);
    let said = run(stage, &apply, "all", Exit::Failure).await;
    says(
        &said,
        &[
            "the plan is stale",
            "secret `mail-password` on aws is to hold another value",
            "secret `mail-password` on gcp is to hold another value",
        ],
    );
    assert!(
        !said.contains("mail one") && !said.contains("mail two"),
        "{said}"
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    stage.want(&Wanted::FIRST);
    run(stage, &apply, "all", Exit::Success).await;
    // The code alone gives no values.
    stage.want(&SECOND);
    let only = ["plan", "--only", "idp", "--out", &file];
    run(stage, &only, "all", Exit::Success).await;
    stage.want(&Wanted {
        mail_password: "mail two",
        ..SECOND
    });
    run(stage, &apply, "all", Exit::Success).await;
}

async fn key_pair(stage: &Stage) {
    stage.want(&Wanted {
        keys: true,
        ..Wanted::FIRST
    });
    let file = stage.file("p.json", "");
    run(stage, &["plan", "--out", &file], "all", Exit::Success).await;
    let apply = ["apply", &file, "--yes", "--no-verify"];
    run(stage, &apply, "all", Exit::Success).await;
}

/// Nothing moved: it was made with other words than it is applied with.
async fn another_manifest(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    let file = stage.file("p.json", "");
    let plan = ["plan", "--set", "services.idp.env.A=1", "--out", &file];
    run(stage, &plan, "all", Exit::Success).await;
    let apply = ["apply", &file, "--yes", "--no-verify"];
    stage.calls.arm(None);
    let said = run(stage, &apply, "all", Exit::Failure).await;
    says(
        &said,
        &["the plan was made of another manifest: env.A\n", "`--set`"],
    );
    assert!(!said.contains("moved"), "{said}");
    let said = run(stage, &apply, "gcp", Exit::Failure).await;
    says(
        &said,
        &[
            "the plan is for aws and gcp, and this command for gcp",
            "without `--cloud`",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// What people see: each service with its cause, in 80 columns, no registry and no whole digest; a
/// saved plan shows the same, and one service can be asked for.
async fn by_service(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let file = stage.file("p.json", "");
    let (_, said) = stage.run(&["plan", "--out", &file], "all").await;
    says(&said, &["+ idp ", "port 3000", "PUBLIC", "on aws and gcp"]);
    let (_, shown) = stage.run(&["show", &file], "all").await;
    assert!(said.starts_with(&shown), "{said}\n--- shown:\n{shown}");
    for line in shown.lines().filter(|line| !line.starts_with("note: ")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!shown.contains("@sha256:"), "{shown}");
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&SECOND);
    let (_, said) = stage.run(&["plan", "idp"], "all").await;
    says(&said, &["~ idp ", " → ", "push · ", "roll out", "r1 → r2"]);
    says(
        &said,
        &["idp becomes r2 on aws and gcp", "Shown: idp alone"],
    );
    let (_, refused) = stage.run(&["plan", "nobody"], "all").await;
    says(
        &refused,
        &["there is no service, database or cache `nobody`"],
    );
}
