//! `logs.group`: where the containers' output goes.

use std::time::Duration;

use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::kind::numbers;
use deployer_core::node::Effect;

use super::LogGroupReady;
use crate::names::LOG_FOLDER;
use crate::site::prelude::*;

/// Of our own groups, unless the manifest says otherwise.
const USUAL_DAYS: i32 = 30;

/// In milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A log group that is to exist.
#[derive(Clone, Debug)]
pub(crate) struct LogGroup {
    /// In days. `None` where the manifest does not say.
    pub(crate) retention: Option<u32>,
    /// Whether it may be one that was there before us.
    pub(crate) adopt: bool,
}

/// How long a group keeps its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeps {
    /// `None`: for good.
    days: Option<i32>,
    /// How old the group is, in days.
    age: Option<i64>,
}

const RETENTION: Field = Field::in_place("retention_days");

impl LogGroup {
    fn days(&self) -> i32 {
        self.retention
            .map_or(USUAL_DAYS, |days| i32::try_from(days).unwrap_or(i32::MAX))
    }

    /// Whether lines are kept as long as is asked for, or longer, and the manifest did not itself
    /// ask for that before. A group without a time keeps them for good, unless it is one of ours
    /// that a run made and never finished: then it is new, no run has noted it, and no line is
    /// lost.
    fn is_enough(&self, there: Keeps, left: Option<&Fields>) -> bool {
        let Some(have) = there.days else {
            let young = there.age.is_some_and(|age| age < i64::from(self.days()));
            return left.is_some() || self.adopt || !young;
        };
        let before = left.and_then(|left| left.get(RETENTION.name()));
        let asked_before = before == Some(&FieldValue::Known(have.to_string()));
        have == self.days() || have > self.days() && !asked_before
    }
}

impl Kind for LogGroup {
    type Site = Clients;
    type Is = Keeps;
    const KIND: &'static str = "logs.group";
    const NOUN: &'static str = "log group";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        arn: Some(Arn::named("logs", "log-group", |name| {
            Some(name.strip_suffix(":*").unwrap_or(name))
        })),
        access: Access {
            feature: Feature::Always,
            read: &[
                grant(&["logs:DescribeLogGroups"], ANYTHING),
                grant(&["logs:ListTagsForResource"], LOG_GROUPS),
            ],
            change: &[grant(
                &[
                    "logs:CreateLogGroup",
                    "logs:DeleteLogGroup",
                    "logs:PutRetentionPolicy",
                    "logs:TagResource",
                    "logs:UntagResource",
                ],
                LOG_GROUPS,
            )],
        },
    };
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::tags();
    const WHOSE: fn(name: &str) -> &str = |name| name.strip_prefix(LOG_FOLDER).unwrap_or(name);
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
    const TAKEN: &'static [&'static str] = &["ResourceAlreadyExistsException"];
    const BUSY: Passing = BUSY;
    const IN_USE: Passing = BUSY;

    fn describe(is: &Keeps, to: &mut Description) {
        to.set_some(RETENTION, is.days);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Keeps>>, Refusal> {
        let found = at.lookups.log_groups.ask(at.name()).await;
        let Some(group) = found.map_err(|it| Refusal::new(&it))? else {
            return Ok(Reading::Absent);
        };
        // It ends with `:*`, which the tagging calls refuse.
        let arn = group.arn().unwrap_or_default().trim_end_matches(":*");
        let age = |made: i64| (at.clock().now().as_millisecond() - made) / DAY;
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Keeps {
                days: group.retention_in_days(),
                age: group.creation_time().map(age),
            },
            tags: TagApi::Logs.read(at, arn).await?,
        }))
    }

    /// With its lines.
    async fn remove(
        at: &At<Clients>,
        _there: &There<Keeps>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        let call = at.logs.delete_log_group();
        call.log_group_name(at.name()).send().await?;
        Ok(())
    }
}

impl Tagged for LogGroup {
    async fn mark(at: &At<Clients>, there: &There<Keeps>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::Logs.write(at, &there.id, by).await
    }
}

impl Wish for LogGroup {
    type Output = LogGroupReady;
    const KEPT: Kept = Kept::Harmless("it takes the logs of what served before as well");

    /// A group that was there before us has its own time, unless the manifest says one.
    fn over(&self, _at: &At<Clients>, seen: Seen<'_, Keeps>) -> Keeps {
        let silent = self.adopt && self.retention.is_none();
        let stays = |there: &Keeps| silent || self.is_enough(*there, seen.left);
        match seen.there.map(|there| there.is).filter(stays) {
            Some(there) => there,
            None => Keeps {
                days: Some(self.days()),
                age: None,
            },
        }
    }

    fn output(_at: &At<Clients>, _there: &There<Keeps>) -> LogGroupReady {
        LogGroupReady
    }

    async fn make(&self, at: &At<Clients>, is: &Keeps, _: &Token) -> Result<(), Refusal> {
        let call = at.logs.create_log_group().log_group_name(at.name());
        let tags = at.owner.tags.clone().into_iter().collect();
        call.set_tags(Some(tags)).send().await?;
        retain(at, is).await
    }

    async fn change(
        &self,
        at: &At<Clients>,
        _there: &There<Keeps>,
        is: &Keeps,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        retain(at, is).await
    }

    /// Lines that are older than the new time go: "It can take up to 72 hours before they are
    /// deleted" (user guide, "Change log data retention").
    fn cost(&self, change: &FieldChange, usual: Effect) -> Effect {
        match numbers(change) {
            Some((old, new)) if new < old => Effect::LosesData,
            _ => usual,
        }
    }

    fn loses_in_place(&self, _changes: &[FieldChange]) -> bool {
        true
    }
}

/// "A conflicting operation is currently in progress against this resource. Please try again."; the
/// Terraform provider waits a minute for it (`internal/service/logs/group.go` of
/// hashicorp/terraform-provider-aws).
const BUSY: Passing = Passing {
    codes: &["OperationAbortedException"],
    why: "CloudWatch Logs is at another call on it",
    patience: Duration::from_secs(60),
};

async fn retain(at: &At<Clients>, is: &Keeps) -> Result<(), Refusal> {
    if let Some(days) = is.days {
        let call = at.logs.put_retention_policy().log_group_name(at.name());
        call.retention_in_days(days).send().await?;
    }
    Ok(())
}
