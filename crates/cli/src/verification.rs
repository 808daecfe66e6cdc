//! Examines what serves: what `verify` shows, and the last step of `apply`.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Cloud, Entrance, LetIn, Serving};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Action;
use deployer_core::report::{Event, Reporter};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec, TokenCheck};
use deployer_verify::{
    Absentee, Credentials, Examination, Finding, Outcome, Overall, Pass, Settings, Subject,
    Verifier, Word, cross_verify,
};
use secrecy::SecretString;
use url::Url;

use crate::session::{Place, Session};

/// A load balancer takes about a minute to send traffic to targets that just became healthy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// No check of a service that serves takes longer.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// What is examined, and how patiently.
pub struct Wanted<'a> {
    pub places: Vec<&'a Place>,
    /// By the manifest's names.
    pub services: Vec<String>,
    /// How long a service may take to become healthy.
    pub patience: Duration,
    /// By whose word callers are let in.
    pub let_in: LetIn,
    /// How long it may answer that the caller is not let in.
    pub admission: Duration,
    /// When each request is given up.
    pub timeout: Duration,
}

/// What was found out about one service on one target.
pub struct Verified {
    pub cloud: CloudName,
    pub service: String,
    /// Where it was asked; or why it was not.
    pub address: Result<Url, String>,
    /// The cloud's own word, where it could be heard.
    pub serving: Option<Serving>,
    pub findings: Vec<Finding>,
    pub took: Duration,
}

impl Verified {
    /// What the findings come to. The cloud's word alone verifies nothing: the service itself must
    /// have been asked.
    pub fn overall(&self) -> Overall {
        match (Overall::of(&self.findings), &self.address) {
            (Overall::Passed, Err(_)) => Overall::Skipped,
            (overall, _) => overall,
        }
    }

    /// `5 checks passed, 1 failed, 2 skipped`.
    pub fn counts(&self) -> String {
        counts(&self.findings)
    }
}

