//! What App Runner refuses for good, and what helps; performs no IO.

use deployer_core::error::Error;

use crate::error::Refusal;

/// What helps where an account never used App Runner.
pub(super) const CLOSED: &str = "App Runner takes no new customers since 2026-04-30: run it on ECS \
                                 (`runtime = \"ecs\"` in `[targets.aws]`, with `cluster`, `subnets` and `execution_role`)";

/// What helps where a role cannot be assumed.
pub(super) const ROLES: &str = "let `access_role` trust build.apprunner.amazonaws.com, and `task_role` trust \
                                tasks.apprunner.amazonaws.com";

/// Whether a service is refused because the account is none of App Runner's customers: "AWS App
/// Runner is no longer open to new customers" ("AWS App Runner availability change", AWS App Runner
/// Developer Guide). The guide does not say how the API says it: any words of that are taken for
/// it.
pub(super) fn is_closed(refusal: &Refusal) -> bool {
    const WORDS: [&str; 4] = [
        "new customers",
        "not subscribed",
        "subscription",
        "not available to",
    ];
    WORDS.iter().any(|words| refusal.says(words))
}

/// The error for a service that is built from source code: "You can't switch from code to image or
/// the other way around" (UpdateService, AWS App Runner API Reference).
pub(super) fn built_from_source(name: &str) -> Error {
    let message = format!("App Runner builds service `{name}` from source code, not from an image");
    Error::input(message).hint(
        "give ours another `name` in `[targets.aws.services.NAME]`: it is made beside that one",
    )
}
