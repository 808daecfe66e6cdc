//! Creating what Cloud Run refuses for a while: a name that was just given up, an account that it
//! has yet to hear of.

use std::future::Future;
use std::time::Duration;

use deployer_core::error::Result;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_longrunning::model::Operation;

use crate::error::{self, CloudError};
use crate::project::Project;

/// How long the name of something that was deleted may stay taken: "Cloud Run APIs may return a 409
/// on create to indicate that a resource has been deleted in the foreground (eg GET and LIST) but
/// not the backing apiserver" (`IsCloudRunCreationConflict` in terraform-provider-google's
/// error_retry_predicates.go).
const NAME_LINGERS: Duration = Duration::from_secs(2 * 60);

/// Creates with `create` as soon as that is not refused for what passes by itself; `is_there` tells
/// whether something of the name can be seen.
///
/// Errors: what `is_there` fails with; timed out, when the name stays taken by what cannot be seen.
pub(crate) async fn patiently<C, CF, T, TF>(
    project: &Project,
    what: &str,
    watch: &dyn Watch,
    create: C,
    is_there: T,
) -> Result<Result<Operation, CloudError>>
where
    C: Fn() -> CF,
    CF: Future<Output = Result<Operation, CloudError>>,
    T: Fn() -> TF,
    TF: Future<Output = Result<bool>>,
{
    let clock = project.context.clock.as_ref();
    let unknown = || project.apis.gets_about(clock.elapsed());
    let pace = || Pace::until(NAME_LINGERS.max(unknown()));
    let (create, is_there, unknown) = (&create, &is_there, &unknown);
    let not_yet = |why: &str| {
        watch.note(why);
        Ok(Look::NotYet(why.to_owned()))
    };
    let not_yet = &not_yet;
    poll(clock, pace(), what, || async move {
        match create().await {
            Err(error) if error::exists_already(&error) && !is_there().await? => {
                not_yet("its name is still taken by one that was deleted")
            }
            Err(error) if error::is_new_account(&error) && !unknown().is_zero() => not_yet(
                "Cloud Run does not know yet the accounts of the APIs that were switched on",
            ),
            outcome => Ok(Look::Found(outcome)),
        }
    })
    .await
}
