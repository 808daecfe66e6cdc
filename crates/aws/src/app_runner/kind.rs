//! What a service is by its address alone: `app_runner.service`, read, removed, let go.

use aws_sdk_apprunner::types::Service as SdkService;
use deployer_core::kind::Refused;
use deployer_core::wait::{Look, Pace, poll};

use super::autopsy;
use super::calls::{self, OTHERS, WRONG_STATE};
use super::described::fields_of;
use super::service::Service;
use super::vpc_connector::first_part;
use crate::permissions::service_linked_role;
use crate::site::prelude::*;

impl Kind for Service {
    type Site = Clients;
    type Is = SdkService;
    const KIND: &'static str = "app_runner.service";
    const NOUN: &'static str = "App Runner service";
    const TIER: Tier = Tier::Service;
    const DATA: Data = Data::None;
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
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
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
        delete(at, &there.id).await
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

/// Deletes a service, and waits until it is gone.
pub(super) async fn delete(clients: &Clients, arn: &str) -> Result<(), Refusal> {
    let call = clients.app_runner.delete_service().service_arn(arn);
    match call.send().await.map_err(Refusal::from) {
        Ok(_) => {}
        Err(refusal) if refusal.is_one_of(Service::ABSENT) => return Ok(()),
        Err(refusal) => return Err(refusal),
    }
    let what = "the deleted service";
    let gone = poll(clients.clock(), Pace::until(OTHERS), what, || async {
        let seen = calls::describe(clients, arn).await;
        let seen = seen.map_err(|refusal| refusal.of("read a service that is deleted"))?;
        match seen {
            None => Ok(Look::Found(())),
            Some(service) if calls::is_busy(&service) => {
                Ok(Look::NotYet("it is being deleted".to_owned()))
            }
            Some(service) => {
                let status = service.status().as_str();
                let message = format!("App Runner did not delete the service: it is {status}");
                let error = deployer_core::error::Error::new(
                    deployer_core::error::ErrorKind::Failed,
                    message,
                );
                Err(error.hint("run the same command again: the deletion is tried once more"))
            }
        }
    });
    gone.await.map_err(Refusal::from)
}
