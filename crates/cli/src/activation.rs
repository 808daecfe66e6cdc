//! Makes an earlier release serve again. The hold is durable before the first call, and one that
//! was killed is finished by the next command in the same way.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Activation, RecordedRelease, Revision, SecretVersion};
use deployer_core::engine::Verdict;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::Graph;
use deployer_core::history::{History, same_revision};
use deployer_core::ledger::{Hold, Release};
use deployer_core::plan::{self, Prepared, Subject};
use deployer_core::spec::OnRollback;

use crate::activate::{Activate, Serves};
use crate::left;
use crate::pins;
use crate::record::Recorded;
use crate::run::{self, Journals, Manner, Unwritten};
use crate::session::{Place, Session};
use crate::system::{self, Stop};

/// What is going to serve on one target.
pub struct Choice<'a> {
    pub place: &'a Place,
    /// The service, by the manifest's name.
    pub service: String,
    pub from: Release,
    pub to: Release,
    /// The number of the release that this becomes.
    pub number: u64,
    /// Whether `from` serves and stands in no ledger yet: it is recorded first.
    pub unrecorded: bool,
    /// The releases that it passes over, in words.
    pub skipped: Vec<String>,
    /// Secrets that follow, by the manifest's names: the versions that are current now.
    pub follow: BTreeMap<String, SecretVersion>,
    /// Whether `from` is another content: the same is rejected by nobody.
    rejects: bool,
    /// The versions that an apply of `from` would pin now of the secrets that a rollback restores,
    /// by the manifest's names: the hold ends when one of them has another.
    current: BTreeMap<String, SecretVersion>,
    /// The hold of the rollback that this one finishes, if it is none of its own.
    finishes: Option<Hold>,
}

/// What is left of a rollback that a hold speaks of.
pub enum Rest<'a> {
    /// This: nobody knows whether its release serves.
    Goes(Box<Choice<'a>>),
    /// Only to write down that its release serves.
    Ended(Over<'a>),
    /// Only to write down that something else came after it.
    Superseded(Over<'a>),
}

/// A hold whose rollback is over: it is to be said so by the next run.
pub struct Over<'a> {
    place: &'a Place,
    service: String,
    hold: Hold,
}

impl Over<'_> {
    /// Says it. A run has begun.
    ///
    /// Errors: the ledger's.
    pub async fn write(&self) -> Result<()> {
        self.place.ledger.set_hold(&self.service, &self.hold).await
    }

    /// The target.
    pub fn cloud(&self) -> CloudName {
        self.place.name()
    }
}

impl<'a> Choice<'a> {
    /// Looks up whether `to` can still serve, and which of its secrets follow.
    ///
    /// Errors: not found, when its revision or a secret version that it pins is gone; those of
    /// reading them.
    pub async fn new(place: &'a Place, from: Release, to: Release) -> Result<Self> {
        let pinned = place
            .cloud
            .services()
            .pinned(&to.spec.name, &to.revision)
            .await;
        let pinned = pinned.map_err(|error| gone(error, &to, place))?;
        let to = pins::with_pins(to, &pinned);
        // What it pins tells what a hold on it is about; without it the hold is on the content
        // alone.
        let from = pins::pinning(place, from).await;
        let follow = following(place, &to).await?;
        check_pins(place, &to, &pinned, &follow).await?;
        let current = current(place, &from).await?;
        let rejects = {
            let (releases, follows) = ([from.clone(), to.clone()], pins::follows(place));
            let history = History::new(&releases, &follows);
            !history.same_content(&from, &to) && !same_revision(&from.revision, &to.revision)
        };
        Ok(Self {
            place,
            service: to.service.clone(),
            number: from.number + 1,
            from,
            to,
            unrecorded: false,
            skipped: Vec::new(),
            follow,
            rejects,
            current,
            finishes: None,
        })
    }

