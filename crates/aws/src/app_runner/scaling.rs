//! `app_runner.scaling`: between how many instances App Runner scales, and by what.
//!
//! An autoscaling configuration cannot be changed; a call for one of the same name makes another
//! revision. So its name says what it is, as a connector's does: other numbers are another
//! configuration, the service is moved to it, and the old one is deleted after that. Ours is the
//! first revision: those that another hand makes under its name change nothing of it, and all go at
//! once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_apprunner::Config;
use aws_sdk_apprunner::config::retry::RetryConfig;
use aws_sdk_apprunner::types::AutoScalingConfigurationSummary;
use deployer_core::wait::{Look, Pace, poll};

use super::hints;
use super::vpc_connector::{STILL_USED, first_part};
use crate::client::ATTEMPTS;
use crate::names;
use crate::site::prelude::*;

/// How a service scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scaling {
    pub(crate) least: i32,
    pub(crate) most: i32,
    /// Requests that one instance takes at once.
    pub(crate) concurrency: i32,
}

/// The ARN of a configuration that is there.
#[derive(Clone, Debug)]
pub(crate) struct ScalingArn(pub(crate) String);

/// `MaxConcurrency` where nobody says it (CreateAutoScalingConfiguration, AWS App Runner API
/// Reference).
pub(super) const USUAL_CONCURRENCY: u32 = 100;

/// "When you use it for the first time in an AWS Region, App Runner creates revision number 1 of
/// this name" (CreateAutoScalingConfiguration, AWS App Runner API Reference).
pub(super) const FIRST: i32 = 1;

/// How long one is tried to be made that App Runner does not answer.
const MAKING: Duration = Duration::from_secs(2 * 60);

const LEAST: Field = Field::replaces("min", Order::CreateFirst);
const MOST: Field = Field::replaces("max", Order::CreateFirst);
const CONCURRENCY: Field = Field::replaces("concurrency", Order::CreateFirst);