/// `5 checks passed, 1 failed, 2 skipped`.
pub fn counts(findings: &[Finding]) -> String {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for finding in findings {
        *match finding.outcome {
            Outcome::Passed | Outcome::Warned(_) => &mut passed,
            Outcome::Failed => &mut failed,
            Outcome::Skipped(_) => &mut skipped,
        } += 1;
    }
    let checks = if passed == 1 { "check" } else { "checks" };
    let mut text = format!("{passed} {checks} passed");
    for (count, word) in [(failed, "failed"), (skipped, "skipped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// Examines every service on every place at once, then each target's tokens with the other targets'
/// keys. Ordered by target, then by service.
///
/// Errors: internal, when this machine trusts no certificates at all. What a cloud or a service
/// does not answer is a finding.
pub async fn examine(
    session: &Session,
    wanted: &Wanted<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<Verified>> {
    let verifier = Verifier::new(
        Arc::clone(&session.clock),
        Settings {
            patience: wanted.patience,
            admission: wanted.admission,
            timeout: wanted.timeout,
            extra_roots: Vec::new(),
        },
    )?;
    let absent = absentees(session, wanted);
    let services = wanted.services.iter().map(|key| {
        let (verifier, absent) = (&verifier, &absent);
        async move { examine_service(session, wanted, key, verifier, absent, reporter).await }
    });
    let mut verified: Vec<Verified> = futures::future::join_all(services)
        .await
        .into_iter()
        .flatten()
        .collect();
    verified.sort_by(|one, other| (one.cloud, &one.service).cmp(&(other.cloud, &other.service)));
    Ok(verified)
}

/// The targets of the manifest that are not looked at: their keys are not known.
fn absentees(session: &Session, wanted: &Wanted<'_>) -> Vec<Absentee> {
    let is_here = |cloud: &CloudName| wanted.places.iter().any(|place| place.name() == *cloud);
    let why = |cloud: CloudName| {
        if session.failed.iter().any(|(failed, _)| *failed == cloud) {
            return format!("{cloud} cannot be worked on");
        }
        match session.places.iter().any(|place| place.name() == cloud) {
            true => format!("{cloud} did not get there"),
            false => format!("{cloud} was not asked for"),
        }
    };
    let clouds = session.loaded.manifest.targets().into_iter();
    clouds
        .filter(|cloud| !is_here(cloud))
        .map(|cloud| Absentee {
            target: cloud.to_string(),
            why: why(cloud),
        })
        .collect()
}

async fn examine_service(
    session: &Session,
    wanted: &Wanted<'_>,
    key: &str,
    verifier: &Verifier,
    absent: &[Absentee],
    reporter: &dyn Reporter,
) -> Vec<Verified> {
    let here: Vec<(&Place, &ServiceSpec)> = wanted
        .places
        .iter()
        .filter_map(|place| Some((*place, place.env.services.get(key)?)))
        .collect();
    let examined = here.iter().map(|(place, service)| async move {
        let started = session.clock.now();
        let address = Address::new(place.cloud.target(), "verify", &service.name);
        reporter.event(&Event::Started {
            address: &address,
            action: Action::NoOp,
        });
        let (subject, serving) = subject(place, service, wanted.let_in).await;
        let examination = verifier.examine(&subject).await;
        let took = session.clock.now().duration_since(started);
        (
            address,
            examination,
            serving,
            took.try_into().unwrap_or_default(),
        )
    });
    let (mut examinations, rest): (Vec<Examination>, Vec<_>) = futures::future::join_all(examined)
        .await
        .into_iter()
        .map(|(address, examination, serving, took)| (examination, (address, serving, took)))
        .unzip();
    cross_verify(&mut examinations, absent, || session.clock.now());
    examinations
        .into_iter()
        .zip(rest)
        .map(|(examination, (address, serving, took))| {
            let verified = Verified {
                cloud: address.cloud,
                service: key.to_owned(),
                address: examination.address,
                serving,
                findings: examination.findings,
                took,
            };
            tell(&verified, &address, reporter);
            verified
        })
        .collect()
}

fn tell(verified: &Verified, address: &Address, reporter: &dyn Reporter) {
    let took = verified.took;
    match verified.overall() {
        Overall::Passed | Overall::Skipped => reporter.event(&Event::Done {
            address,
            action: Action::NoOp,
            took,
        }),
        Overall::Failed => {
            let error = Error::new(ErrorKind::Untrue, verified.counts());
            reporter.event(&Event::Failed {
                address,
                error: &error,
                took,
            });
        }
    }
}

/// Asks the cloud what a service's checks need to know.
async fn subject(
    place: &Place,
    service: &ServiceSpec,
    let_in: LetIn,
) -> (Subject, Option<Serving>) {
    let runtime = place.cloud.services();
    let (said, entrance, credentials) = futures::join!(
        place.serving(service),
        runtime.entrance(service, let_in),
        credentials(
            place.cloud.as_ref(),
            &place.env,
            service.verify.token.as_ref()
        )
    );
    let serving = said.as_ref().ok().cloned().flatten();
    let (pass, shut) = match entrance {
        Ok(Entrance::With { header, value }) => (Some(Pass { header, value }), None),
        Ok(Entrance::Locked(why) | Entrance::Inside(why)) => (None, Some(why)),
        // What the cloud does not tell is found out at the door.
        Ok(Entrance::Open) | Err(_) => (None, None),
    };
    let subject = Subject {
        target: place.name().to_string(),
        address: match (&said, shut) {
            (Ok(None), _) => Err(format!("{} has no such service", place.name())),
            (Ok(Some(_)) | Err(_), Some(why)) => Err(why),
            (Ok(Some(_)) | Err(_), None) => address(place, service, serving.as_ref()),
        },
        pass,
        health: service.health.path.clone(),
        spec: service.verify.clone(),
        credentials,
        serving: match said {
            Ok(said) => Word::Said(said),
            Err(error) if is_forbidden(&error) => Word::Withheld(words(&error)),
            Err(error) => Word::Unheard(words(&error)),
        },
    };
    (subject, serving)
}

/// Where people reach the service: what the manifest says, else its name in the DNS, else the
/// cloud's own answer.
fn address(place: &Place, service: &ServiceSpec, said: Option<&Serving>) -> Result<Url, String> {
    let record = service.record.as_ref().map(|record| &record.name);
    let names = record.into_iter().chain(&service.domains);
    let mut named = names.map(|name| format!("https://{name}"));
    // The sandbox's names are in no DNS that this machine asks.
    let is_unknown = |url: &String| {
        place.cloud.target().sandbox
            && service
                .domains
                .iter()
                .any(|it| url.ends_with(&format!("//{it}")))
    };
    let text = service
        .url
        .clone()
        .filter(|url| !is_unknown(url))
        .or_else(|| named.next().filter(|_| !place.cloud.target().sandbox))
        .or_else(|| said.and_then(|serving| serving.url.clone()))
        .ok_or_else(|| {
            format!(
                "no address is known; set targets.{}.services.{}.url",
                place.name(),
                service.key
            )
        })?;
    text.parse()
        .map_err(|_| format!("`{text}` is no address: write https://HOST"))
}

/// Reads the client that the manifest names from the target's secrets.
pub async fn credentials(
    cloud: &dyn Cloud,
    env: &EnvironmentSpec,
    token: Option<&TokenCheck>,
) -> Credentials {
    let Some(token) = token else {
        return Credentials::NotNeeded;
    };
    let both = futures::join!(
        secret(cloud, env, &token.client_id),
        secret(cloud, env, &token.client_secret)
    );
    match both {
        (Ok(id), Ok(secret)) => Credentials::Given { id, secret },
        (Err(absence), _) | (_, Err(absence)) => absence,
    }
}

async fn secret(
    cloud: &dyn Cloud,
    env: &EnvironmentSpec,
    key: &str,
) -> Result<SecretString, Credentials> {
    let Some(spec) = env.secrets.get(key) else {
        return Err(Credentials::Missing(format!("there is no secret `{key}`")));
    };
    match cloud.secrets().value(&spec.name).await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Credentials::Missing(format!("secret `{key}` has no value"))),
        Err(error) if is_forbidden(&error) => Err(Credentials::Withheld(words(&error))),
        Err(error) => Err(Credentials::Missing(words(&error))),
    }
}

/// A role that may only deploy does not make the service any worse.
fn is_forbidden(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied
}

fn words(error: &Error) -> String {
    error.chain().join(": ")
}

/// Findings as JSON, with what they come to.
pub fn document(verified: &Verified) -> serde_json::Value {
    let (url, why) = match &verified.address {
        Ok(url) => (Some(url), None),
        Err(why) => (None, Some(why)),
    };
    let mut document = serde_json::json!({
        "cloud": verified.cloud, "service": verified.service, "url": url,
        "overall": verified.overall(), "findings": verified.findings,
        "seconds": verified.took.as_secs_f64(),
    });
    if let Some(why) = why {
        document["no_url"] = serde_json::json!(why);
    }
    document
}
