//! How many instances a service has beside what its revisions say: counted by hand, or held below
//! that for all together; pure.

use deployer_core::spec::Replicas;
use google_cloud_run_v2::model::service_scaling::ScalingMode;
use google_cloud_run_v2::model::{Service, ServiceScaling};

/// A number as Cloud Run's API has it.
pub(crate) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether somebody counts the instances: "If you set your service to manual scaling, any
/// revision-level minimum and maximum instance settings are ignored"
/// (<https://docs.cloud.google.com/run/docs/configuring/services/manual-scaling>).
fn is_manual(scaling: &ServiceScaling) -> bool {
    scaling.scaling_mode == ScalingMode::Manual
}

/// Whether somebody counted its instances to none, which disables the service (the same page).
pub(crate) fn is_switched_off(service: &Service) -> bool {
    let scaling = service.scaling.as_ref();
    scaling.is_some_and(|it| is_manual(it) && it.manual_instance_count == Some(0))
}

/// The scaling of the service with which its revisions' counts are in force.
///
/// Who switches from manual to automatic without both a minimum and a maximum of the service has it
/// inherit the manual count as both (the same page, "Switching between automatic and manual
/// scaling"): both are said.
pub(crate) fn by_revision(
    there: Option<ServiceScaling>,
    replicas: &Replicas,
) -> Option<ServiceScaling> {
    let there = there?;
    let (least, most) = (count(replicas.min), count(replicas.max));
    Some(match is_manual(&there) {
        true => there
            .set_scaling_mode(ScalingMode::Automatic)
            .set_or_clear_manual_instance_count(None::<i32>)
            .set_min_instance_count(least)
            .set_max_instance_count(most),
        // "Combined maximum number of instances for all revisions receiving traffic."
        false if is_lower(&there, most) => there.set_max_instance_count(0),
        false => there,
    })
}

fn is_lower(scaling: &ServiceScaling, most: i32) -> bool {
    (1..most).contains(&scaling.max_instance_count)
}

/// What is in force instead of the revisions' own counts, of which `most` is the largest. `None`
/// where they are in force.
pub(crate) fn show(service: &Service, most: i32) -> Option<String> {
    let scaling = service.scaling.as_ref()?;
    match is_manual(scaling) {
        true => {
            let count = scaling.manual_instance_count.unwrap_or_default();
            Some(match count {
                1 => "manual, 1 instance".to_owned(),
                count => format!("manual, {count} instances"),
            })
        }
        false => is_lower(scaling, most)
            .then(|| format!("at most {} instances in all", scaling.max_instance_count)),
    }
}
