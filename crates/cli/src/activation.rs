//! Makes an earlier release serve again. The hold is durable before the first call, and one that was killed is finished by the
//! next command in the same way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Activation, Cloud, Revision, SecretVersion};
use deployer_core::engine::Verdict;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::ledger::{Hold, Release};
use deployer_core::node::{Evidence, Step, Token, Watch};
use deployer_core::ours::Owner;
use deployer_core::plan::{self, Prepared, Subject};
use deployer_core::spec::OnRollback;

use crate::left;
use crate::record::Recorded;
use crate::run::{self, Journals, Manner};
use crate::session::{Place, Session};
use crate::system::{self, Stop};
use crate::work::HeldService;

/// What is going to serve on one target.
pub struct Choice<'a> {
    pub place: &'a Place,
    /// The service, by the manifest's name.
    pub service: String,
    pub from: Release,
    pub to: Release,
    /// Secrets that follow, by the manifest's names: the versions that are current now.
    pub follow: BTreeMap<String, SecretVersion>,
}

impl<'a> Choice<'a> {
    /// Looks up whether `to` can still serve, and which of its secrets follow.
    ///
    /// Errors: not found, when its revision or one of them is gone; those of reading them.
    pub async fn new(place: &'a Place, from: Release, to: Release) -> Result<Self> {
        let pinned = place.cloud.runtime().pinned(&to.revision).await;
        pinned.map_err(|error| gone(error, &to, place))?;
        let follow = following(place, &to).await?;
        Ok(Self {
            place,
            service: to.service.clone(),
            from,
            to,
            follow,
        })
    }

    /// The rest of a rollback that did not come to its end. `None` when only its last entry is missing; that is made up for.
    ///
    /// Errors: ledger, when a release that the hold names is not there.
    pub async fn unfinished(place: &'a Place, held: &HeldService) -> Result<Option<Self>> {
        let releases = place.ledger.releases(&held.service).await?;
        let numbered = |number: u64| {
            let found = releases.iter().find(|release| release.number == number);
            found.cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::Ledger,
                    format!("the ledger has no release r{number} of `{}`", held.service),
                )
                .hint("pass --release-hold to apply what the manifest says")
            })
        };
        let Some(to) = held.hold.unfinished else {
            return Ok(None);
        };
        if releases.iter().any(|it| it.number == held.hold.serving) {
            let hold = Hold {
                unfinished: None,
                ..held.hold.clone()
            };
            place.ledger.set_hold(&held.service, &hold).await?;
            return Ok(None);
        }
        let (from, to) = (numbered(held.hold.rejected)?, numbered(to)?);
        Self::new(place, from, to).await.map(Some)
    }

    /// The step that makes it serve.
    pub fn address(&self) -> Address {
        Address::new(self.place.cloud.target(), "rollback", &self.to.spec.name)
    }

    fn activation(&self) -> Activation {
        let follow = self.to.spec.secrets.iter().filter_map(|(variable, used)| {
            Some((variable.clone(), self.follow.get(&used.secret)?.clone()))
        });
        Activation {
            service: self.to.spec.name.clone(),
            revision: self.to.revision.clone(),
            follow: follow.collect(),
        }
    }

    /// What serves already is rejected by nobody.
    fn rejects(&self) -> bool {
        self.to.revision != self.from.revision
    }

    fn hold(&self, session: &Session, unfinished: Option<u64>) -> Hold {
        Hold {
            rejected: self.from.number,
            content_id: self.from.content_id.clone(),
            serving: self.from.number + 1,
            since: session.clock.now(),
            by: system::who(),
            unfinished,
        }
    }
}

fn gone(error: Error, to: &Release, place: &Place) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let message = format!(
        "r{} of `{}` cannot serve again on {}: its revision went with an earlier `destroy`, or by another hand",
        to.number,
        to.service,
        place.name()
    );
    Error::new(ErrorKind::NotFound, message)
        .because(error)
        .hint(format!(
            "set `image` to `{}` and apply: that makes a new release of it",
            to.image.0
        ))
}

/// The secrets of a release that follow and have another version now. By the manifest's names.
async fn following(place: &Place, to: &Release) -> Result<BTreeMap<String, SecretVersion>> {
    let mut follow = BTreeMap::new();
    for (key, pinned) in &to.secrets {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        if secret.on_rollback != OnRollback::Follow {
            continue;
        }
        let status = place.cloud.secrets().status(&secret.name).await?;
        let current = status.and_then(|status| status.version).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("secret `{key}` is gone from {}", place.name()),
            )
            .hint(format!("set it again: `deployer secrets set {key}`"))
        })?;
        if current != *pinned {
            follow.insert(key.clone(), current);
        }
    }
    Ok(follow)
}

/// The step that makes a revision serve.
struct Activate {
    cloud: Arc<dyn Cloud>,
    owner: Owner,
    address: Address,
    /// The release, as people write it.
    release: String,
    activation: Activation,
    /// What serves in the end.
    serves: Serves,
}

