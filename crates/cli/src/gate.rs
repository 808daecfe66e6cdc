//! Asks candidates before they get traffic: what the gate of a roll-out is on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::CloudName;
use deployer_core::capability::{Cloud, Entrance, LetIn};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::gate::{Candidate, Checks, Passage};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_verify::{Examination, Finding, Outcome, Overall, Settings, Subject, Verifier, Word};
use serde_json::json;

use crate::args::Global;
use crate::session::Place;
use crate::system::Stop;
use crate::verification::{PATIENCE, TIMEOUT, counts, credentials};
use crate::view::{self, foreign};

/// The gates of one run. Cheap to clone.
#[derive(Clone)]
pub struct Gates {
    /// A person may stop them.
    stop: Stop,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What a candidate answered.
struct Heard {
    cloud: CloudName,
    service: String,
    candidate: Candidate,
    findings: Vec<Finding>,
    /// Why that says nothing of it.
    left_out: Option<String>,
}

impl Gates {
    pub fn new(stop: &Stop) -> Self {
        Self {
            stop: stop.clone(),
            heard: Arc::default(),
        }
    }

    /// Who asks the candidates of each service of a target, by the manifest's names. A service of
    /// which nothing is asked but the health path has no gate: the start-up probe has asked for
    /// that already.
    pub fn of_place(
        &self,
        place: &Place,
        clock: &Arc<dyn Clock>,
    ) -> BTreeMap<String, Arc<dyn Checks>> {
        let services = place.env.services.iter();
        let asked = services.filter(|(_, service)| service.verify.asks_anything());
        asked
            .map(|(key, service)| {
                let gate: Arc<dyn Checks> = Arc::new(OfService {
                    gates: self.clone(),
                    cloud: Arc::clone(&place.cloud),
                    env: place.env.clone(),
                    service: service.clone(),
                    clock: Arc::clone(clock),
                });
                (key.clone(), gate)
            })
            .collect()
    }

    /// Says what the candidates answered: a line where all is well, everything where it is not.
    pub fn tell(&self, global: &Global) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for one in heard.iter() {
            match global.json {
                true => view::json_line(&one.document()),
                false => one.tell(),
            }
        }
    }
}

impl Heard {
    fn document(&self) -> serde_json::Value {
        json!({
            "event": "gate", "cloud": self.cloud, "service": self.service,
            "candidate": self.candidate.revision, "url": self.candidate.url,
            "overall": self.overall(), "findings": self.findings, "not_asked": self.left_out,
        })
    }

    fn overall(&self) -> Overall {
        match self.left_out {
            Some(_) => Overall::Skipped,
            None => Overall::of(&self.findings),
        }
    }

    fn tell(&self) {
        let (cloud, service, candidate) = (self.cloud, &self.service, &self.candidate.revision);
        let counts = counts(&self.findings);
        match (self.overall(), &self.left_out) {
            (Overall::Failed, _) => {
                sayln!("\n{cloud}: candidate `{candidate}` of `{service}` failed: {counts}");
                say!("{}", view::findings::render(&self.findings));
                sayln!("  it was given no traffic");
            }
            (Overall::Skipped, Some(why)) => noteln!(
                "{cloud}: candidate `{candidate}` of `{service}` got the traffic unasked: {}",
                foreign::words(why)
            ),
            (Overall::Passed | Overall::Skipped, _) => noteln!(
                "{cloud}: candidate `{candidate}` of `{service}` was verified before it got the traffic: {counts}"
            ),
        }
    }
}

/// Asks the candidates of one service.
struct OfService {
    gates: Gates,
    cloud: Arc<dyn Cloud>,
    env: EnvironmentSpec,
    service: ServiceSpec,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for OfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfService({})", self.service.name)
    }
}

#[async_trait]
impl Checks for OfService {
    async fn ask(&self, candidate: &Candidate) -> Result<Passage> {
        tokio::select! {
            biased;
            () = self.gates.stop.requested_at_last() => Err(Error::new(
                ErrorKind::Interrupted,
                "the run was stopped while the candidate was verified",
            )
            .hint("it was given no traffic; run the same command again")),
            asked = self.examine(candidate) => asked,
        }
    }
}

impl OfService {
    async fn examine(&self, candidate: &Candidate) -> Result<Passage> {
        let settings = Settings {
            patience: PATIENCE,
            admission: Duration::ZERO,
            timeout: TIMEOUT,
            extra_roots: Vec::new(),
        };
        let verifier = Verifier::new(Arc::clone(&self.clock), settings)?;
        let subject = match self.subject(candidate).await {
            Ok(subject) => subject,
            Err(why) => return Ok(self.leave_out(candidate, Vec::new(), why)),
        };
        let examination = verifier.examine_candidate(&subject).await;
        if let Some(status) = examination.turned_away {
            let why = format!(
                "its own address answers {status} at `{}`, where the start-up probe was answered well",
                self.service.health.path
            );
            return Ok(self.leave_out(candidate, examination.findings, why));
        }
        self.judge(candidate, examination)
    }

    /// What the checks need to know; or why nobody can ask.
    async fn subject(&self, candidate: &Candidate) -> Result<Subject, String> {
        let runtime = self.cloud.services();
        let (entrance, credentials) = futures::join!(
            // Who may call it is changed when it serves.
            runtime.entrance(&self.service, LetIn::Cloud),
            credentials(
                self.cloud.as_ref(),
                &self.env,
                self.service.verify.token.as_ref()
            )
        );
        let pass = match entrance {
            Ok(Entrance::With { header, value }) => Some(deployer_verify::Pass { header, value }),
            Ok(Entrance::Locked(why) | Entrance::Inside(why)) => return Err(why),
            // What the cloud does not tell is found out at the door.
            Ok(Entrance::Open) | Err(_) => None,
        };
        let address = candidate.url.parse();
        let address = address.map_err(|_| format!("`{}` is no address", candidate.url))?;
        Ok(Subject {
            target: self.cloud.target().cloud.to_string(),
            address: Ok(address),
            health: self.service.health.path.clone(),
            spec: self.service.verify.clone(),
            pass,
            credentials,
            // A candidate does not serve.
            serving: Word::Said(None),
        })
    }

    fn judge(&self, candidate: &Candidate, examination: Examination) -> Result<Passage> {
        let findings = examination.findings;
        let counts = counts(&findings);
        let failed = findings.iter().filter(|it| it.outcome == Outcome::Failed);
        let failed = failed.map(|it| format!("{}: {}, not {}", it.check, it.got, it.expected));
        let failed: Vec<String> = failed.collect();
        self.hear(candidate, findings, None);
        match failed.is_empty() {
            true => Ok(Passage::Passed(counts)),
            false => {
                let message = format!(
                    "candidate `{}` of `{}` was given no traffic: {counts}",
                    candidate.revision, self.service.key
                );
                Err(Error::new(ErrorKind::Unverified, message)
                    .because(failed.join("; "))
                    .hint("correct the image or the configuration and apply again"))
            }
        }
    }

    fn leave_out(&self, candidate: &Candidate, findings: Vec<Finding>, why: String) -> Passage {
        self.hear(candidate, findings, Some(why.clone()));
        Passage::NotAsked(why)
    }

    fn hear(&self, candidate: &Candidate, findings: Vec<Finding>, left_out: Option<String>) {
        let heard = Heard {
            cloud: self.cloud.target().cloud,
            service: self.service.key.clone(),
            candidate: candidate.clone(),
            findings,
            left_out,
        };
        let mut all = self
            .gates
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(heard);
    }
}
