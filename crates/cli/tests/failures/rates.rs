//! Rates are kept, and what a cloud asks for is waited.

use deployer::Exit;

use crate::in_process::stage::{Stage, Wanted};
use crate::run;

crate::tests! {
    many_services_are_asked_for_no_faster_than_the_apis_allow => many_services,
    an_api_that_asks_for_time_gets_it => asks_for_time,
}

/// Asked for one by one, and at once, they are more than ECS and CloudWatch Logs answer.
async fn many_services(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 120,
        ..Wanted::FIRST
    });
    let said = run(stage, &["plan", "--json"], "all", Exit::Success).await;
    let document: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let changes = document["plan"]["changes"].as_array().expect("changes");
    assert!(changes.len() > 900, "{}", changes.len());
    assert_eq!(document["errors"], serde_json::json!([]));
    assert_eq!(stage.refused().await, serde_json::json!({}));
}

/// Google's clients wait by the machine's clock: their pauses have tests of their own.
async fn asks_for_time(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let call = "ecs:DescribeServices";
    let rule = format!(
        "[[fault]]\ncall = \"{call}\"\nwhat = \"throttled\"\nnth = 1\nretry_after = \"25s\"\n"
    );
    stage.disturb(&rule).await;
    stage.calls.arm(None);
    run(stage, &["plan"], "aws", Exit::Success).await;
    let arrivals = stage.calls.arrivals();
    let mut looks = arrivals.iter().filter(|(name, _)| name == call);
    let (first, second) = (looks.next(), looks.next());
    let waited = second
        .expect("another try")
        .1
        .duration_since(first.expect("a try").1);
    assert!((25.0..40.0).contains(&waited.as_secs_f64()), "{waited}");
}
