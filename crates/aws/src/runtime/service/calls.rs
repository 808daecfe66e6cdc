//! Calls about a service that need little but its name, and what several of them share.

use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::Service as SdkService;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::until_taken;

use crate::client::Clients;
use crate::error::Told;
use crate::runtime::refusals::{SETTLING, passes};
use crate::tagging::TagApi;
use crate::tags::TagChanges;

/// The error for a code-only deployment of a service that is not there.
pub(crate) fn absent(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no service `{name}` to deploy to"),
    )
    .hint("`deployer apply` makes it; a code-only one (`--only`) does not")
}

/// Changes the tags of a service; writes nothing where there is nothing to change.
pub(in crate::runtime) async fn retag(
    clients: &Clients,
    name: &str,
    service: &SdkService,
    changes: TagChanges,
) -> Result<()> {
    let arn = service.service_arn().unwrap_or_default();
    let written = TagApi::Ecs.write(clients, arn, changes).await;
    written.told(|| format!("tag service `{name}`"))
}

/// Updates a service, again for a while where ECS refuses that for what passes by itself.
pub(in crate::runtime) async fn send_update(
    clients: &Clients,
    action: &str,
    call: UpdateServiceFluentBuilder,
) -> Result<SdkService> {
    let answer = until_taken(clients.clock(), SETTLING, passes, action, || async {
        call.clone().send().await.told(|| action.to_owned())
    });
    let none = || Error::new(ErrorKind::Rejected, "ECS answered no service");
    answer.await?.service.ok_or_else(none)
}