type Serves = Arc<Mutex<Option<Revision>>>;

#[async_trait]
impl Step for Activate {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        Ok(Evidence::NotDone(format!("{} is to serve", self.release)))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("release", self.release.clone());
        fields.set("revision", self.activation.revision.0.clone());
        fields
    }

    fn publish(&self) {}

    async fn run(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let runtime = self.cloud.runtime();
        runtime
            .must_be_of(&self.owner, &self.activation.service)
            .await?;
        let revision = runtime.activate(&self.activation, token, watch).await?;
        *self.serves.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
        Ok(())
    }
}

/// Makes every choice serve, on all targets at once; records a release and the hold where it does. Where it does not,
/// the hold is as it was before; where that is not known, it stays unfinished.
pub async fn carry_out(
    session: &Session,
    choices: &[Choice<'_>],
    journals: &Journals,
    stop: &Stop,
    as_json: bool,
) -> Result<(BTreeMap<CloudName, Verdict>, Vec<Recorded>)> {
    let mut before = Vec::new();
    for choice in choices {
        left::forget(choice.place, |_| true).await?;
        let ledger = &choice.place.ledger;
        before.push(ledger.hold(&choice.service).await?);
        if choice.rejects() {
            let hold = choice.hold(session, Some(choice.to.number));
            ledger.set_hold(&choice.service, &hold).await?;
        }
    }
    let (prepared, serves) = prepare(session, choices).await;
    let manner = Manner::THOROUGH;
    let verdicts = run::carry_out(session, &prepared, journals, manner, stop, as_json).await?;
    let recorded = write_down(session, choices, serves, before, journals, &verdicts).await;
    let recorded = run::or_tell(recorded, &verdicts, stop, as_json)?;
    Ok((verdicts, recorded))
}

/// Records what serves now; where nothing changed, the hold is as it was.
async fn write_down(
    session: &Session,
    choices: &[Choice<'_>],
    serves: Vec<Serves>,
    before: Vec<Option<Hold>>,
    journals: &Journals,
    verdicts: &BTreeMap<CloudName, Verdict>,
) -> Result<Vec<Recorded>> {
    let mut recorded = Vec::new();
    for ((choice, serves), before) in choices.iter().zip(serves).zip(before) {
        let cloud = choice.place.name();
        let revision = serves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(revision) = revision {
            let release = record(session, choice, revision, &journals.name(cloud)).await?;
            recorded.push(Recorded { cloud, release });
        } else if choice.rejects() && !is_in_doubt(verdicts.get(&cloud)) {
            restore_hold(choice, before.as_ref()).await?;
        }
    }
    Ok(recorded)
}

/// Whether a call may have landed although nobody answered: then the next command finds out, and finishes it.
fn is_in_doubt(verdict: Option<&Verdict>) -> bool {
    let failed = verdict.into_iter().flat_map(|verdict| &verdict.failed);
    let mut kinds = failed.map(|it| it.error.kind());
    kinds.any(|kind| kind == ErrorKind::Unavailable)
}

async fn prepare(session: &Session, choices: &[Choice<'_>]) -> (Prepared, Vec<Serves>) {
    let mut graph = Graph::new();
    let mut serves = Vec::new();
    for choice in choices {
        let place = Serves::default();
        graph.step(|_| Activate {
            cloud: Arc::clone(&choice.place.cloud),
            owner: choice.place.owner(),
            address: choice.address(),
            release: format!("r{}", choice.to.number),
            activation: choice.activation(),
            serves: Arc::clone(&place),
        });
        serves.push(place);
    }
    let targets = choices.iter().map(|it| it.place.cloud.target().clone());
    let subject = Subject {
        app: session.loaded.manifest.app.clone(),
        environment: session.loaded.environment.clone(),
        targets: targets.collect(),
        notes: Vec::new(),
        left: BTreeMap::new(),
    };
    (plan::prepare(subject, graph, Vec::new()).await, serves)
}

async fn restore_hold(choice: &Choice<'_>, before: Option<&Hold>) -> Result<()> {
    let ledger = &choice.place.ledger;
    match before {
        Some(hold) => ledger.set_hold(&choice.service, hold).await,
        None => ledger.lift_hold(&choice.service).await,
    }
}

async fn record(
    session: &Session,
    choice: &Choice<'_>,
    revision: Revision,
    run: &str,
) -> Result<Release> {
    let ledger = &choice.place.ledger;
    let mut release = Release {
        number: choice.from.number + 1,
        revision,
        at: session.clock.now(),
        by: system::who(),
        run: run.to_owned(),
        rollback_to: Some(choice.to.rollback_to.unwrap_or(choice.to.number)),
        detached: false,
        verified: None,
        ..choice.to.clone()
    };
    release.secrets.extend(choice.follow.clone());
    ledger.record_release(&release).await?;
    if choice.rejects() {
        let hold = choice.hold(session, None);
        ledger.set_hold(&choice.service, &hold).await?;
    }
    Ok(release)
}
