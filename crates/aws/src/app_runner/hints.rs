//! What App Runner refuses for good, and what helps; performs no IO.

use deployer_core::error::Error;
use deployer_core::kind::Refused;

use crate::client::Clients;
use crate::error::Refusal;

/// What helps where an account never used App Runner.
pub(crate) const CLOSED: &str = "App Runner takes no new customers since 2026-04-30: run it on ECS \
                                 (`runtime = \"ecs\"` in `[targets.aws]`, with `cluster`, `subnets` and `execution_role`)";

/// The same where that is one of two causes.
const PERHAPS: &str = "allow the caller this action on this object; or perhaps the account is none of App \
                       Runner's: it takes no new customers since 2026-04-30, and this account has no service \
                       there (then run it on ECS: `runtime = \"ecs\"` in `[targets.aws]`, with `cluster`, \
                       `subnets` and `execution_role`)";

/// What AWS answers to an account that has not subscribed to a service ("Common Error Types" of its
/// query APIs: `OptInRequired`, "The AWS access key ID needs a subscription for the service"; its
/// JSON APIs call the same `SubscriptionRequiredException`).
const UNSUBSCRIBED: [&str; 2] = ["SubscriptionRequiredException", "OptInRequired"];

/// What helps where a role cannot be assumed.
pub(super) const ROLES: &str = "let `access_role` trust build.apprunner.amazonaws.com, and `task_role` trust \
                                tasks.apprunner.amazonaws.com";

/// Whether App Runner refused a call, whichever it was, because the account is none of its
/// customers: "AWS App Runner is no longer open to new customers" ("AWS App Runner availability
/// change", AWS App Runner Developer Guide). The guide does not say how the API says it: any code
/// or words of that are taken for it.
pub(crate) fn is_closed(code: &str, words: &str) -> bool {
    const WORDS: [&str; 4] = [
        "new customers",
        "not subscribed",
        "subscription",
        "not available to",
    ];
    let words = words.to_lowercase();
    UNSUBSCRIBED.contains(&code) || WORDS.iter().any(|it| words.contains(it))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_account_is_known_by_its_codes_and_by_any_words_of_that() {
        for code in UNSUBSCRIBED {
            assert!(is_closed(code, ""), "{code}");
        }
        let says = |words: &str| is_closed("AccessDeniedException", words);
        assert!(says("AWS App Runner is no longer open to new customers."));
        assert!(says(
            "The AWS Access Key Id needs a subscription for the service"
        ));
        assert!(!says(
            "User: x is not authorized to perform: apprunner:CreateService"
        ));
    }
}