    /// The rest of a rollback that did not come to its end. `None` when none is left over.
    ///
    /// Errors: ledger, when a release that the hold names is not there.
    pub async fn unfinished(
        place: &'a Place,
        service: &str,
        hold: &Hold,
    ) -> Result<Option<Rest<'a>>> {
        let releases = place.ledger.releases(service).await?;
        let numbered = |number: u64| {
            let found = releases.iter().find(|release| release.number == number);
            found.cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::Ledger,
                    format!("the ledger has no release r{number} of `{service}`"),
                )
                .hint("pass --release-hold to `deployer apply` to apply what the manifest says")
            })
        };
        let Some(to) = hold.unfinished else {
            return Ok(None);
        };
        if let Some(next) = releases.iter().find(|it| it.number > hold.rejected) {
            let ended = next.number == hold.serving && next.rejects == Some(hold.rejected);
            let over = Over {
                place,
                service: service.to_owned(),
                hold: Hold {
                    unfinished: None,
                    ..hold.clone()
                },
            };
            return Ok(Some(match ended {
                true => Rest::Ended(over),
                false => Rest::Superseded(over),
            }));
        }
        let (from, to) = (numbered(hold.rejected)?, numbered(to)?);
        let choice = Self::new(place, from, to).await?;
        Ok(Some(Rest::Goes(Box::new(Self {
            number: hold.serving,
            finishes: Some(hold.clone()),
            ..choice
        }))))
    }

    /// The step that makes it serve.
    pub fn address(&self) -> Address {
        Address::new(self.place.cloud.target(), "rollback", &self.to.spec.name)
    }

    fn activation(&self) -> Activation {
        let follow = self.to.spec.secrets.iter().filter_map(|(variable, used)| {
            Some((variable.clone(), self.follow.get(&used.secret)?.clone()))
        });
        let now = self.place.env.services.get(&self.service);
        Activation {
            service: self.to.spec.name.clone(),
            revision: self.to.revision.clone(),
            recorded: Some(Box::new(RecordedRelease {
                spec: self.to.spec.clone(),
                image: self.to.image.clone(),
                secrets: self.to.secrets.clone(),
            })),
            follow: follow.collect(),
            // As the manifest says now: how long people wait is no part of what serves.
            patience: now.unwrap_or(&self.to.spec).patience,
        }
    }

    /// Whether what serves until then is put on hold.
    pub fn rejects(&self) -> bool {
        self.rejects
    }

    /// What of the earlier release is not made to serve: it stays as it is now.
    pub fn kept(&self) -> Vec<String> {
        let (from, to) = (&self.from, &self.to);
        let mut kept = Vec::new();
        let restored = self.place.cloud.services().revisions_have_sizes();
        if from.spec.replicas != to.spec.replicas && !restored {
            kept.push(format!(
                "its size stays as it is: r{} ran {} to {} instances",
                to.number, to.spec.replicas.min, to.spec.replicas.max
            ));
        }
        let service = self.place.env.services.get(&self.service);
        let pins = service.is_none_or(|service| {
            let runtime = self.place.cloud.services();
            runtime.revisions_pin_secrets(&service.name)
        });
        let changed = to.secrets.iter().any(|(key, version)| {
            let follows = self.follow.contains_key(key);
            !follows && self.current.get(key).is_some_and(|now| now != version)
        });
        if !pins && changed {
            kept.push(format!(
                "its secrets have today's values: App Runner reads them as it deploys, not those that r{} started with",
                to.number
            ));
        }
        let differ =
            matches!((&from.overrides, &to.overrides), (Some(from), Some(to)) if from != to);
        if differ {
            kept.push(format!(
                "what `[targets.{}.services.{}]` says of network, ingress and load balancer stays as it is: r{} had it otherwise",
                self.place.name(),
                self.service,
                to.number
            ));
        }
        kept
    }

    fn hold(&self, session: &Session, unfinished: Option<u64>) -> Hold {
        Hold {
            rejected: self.from.number,
            content_id: self.from.content_id.clone(),
            overrides: self.from.overrides.clone(),
            secrets: self.current.clone(),
            serving: self.number,
            since: session.clock.now(),
            by: system::who(),
            unfinished,
        }
    }
}

