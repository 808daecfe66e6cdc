//! What App Runner refuses for good, and what helps; performs no IO.

use deployer_core::error::Error;
use deployer_core::kind::Refused;

use crate::client::Clients;
use crate::error::Refusal;

/// What helps where the caller may not, or the account is closed to App Runner: one of two causes.
const PERHAPS: &str = "allow the caller this action on this object; or perhaps the account is none of App \
                       Runner's: it takes no new customers since 2026-04-30, and this account has no service \
                       there (then run it on ECS: `runtime = \"ecs\"` in `[targets.aws]`, with `cluster`, \
                       `subnets` and `execution_role`)";

/// What helps where a role cannot be assumed.
pub(super) const ROLES: &str = "let `access_role` trust build.apprunner.amazonaws.com, and `task_role` trust \
                                tasks.apprunner.amazonaws.com";

/// A refusal to make something of App Runner's, with another hint where the caller may not and no
/// service is there: then it may be that nobody of the account may.
pub(super) fn perhaps_closed(clients: &Clients, refusal: Refusal) -> Refusal {
    match refusal.denied() {
        Some(_) if !clients.lookups.app_runner.has_seen_any() => refusal.hinting(PERHAPS),
        _ => refusal,
    }
}

/// The error for a service that is built from source code: "You can't switch from code to image or
/// the other way around" (UpdateService, AWS App Runner API Reference).
pub(super) fn built_from_source(name: &str) -> Error {
    let message = format!("App Runner builds service `{name}` from source code, not from an image");
    Error::input(message).hint(
        "give ours another `name` in `[targets.aws.services.NAME]`: it is made beside that one",
    )
}
