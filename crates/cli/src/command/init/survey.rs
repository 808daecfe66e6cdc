//! Asks the clouds what is there that a first manifest can name.

use std::sync::Arc;
use std::time::Duration;

use deployer_aws::Aws;
use deployer_aws::spec::AwsSpec;
use deployer_core::address::CloudName;
use deployer_core::capability::{Context, Findings, Survey, Unlisted};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Permit;
use deployer_gcp::Gcp;
use deployer_gcp::spec::GcpSpec;

use super::draft::{AwsDraft, Draft, GcpDraft};

/// Each call ends after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A cloud is not asked for longer: a machine without a login may look for one for a while.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clouds told.
#[derive(Debug, Default)]
pub struct Told {
    /// `None` where AWS was not asked.
    pub aws: Option<Findings>,
    /// `None` where Google Cloud was not asked.
    pub gcp: Option<Findings>,
}

impl Told {
    /// What could not be asked, and of which cloud.
    pub fn unlisted(&self) -> impl Iterator<Item = (CloudName, &Unlisted)> {
        fn of(
            cloud: CloudName,
            found: Option<&Findings>,
        ) -> impl Iterator<Item = (CloudName, &Unlisted)> {
            let unlisted = found.map(|found| found.unlisted.iter());
            unlisted.into_iter().flatten().map(move |it| (cloud, it))
        }
        of(CloudName::Aws, self.aws.as_ref()).chain(of(CloudName::Gcp, self.gcp.as_ref()))
    }
}

/// Asks both clouds at once, as far as the draft knows where: a region on AWS, a project and a
/// region on Google Cloud. `account` is the one that a person named: what is in another one is not
/// for this manifest. `set` are the values of `--set`: of them the targets' endpoints count.
pub async fn ask(
    draft: &Draft,
    account: Option<&str>,
    set: &[String],
    clock: &Arc<dyn Clock>,
) -> Told {
    let aws = draft.aws.as_ref().filter(|it| it.region.is_some());
    let gcp = draft.gcp.as_ref();
    let gcp = gcp.filter(|it| it.project.is_some() && it.region.is_some());
    let (aws, gcp) = tokio::join!(
        async { Some(of_aws(aws?, account, endpoint(set, "aws"), clock).await) },
        async { Some(of_gcp(gcp?, endpoint(set, "gcp"), clock).await) },
    );
    Told { aws, gcp }
}

/// Where the calls of a cloud go instead of there.
fn endpoint(set: &[String], cloud: &str) -> Option<String> {
    let key = format!("targets.{cloud}.endpoint=");
    let mut given = set.iter().rev().filter_map(|it| it.strip_prefix(&key));
    given.next().map(str::to_owned)
}

async fn of_aws(
    draft: &AwsDraft,
    account: Option<&str>,
    endpoint: Option<String>,
    clock: &Arc<dyn Clock>,
) -> Findings {
    let spec = AwsSpec {
        endpoint,
        region: draft.region.clone().unwrap_or_default(),
        ..AwsSpec::default()
    };
    let credentials = deployer_aws::Credentials::new(&spec.region);
    let opened = Aws::open(&spec, context(clock), &credentials).await;
    let found = within(opened, clock).await;
    let reached = found.caller.as_ref().map(|caller| caller.account.clone());
    match (account, reached) {
        (Some(named), Some(reached)) if named != reached => refused(Error::new(
            ErrorKind::Credentials,
            format!("the credentials are for account {reached}, not for {named}"),
        )),
        _ => found,
    }
}

async fn of_gcp(draft: &GcpDraft, given: Option<String>, clock: &Arc<dyn Clock>) -> Findings {
    let spec = GcpSpec {
        endpoint: given,
        project: draft.project.clone().unwrap_or_default(),
        region: draft.region.clone().unwrap_or_default(),
        ..GcpSpec::default()
    };
    let endpoint = std::env::var("DEPLOYER_GCP_ENDPOINT").ok();
    let endpoint = endpoint.filter(|url| !url.is_empty());
    let opened = async { Gcp::open(&spec, endpoint, context(clock)).await };
    tokio::select! {
        opened = opened => within(opened, clock).await,
        () = clock.pause(PATIENCE) => refused(too_late()),
    }
}

fn context(clock: &Arc<dyn Clock>) -> Context {
    Context {
        clock: Arc::clone(clock),
        call_timeout: CALL_TIMEOUT,
        permit: Permit::default(),
    }
}

async fn within(cloud: Result<impl Survey>, clock: &Arc<dyn Clock>) -> Findings {
    let cloud = match cloud {
        Ok(cloud) => cloud,
        Err(error) => return refused(error),
    };
    tokio::select! {
        found = cloud.survey() => found,
        () = clock.pause(PATIENCE) => refused(too_late()),
    }
}

fn too_late() -> Error {
    let seconds = PATIENCE.as_secs();
    Error::new(ErrorKind::TimedOut, format!("no answer within {seconds} s"))
}

/// Nothing but the reason.
fn refused(error: Error) -> Findings {
    Findings {
        unlisted: vec![Unlisted {
            what: "what is there".to_owned(),
            error,
        }],
        ..Findings::default()
    }
}
