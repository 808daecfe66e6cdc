//! The start of a migration: RunTask, with a token that a start whose reply was lost is known by.

use std::sync::{Mutex, PoisonError};

use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::operation::run_task::{RunTaskError, RunTaskOutput};
use aws_sdk_ecs::types::{ContainerOverride, LaunchType, Tag, Task, TaskOverride};
use deployer_core::capability::Revision;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Token;
use deployer_core::wait::{Look, Pace, poll};
use uuid::Uuid;

use super::migration::{Migration, Program};
use super::migration_tasks::started_by;
use super::refusals::{NO_ROOM, PASSING, SETTLING};
use super::service_calls;
use super::task_definition::short;
use crate::error::{failure, words};

impl Migration {
    /// Starts it, again for a while where ECS refuses that for what passes by itself. Returns its task.
    pub(super) async fn start(&self, key: &str, token: Uuid) -> Result<String> {
        let command = match self.program {
            Program::Override => Some(self.spec.command.clone()),
            Program::OfDefinition => None,
        };
        let overrides = command.map(|command| {
            let command = ContainerOverride::builder()
                .name(&self.names.container)
                .set_command(Some(command))
                .build();
            TaskOverride::builder().container_overrides(command).build()
        });
        let definition = self.definition.settled()?.0;
        let what = format!("the start of the migration of `{}`", self.names.service);
        let full = Mutex::new(None);
        let answer = poll(
            self.clients.clock(),
            Pace::until(SETTLING),
            &what,
            || async {
                let answer = self
                    .try_to_start(key, token, &definition, overrides.clone())
                    .await?;
                match answer {
                    Err(error) if PASSING.iter().any(|it| words(&error).contains(it)) => {
                        Ok(Look::NotYet(words(&error).to_owned()))
                    }
                    Ok(answer) if has_no_room(&answer) => {
                        let why = reasons(&answer);
                        *full.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
                        Ok(Look::NotYet(why))
                    }
                    answer => Ok(Look::Found(answer)),
                }
            },
        )
        .await;
        let full = full.into_inner().unwrap_or_else(PoisonError::into_inner);
        let answer = match (answer, full) {
            (Err(error), Some(why)) if error.kind() == ErrorKind::TimedOut => {
                return Err(self.no_room(key, why).await?);
            }
            (answer, _) => answer?,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // The task that this token started before, of another revision with the same image.
                if let Some(arn) = conflicting(&error) {
                    return Ok(arn);
                }
                return Err(failure(
                    &error,
                    &format!("start the migration of `{}`", self.names.service),
                ));
            }
        };
        if let Some(arn) = answer.tasks().first().and_then(Task::task_arn) {
            return Ok(arn.to_owned());
        }
        Err(Error::new(
            ErrorKind::Rejected,
            format!(
                "cannot start the migration of `{}` as {}: {}",
                self.names.service,
                short(&definition),
                reasons(&answer)
            ),
        ))
    }

    /// Notes that nothing of it ran, there being no room for it; the error that says so.
    async fn no_room(&self, key: &str, why: String) -> Result<Error> {
        let message = format!(
            "the migration of `{}` could not be started: {why}",
            self.names.service
        );
        self.record.not_started(key, NO_TASK, why).await?;
        Ok(Error::new(ErrorKind::Unavailable, message).hint(
            "nothing of it ran: `deployer apply` starts it again; subnets in more zones give Fargate more room",
        ))
    }

    /// The call itself. The outer error is ours, the inner one is ECS's.
    async fn try_to_start(
        &self,
        key: &str,
        token: Uuid,
        definition: &str,
        overrides: Option<TaskOverride>,
    ) -> Result<Result<RunTaskOutput, SdkError<RunTaskError>>> {
        let tags = self.tags.iter();
        let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags: Vec<Tag> = tags.collect();
        let answer = self
            .clients
            .ecs
            .run_task()
            .cluster(&self.clients.section.cluster)
            .task_definition(definition)
            .count(1)
            .launch_type(LaunchType::Fargate)
            .network_configuration(service_calls::network(&self.clients.section)?)
            .set_overrides(overrides)
            .started_by(started_by(key))
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .client_token(token.to_string())
            .send()
            .await;
        Ok(answer)
    }
}

/// The name of a task that there never was.
const NO_TASK: &str = "none";

/// Why ECS started nothing.
fn reasons(answer: &RunTaskOutput) -> String {
    let failures = answer.failures().iter();
    let reasons: Vec<&str> = failures.filter_map(|failure| failure.reason()).collect();
    reasons.join(", ")
}

/// Whether ECS started nothing because there is no room for it now.
fn has_no_room(answer: &RunTaskOutput) -> bool {
    answer.tasks().is_empty() && reasons(answer).contains(NO_ROOM)
}

/// The task that a client token belongs to, when its parameters differ from those of its first use.
fn conflicting(error: &SdkError<RunTaskError>) -> Option<String> {
    match error.as_service_error()? {
        RunTaskError::ConflictException(conflict) => conflict.resource_ids().first().cloned(),
        _ => None,
    }
}

/// The idempotency token of a key's only execution. With the revision in it, because a key may come again after a
/// destroy - secrets are restored with their versions - while ECS remembers for a day what a token was used for.
pub(super) fn client_token(key: &str, definition: &Revision) -> Uuid {
    let of_key =
        Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()));
    Uuid::new_v5(&of_key, definition.0.as_bytes())
}

/// Another execution in the place of one of which nothing ran.
pub(super) fn token_after(key: &str, definition: &Revision, never_started: &str) -> Uuid {
    Uuid::new_v5(&client_token(key, definition), never_started.as_bytes())
}

/// A word of a person's makes one more execution, once per run.
pub(super) fn retry_token(key: &str, definition: &Revision, token: &Token) -> Uuid {
    Uuid::new_v5(&client_token(key, definition), token.0.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_key_gives_the_same_token_each_time_and_a_retry_or_another_revision_another_one() {
        let revision = |number| Revision(format!("arn:aws:ecs:r:1:task-definition/idp:{number}"));
        let token = client_token(KEY, &revision(1));
        assert_eq!(token, client_token(KEY, &revision(1)));
        assert_ne!(token, client_token(KEY, &revision(2)));
        let retry = |run: &str| retry_token(KEY, &revision(1), &Token(run.into()));
        assert_ne!(retry("run-1"), token);
        assert_ne!(retry("run-1"), retry("run-2"));
        let after = |task: &str| token_after(KEY, &revision(1), task);
        assert_eq!(after("task/1"), after("task/1"));
        assert_ne!(after("task/1"), after("task/2"));
        assert_ne!(after("task/1"), token);
        assert_eq!(started_by(KEY).len(), 36);
    }
}