/// What an apply would pin now of the secrets of `from` that a rollback restores, by the manifest's
/// names: a later one may mend it. Of a secret that is not there any more, what `from` pins.
async fn current(place: &Place, from: &Release) -> Result<BTreeMap<String, SecretVersion>> {
    let follows = pins::follows(place);
    let mut current = BTreeMap::new();
    for (key, pinned) in from.secrets.iter().filter(|(key, _)| !follows(key)) {
        let status = match place.env.secrets.get(key) {
            Some(secret) if !place.cloud.secrets().is_moving(pinned) => {
                place.cloud.secrets().status(&secret.name).await?
            }
            Some(_) | None => None,
        };
        let now = status.and_then(|status| status.version);
        current.insert(key.clone(), now.unwrap_or_else(|| pinned.clone()));
    }
    Ok(current)
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
        .hint(again_as_new(to))
}

fn again_as_new(to: &Release) -> String {
    format!(
        "set `image` to `{}` and apply: that makes a new release of it",
        to.image.0
    )
}

/// The versions that a revision pins are looked at before anything is changed: one that is gone
/// would fail every instance.
async fn check_pins(
    place: &Place,
    to: &Release,
    pinned: &BTreeMap<String, SecretVersion>,
    follow: &BTreeMap<String, SecretVersion>,
) -> Result<()> {
    for (variable, version) in pinned {
        let used = to.spec.secrets.get(variable);
        if used.is_some_and(|used| follow.contains_key(&used.secret)) {
            continue;
        }
        if let Some(why) = place.cloud.secrets().unusable(version).await? {
            let name = used.map_or(version.secret.as_str(), |used| used.secret.as_str());
            let message = format!(
                "r{} of `{}` cannot serve again on {}: it takes `{variable}` from version {} of secret `{name}`, and {why}",
                to.number,
                to.service,
                place.name(),
                version.version
            );
            return Err(Error::new(ErrorKind::NotFound, message).hint(again_as_new(to)));
        }
    }
    Ok(())
}

