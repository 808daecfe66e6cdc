//! A first manifest names what the clouds say is there, and says what it could not ask.

use deployer::Exit;
use serde_json::Value;

use crate::in_process::stage::{Ended, LOCATION, PROJECT, REGION, Stage, Wanted};
use crate::typed::assert_fits;
use crate::{APPLY, run, says};

crate::tests! {
    a_first_manifest_names_what_services_run_with => names_what_is_there,
    what_may_not_be_asked_is_said_and_left_to_fill_in => denied,
    what_is_in_another_account_is_not_for_this_manifest => another_account,
}

/// Makes a manifest in a folder of its own; what was said, and the manifest.
async fn init(stage: &Stage, more: &[&str]) -> (String, String) {
    let manifest = stage.file("first.toml", "");
    std::fs::remove_file(&manifest).expect("nothing is overwritten");
    let aws = format!("targets.aws.endpoint={}", stage.sandbox.aws_url);
    let gcp = format!("targets.gcp.endpoint={}", stage.sandbox.gcp_url);
    let words = [
        "init",
        "--yes",
        "-f",
        &manifest,
        "--app",
        "second",
        "--image",
        "oci:image-1",
        "--port",
        "8080",
        "--aws-region",
        REGION,
        "--project",
        PROJECT,
        "--gcp-region",
        LOCATION,
        "--set",
        &aws,
        "--set",
        &gcp,
    ];
    let (ended, said) = stage.run_as_typed(&[&words, more].concat()).await;
    let fine = matches!(ended, Ended::Exit(Exit::Success));
    assert!(fine, "it ended with {ended:?}:\n{said}");
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    (said, text)
}

async fn names_what_is_there(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    stage.calls.arm(None);
    let (said, text) = init(stage, &["--database"]).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    says(
        &text,
        &[
            "account = \"123456789012\"",
            "cluster = \"default\"",
            "subnets = [\"subnet-0a1b2c3d4e5f60001\", \"subnet-0a1b2c3d4e5f60002\"]",
            "security_groups = [\"sg-0a1b2c3d4e5f60003\"]",
            "execution_role = \"idp-execution\"",
            // Another app's own role is offered and not taken.
            "# there: idp-task (of service swept-test-idp)\n# task_role = ",
            "network = \"default\"",
            "subnetwork = \"default\"",
        ],
    );
    // The subnets are those of the database's group, too, which tells their VPC.
    assert!(text.contains("# vpc-"), "{text}");
    assert!(!text.contains("# fill in"), "{text}");
    assert!(!said.contains("note:"), "{said}");
}

async fn denied(stage: &Stage) {
    for call in ["ecs:ListClusters", "ecs:DescribeClusters"] {
        stage.calls.deny(call);
        let (said, text) = init(stage, &["--cloud", "aws"]).await;
        says(&said, &["note: aws: ECS clusters: ", "targets.aws.cluster"]);
        says(&text, &["account = \"123456789012\"", "# fill in"]);
        // A plan would only say so again.
        says(
            &said,
            &["next: fill in targets.aws.cluster", "; then: deployer plan"],
        );
        says(&said, &["deployer sandbox try"]);
        let (said, _) = init(stage, &["--cloud", "aws", "--json"]).await;
        let told: Value = serde_json::from_str(&said).expect("JSON");
        assert_fits("init", &told);
        assert_eq!(told["unlisted"][0]["what"], "ECS clusters");
        assert!(!told["problems"][0].is_null(), "{told}");
    }
    stage.calls.deny("sts:GetCallerIdentity");
    let (said, text) = init(stage, &["--cloud", "aws"]).await;
    says(&said, &["note: aws: what is there: "]);
    says(&text, &["# account = ", "# cluster = "]);
    stage.calls.deny("cloudresourcemanager.projects.get");
    let (said, _) = init(stage, &["--cloud", "gcp", "--database"]).await;
    says(&said, &["note: gcp: what is there: "]);
}

async fn another_account(stage: &Stage) {
    let more = ["--cloud", "aws", "--account", "210987654321"];
    let (said, text) = init(stage, &more).await;
    says(
        &said,
        &["the credentials are for account 123456789012, not for 210987654321"],
    );
    says(&text, &["account = \"210987654321\"", "# cluster = "]);
}
