//! What keeps a program from being run once in a task of a service's own definition; performs no
//! IO.
//!
//! "Amazon ECS can restart the container if it exits" (`ContainerRestartPolicy`, Amazon ECS API
//! Reference), by default once it ran for 300 seconds, and RunTask overrides no such policy. A
//! container that is not essential does not end its task. Programs that run once have a definition
//! of their own there, in which both are otherwise.

use aws_sdk_ecs::types::ContainerDefinition;

/// Why a program in this container would not be run once, or never be over; in words.
pub(super) fn obstacle(container: &ContainerDefinition) -> Option<&'static str> {
    let policy = container.restart_policy();
    match policy.is_some_and(|policy| policy.enabled()) {
        true => Some("its container has a restart policy, by which ECS runs it again"),
        false if container.essential() == Some(false) => {
            Some("its container is not essential, and a task goes on without it")
        }
        false => None,
    }
}

/// The same for good in a container that is to be registered.
pub(super) fn put_right(container: &mut ContainerDefinition) {
    container.restart_policy = None;
    container.essential = Some(true);
}