/// The secrets of a release that follow and have another version now. By the manifest's names.
async fn following(place: &Place, to: &Release) -> Result<BTreeMap<String, SecretVersion>> {
    let mut follow = BTreeMap::new();
    for (key, pinned) in &to.secrets {
        let Some(secret) = place.env.secrets.get(key) else {
            continue;
        };
        if secret.on_rollback != OnRollback::Follow || place.cloud.secrets().is_moving(pinned) {
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

/// What came of making releases serve.
pub struct Outcome {
    pub verdicts: BTreeMap<CloudName, Verdict>,
    pub recorded: Vec<Recorded>,
    pub unwritten: Unwritten,
}

/// Makes every choice serve, on all targets at once; records a release and the hold where it does.
/// Where it does not, the hold is as it was before; where that is not known, it stays unfinished. A
/// target whose ledger fails is left alone, or told as one of which nothing could be written.
pub async fn carry_out(
    session: &Session,
    choices: &[Choice<'_>],
    journals: &Journals,
    stop: &Stop,
    as_json: bool,
) -> Outcome {
    let mut early = Unwritten::default();
    for choice in choices {
        let begun = begin(session, choice, &journals.name(choice.place.name())).await;
        early.keep(choice.place.name(), begun);
    }
    let unbegun = early.clouds();
    let begun = || {
        let choices = choices.iter();
        choices.filter(|choice| !unbegun.contains(&choice.place.name()))
    };
    let (prepared, serves) = prepare(session, begun()).await;
    let manner = Manner::THOROUGH;
    let means = (stop, as_json);
    let (verdicts, mut unwritten) =
        run::carry_out(session, &prepared, journals, &(), manner, means).await;
    unwritten.extend(early);
    let mut recorded = Vec::new();
    for (choice, serves) in begun().zip(serves) {
        let cloud = choice.place.name();
        let written = write_down(session, choice, serves, journals, verdicts.get(&cloud)).await;
        let release = unwritten.keep(cloud, written).flatten();
        recorded.extend(release.map(|release| Recorded { cloud, release }));
    }
    Outcome {
        verdicts,
        recorded,
        unwritten,
    }
}

/// What is written before the first call: what serves, where no release says so, and the hold.
async fn begin(session: &Session, choice: &Choice<'_>, run: &str) -> Result<()> {
    left::forget(choice.place, |_| true).await?;
    let ledger = &choice.place.ledger;
    if choice.unrecorded {
        let run = run.to_owned();
        let from = Release {
            run,
            ..choice.from.clone()
        };
        ledger.record_release(&from).await?;
    }
    if choice.rejects() {
        let hold = choice.hold(session, Some(choice.to.number));
        ledger.set_hold(&choice.service, &hold).await?;
    }
    Ok(())
}

/// Records what serves now; where nothing changed, the hold is as it was.
async fn write_down(
    session: &Session,
    choice: &Choice<'_>,
    serves: Serves,
    journals: &Journals,
    verdict: Option<&Verdict>,
) -> Result<Option<Release>> {
    let revision = serves
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(revision) = revision {
        let run = journals.name(choice.place.name());
        return record(session, choice, revision, &run).await.map(Some);
    }
    let over = match choice.finishes {
        // What the rollback before came to is as unknown as it was, unless this one's roll-out has
        // an end.
        Some(_) => has_failed(verdict),
        None => !is_in_doubt(verdict),
    };
    if choice.rejects() && over {
        let ledger = &choice.place.ledger;
        ledger
            .lift_hold(&choice.service, choice.from.number)
            .await?;
    }
    Ok(None)
}

/// Whether the cloud said how the roll-out ended: not well.
fn has_failed(verdict: Option<&Verdict>) -> bool {
    let failed = verdict.into_iter().flat_map(|verdict| &verdict.failed);
    let mut kinds = failed.map(|it| it.error.kind());
    kinds.any(|kind| {
        matches!(
            kind,
            ErrorKind::Failed | ErrorKind::RolledBack | ErrorKind::Untrue
        )
    })
}

/// Whether a call may have landed although the cloud has not said what became of it: then the next
/// command finds out, and finishes it.
fn is_in_doubt(verdict: Option<&Verdict>) -> bool {
    let failed = verdict.into_iter().flat_map(|verdict| &verdict.failed);
    let mut kinds = failed.map(|it| it.error.kind());
    kinds.any(|kind| match kind {
        // The cloud's own word: that is how it ended, or nothing was begun.
        ErrorKind::Failed
        | ErrorKind::RolledBack
        | ErrorKind::Untrue
        | ErrorKind::Unverified
        | ErrorKind::Denied
        | ErrorKind::Rejected
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Input
        | ErrorKind::Internal => false,
        ErrorKind::Unavailable
        | ErrorKind::Credentials
        | ErrorKind::TimedOut
        | ErrorKind::Locked
        | ErrorKind::Ledger
        | ErrorKind::Interrupted => true,
    })
}

async fn prepare<'a>(
    session: &Session,
    choices: impl Iterator<Item = &'a Choice<'a>>,
) -> (Prepared, Vec<Serves>) {
    let mut graph = Graph::new();
    let (mut serves, mut targets) = (Vec::new(), Vec::new());
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
        targets.push(choice.place.cloud.target().clone());
    }
    let subject = Subject {
        app: session.loaded.manifest.app.clone(),
        environment: session.loaded.environment.clone(),
        targets,
        notes: Vec::new(),
        left: BTreeMap::new(),
    };
    (plan::prepare(subject, graph, Vec::new()).await, serves)
}

async fn record(
    session: &Session,
    choice: &Choice<'_>,
    revision: Revision,
    run: &str,
) -> Result<Release> {
    let ledger = &choice.place.ledger;
    let mut release = Release {
        number: choice.number,
        revision,
        at: session.clock.now(),
        by: system::who(),
        run: run.to_owned(),
        rollback_to: Some(choice.to.rollback_to.unwrap_or(choice.to.number)),
        rejects: choice.rejects().then_some(choice.from.number),
        put_back: !choice.rejects(),
        redeployed: false,
        kept: choice.kept(),
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
    for hold in ledger.holds(&choice.service).await? {
        if hold.rejected == choice.from.number {
            continue;
        }
        if hold.is_on(&release) {
            // What a person makes serve by name is rejected no more.
            ledger.lift_hold(&choice.service, hold.rejected).await?;
        } else if hold.unfinished.is_some() {
            let hold = Hold {
                unfinished: None,
                ..hold
            };
            ledger.set_hold(&choice.service, &hold).await?;
        }
    }
    Ok(release)
}
