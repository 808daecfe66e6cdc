//! What keeps the sessions of ECS Exec from being followed here, as far as it is known before one
//! is opened.

use aws_sdk_ecs::types::{ClusterField, ContainerDefinition};
use deployer_core::error::{Error, ErrorKind, Result};

use crate::client::Clients;

/// The KMS key with which the sessions of the cluster are encrypted. `None` also where that may not
/// be seen, or cannot be: a session that is says so itself.
async fn key(clients: &Clients) -> Option<String> {
    let call = clients.ecs.describe_clusters();
    let call = call.clusters(&clients.cluster.0);
    let answer = call.include(ClusterField::Configurations).send().await;
    let cluster = answer
        .ok()?
        .clusters
        .unwrap_or_default()
        .into_iter()
        .next()?;
    let sessions = cluster.configuration?.execute_command_configuration?;
    sessions.kms_key_id.filter(|key| !key.is_empty())
}

/// Refuses a cluster whose sessions cannot be read here; `instead` is what to do otherwise.
///
/// Errors: rejected, with the key's name.
pub(super) async fn must_be_plain(clients: &Clients, instead: &str) -> Result<()> {
    match key(clients).await {
        None => Ok(()),
        Some(key) => Err(encrypted(
            clients,
            &format!("with the KMS key `{key}`"),
            instead,
        )),
    }
}

/// Of a cluster whose sessions cannot be read here.
pub(super) fn encrypted(clients: &Clients, how: &str, instead: &str) -> Error {
    let cluster = &clients.cluster.0;
    let message = format!("the sessions of cluster `{cluster}` cannot be read");
    Error::new(ErrorKind::Rejected, message)
        .because(format!("they are to be encrypted {how}"))
        .hint(format!(
            "take `kmsKeyId` out of the cluster's `executeCommandConfiguration`, or {instead}"
        ))
}

/// A folder of the agent that a container may have of its own where nothing else of it can be
/// written to (aws-containers/amazon-ecs-exec-checker#71).
const OF_AGENT: &str = "/var/lib/amazon/ssm";

/// Whether the agent of a container finds nothing there that it can write to: "making the root file
/// system read-only using the `readonlyRootFilesystem` task definition parameter, or any other
/// method, isn't supported" (Amazon ECS Developer Guide, "Considerations for using ECS Exec").
pub(super) fn cannot_be_written(container: &ContainerDefinition) -> bool {
    let mut mounts = container.mount_points().iter();
    container.readonly_root_filesystem() == Some(true)
        && !mounts.any(|mount| mount.container_path() == Some(OF_AGENT))
}