impl Kind for Scaling {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "app_runner.scaling";
    const NOUN: &'static str = "autoscaling configuration";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const GENERATIONS: Option<Generations> = Some(Generations {
        fields: &[LEAST, MOST, CONCURRENCY],
        rule: || &names::SCALING_CONFIGURATION,
        naming: Naming::Digits,
    });
    const FACTS: Facts = Facts {
        // `NAME/REVISION/ID`.
        arn: Some(Arn::named(
            "apprunner",
            "autoscalingconfiguration",
            first_part,
        )),
        access: Access {
            feature: Feature::AppRunner,
            read: &[
                grant(&["apprunner:ListAutoScalingConfigurations"], ANYTHING),
                grant(
                    &[
                        "apprunner:DescribeAutoScalingConfiguration",
                        "apprunner:ListTagsForResource",
                    ],
                    SCALING_CONFIGURATIONS,
                ),
            ],
            change: &[grant(
                &[
                    "apprunner:CreateAutoScalingConfiguration",
                    "apprunner:DeleteAutoScalingConfiguration",
                    "apprunner:TagResource",
                    "apprunner:UntagResource",
                ],
                SCALING_CONFIGURATIONS,
            )],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const WHOSE: fn(name: &str) -> &str = |name| name.rsplit_once('-').map_or(name, |(of, _)| of);
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = STILL_USED;

    fn describe(is: &Self, to: &mut Description) {
        to.set(LEAST, is.least);
        to.set(MOST, is.most);
        to.set(CONCURRENCY, is.concurrency);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let Some(first) = first(at, at.name()).await? else {
            return Ok(Reading::Absent);
        };
        let arn = first.auto_scaling_configuration_arn().unwrap_or_default();
        let ask = at.app_runner.describe_auto_scaling_configuration();
        let answer = ask.auto_scaling_configuration_arn(arn).send().await?;
        let Some(there) = answer.auto_scaling_configuration else {
            return Ok(Reading::Absent);
        };
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self {
                least: there.min_size().unwrap_or_default(),
                most: there.max_size().unwrap_or_default(),
                concurrency: there.max_concurrency().unwrap_or_default(),
            },
            tags: TagApi::AppRunner.read(at, arn).await?,
        }))
    }

    /// With all its revisions: "When DeleteAllRevisions is set to true, the only valid value for
    /// the Amazon Resource Name (ARN) is a partial ARN ending with: .../name"
    /// (DeleteAutoScalingConfiguration, AWS App Runner API Reference).
    async fn remove(at: &At<Clients>, there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.app_runner.delete_auto_scaling_configuration();
        let deleted = call
            .auto_scaling_configuration_arn(up_to_name(&there.id))
            .delete_all_revisions(true)
            .send()
            .await;
        match deleted.map_err(Refusal::from) {
            // What the Terraform provider takes for gone as well
            // (`internal/service/apprunner/auto_scaling_configuration_version.go` of
            // hashicorp/terraform-provider-aws).
            Err(refusal) if refusal.says("has been deleted") => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Tagged for Scaling {
    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::AppRunner.write(at, &there.id, by).await
    }
}

impl Wish for Scaling {
    type Output = ScalingArn;
    const KEPT: Kept = Kept::Harmless("what serves scales by the configuration that it has");

    fn over(&self, _at: &At<Clients>, _seen: Seen<'_, Self>) -> Self {
        *self
    }

    fn parts(&self, to: &mut Parts) {
        to.set(LEAST, self.least);
        to.set(MOST, self.most);
        to.set(CONCURRENCY, self.concurrency);
    }

    fn output(_at: &At<Clients>, there: &There<Self>) -> ScalingArn {
        ScalingArn(there.id.clone())
    }

    /// Another call would make another revision, so that it is not the SDK that tries it again:
    /// what an unanswered one made is looked for first.
    async fn make(&self, at: &At<Clients>, is: &Self, _: &Token) -> Result<(), Refusal> {
        let (what, tries) = (at.what(), AtomicU32::new(0));
        let made = poll(at.clock(), Pace::until(MAKING), &what, || async {
            match first(at, at.name()).await {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(Look::Found(Ok(()))),
                Err(refusal) => return Ok(Look::Found(Err(refusal))),
            }
            match self.try_to_make(at, is).await {
                Err(refusal)
                    if refusal.is_unanswered()
                        && tries.fetch_add(1, Ordering::Relaxed) + 1 < ATTEMPTS =>
                {
                    Ok(Look::NotYet("App Runner did not answer".to_owned()))
                }
                outcome => {
                    let refused = |refusal| hints::perhaps_closed(at, refusal);
                    Ok(Look::Found(outcome.map_err(refused)))
                }
            }
        });
        made.await?
    }

    /// Nothing of it changes in place.
    async fn change(
        &self,
        _at: &At<Clients>,
        _there: &There<Self>,
        _is: &Self,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Scaling {
    async fn try_to_make(&self, at: &At<Clients>, is: &Self) -> Result<(), Refusal> {
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let call = at.app_runner.create_auto_scaling_configuration();
        call.auto_scaling_configuration_name(at.name())
            .min_size(is.least)
            .max_size(is.most)
            .max_concurrency(is.concurrency)
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .customize()
            .config_override(once)
            .send()
            .await?;
        Ok(())
    }
}

/// The first revision that was not deleted.
async fn first(
    clients: &Clients,
    name: &str,
) -> Result<Option<AutoScalingConfigurationSummary>, Refusal> {
    let list = clients.app_runner.list_auto_scaling_configurations();
    let list = list.auto_scaling_configuration_name(name);
    let mut pages = list.latest_only(false).into_paginator().send();
    let mut first: Option<AutoScalingConfigurationSummary> = None;
    while let Some(page) = pages.next().await {
        let found = page?.auto_scaling_configuration_summary_list.into_iter();
        let active = found.filter(|it| {
            let active = it
                .status()
                .is_none_or(|it| it.as_str().eq_ignore_ascii_case("active"));
            active && it.auto_scaling_configuration_name() == Some(name)
        });
        let number = AutoScalingConfigurationSummary::auto_scaling_configuration_revision;
        first = first.into_iter().chain(active).min_by_key(number);
    }
    Ok(first)
}

/// What plans call a revision of a configuration: its name, with its number where it is not the
/// first.
pub(super) fn called(name: &str, revision: i32) -> String {
    match revision {
        ..=FIRST => name.to_owned(),
        later => format!("{name} (revision {later})"),
    }
}

impl ScalingArn {
    /// The revision: `.../NAME/REVISION/ID`.
    pub(super) fn revision(&self) -> i32 {
        let number = self.0.rsplit('/').nth(1);
        number.and_then(|it| it.parse().ok()).unwrap_or(FIRST)
    }
}

/// `arn:...:autoscalingconfiguration/NAME` of `.../NAME/REVISION/ID`.
fn up_to_name(arn: &str) -> String {
    arn.split('/').take(2).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use deployer_core::kind::named;

    use super::*;

    #[test]
    fn other_numbers_are_another_generation_under_the_name_that_it_always_had() {
        let called = |base, most| {
            let (least, concurrency) = (1, 100);
            let scaling = Scaling {
                least,
                most,
                concurrency,
            };
            named(base, &scaling)
        };
        assert_eq!(called("idp-staging", 2), "idp-staging-6cdcd723");
        assert_eq!(called("idp-staging", 3), "idp-staging-005554a7");
        assert_eq!(
            called("kaizencoach-production-api", 3),
            "kaizencoach-production-52cc2425"
        );
    }

    #[test]
    fn a_revision_of_another_hand_is_told_from_ours() {
        let arn = |revision| ScalingArn(format!("arn:aws:apprunner:r:1:a/idp/{revision}/abc"));
        assert_eq!(called("idp", arn(1).revision()), "idp");
        assert_eq!(called("idp", arn(2).revision()), "idp (revision 2)");
        assert_eq!(
            called("idp", ScalingArn("arn".to_owned()).revision()),
            "idp"
        );
    }

    #[test]
    fn all_revisions_have_one_arn() {
        let arn = "arn:aws:apprunner:r:1:autoscalingconfiguration/idp/1/abc";
        let name = "arn:aws:apprunner:r:1:autoscalingconfiguration/idp";
        assert_eq!(up_to_name(arn), name);
    }
}
