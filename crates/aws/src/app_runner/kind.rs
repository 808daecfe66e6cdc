//! What a service is by its address alone: `app_runner.service`, read, removed, let go.

use aws_sdk_apprunner::types::Service as SdkService;

use super::autopsy;
use super::calls::{self, OTHERS, WRONG_STATE};
use super::described::fields_of;
use super::service::Service;
use super::vpc_connector::first_part;
use crate::access::service_linked_role;
use crate::site::prelude::*;

impl Kind for Service {
    type Site = Clients;
    type Is = SdkService;
    const KIND: &'static str = "app_runner.service";
    const NOUN: &'static str = "App Runner service";
    const ROLE: Role = Role::Service;
    const TIER: Tier = Tier::Service;
    const DATA: Data = Data::None;
    const MEANS: Meaning = Meaning {
        // Whatever else changes it is an operation that deploys.
        rolls_out: |field| !field.starts_with("tags."),
        follows: |field| field == "rollout",
        ..Meaning::PLAIN
    };
    const FACTS: Facts = Facts {
        // `NAME/ID`.
        arn: Some(Arn::named("apprunner", "service", first_part)),
        access: Access {
            feature: Feature::AppRunner,
            read: &[
                grant(&["apprunner:ListServices"], ANYTHING),
                grant(
                    &[
                        "apprunner:DescribeService",
                        "apprunner:ListOperations",
                        "apprunner:ListTagsForResource",
                    ],
                    APP_RUNNER_SERVICES,
                ),
            ],
            change: &[
                // What a service is made of is allowed beside it.
                grant(
                    &[
                        "apprunner:CreateService",
                        "apprunner:StartDeployment",
                        "apprunner:UpdateService",
                    ],
                    APP_RUNNER_SERVICES_WITH_PARTS,
                ),
                grant(
                    &[
                        "apprunner:DeleteService",
                        "apprunner:PauseService",
                        "apprunner:ResumeService",
                        "apprunner:TagResource",
                        "apprunner:UntagResource",
                    ],
                    APP_RUNNER_SERVICES,
                ),
                given(&["iam:PassRole"], ACCESS_ROLE, TO_APP_RUNNER),
                given(&["iam:PassRole"], TASK_ROLE, TO_INSTANCES),
                service_linked_role!("apprunner.amazonaws.com", "AWSServiceRoleForAppRunner"),
            ],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = calls::ABSENT;
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    /// A service is deleted in whatever state but in the middle of an operation.
    const IN_USE: Passing = Passing {
        codes: &[WRONG_STATE],
        why: "another operation of it is under way",
        patience: OTHERS,
    };

    fn describe(is: &SdkService, to: &mut Description) {
        to.extend(&fields_of(is));
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<SdkService>>, Refusal> {
        let Some(service) = calls::find(at, at.name()).await? else {
            return Ok(Reading::Absent);
        };
        Ok(Reading::Present(There {
            id: service.service_arn().to_owned(),
            tags: calls::tags(at, &service).await?,
            is: service,
        }))
    }

    /// Until it is gone: only then may go what it is made of, and its name is free.
    async fn remove(
        at: &At<Clients>,
        there: &There<SdkService>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        calls::delete(at, &there.id).await
    }

    /// App Runner deletes the image's copy and the configuration, among others ("What does App
    /// Runner delete?", Developer Guide). That it keeps the log groups that it made follows from
    /// their absence in that list: ours.
    fn farewell(_at: &At<Clients>, there: &There<SdkService>) -> Vec<String> {
        let groups = autopsy::log(&there.is, "*");
        vec![format!(
            "its logs stay: App Runner made the log groups `{groups}` and deletes none"
        )]
    }
}

impl Tagged for Service {
    async fn mark(
        at: &At<Clients>,
        there: &There<SdkService>,
        by: TagChanges,
    ) -> Result<(), Refusal> {
        TagApi::AppRunner.write(at, &there.id, by).await
    }
}
