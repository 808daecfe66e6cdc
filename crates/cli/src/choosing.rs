//! Chooses on every target what a rollback makes serve: from what serves there, never from the last
//! record alone.

use std::collections::BTreeSet;

use deployer_core::address::CloudName;
use deployer_core::capability::Serving;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::history::{Current, Found, History, Skipped, Standing, same_revision};
use deployer_core::ledger::{Hold, Release};
use deployer_core::numbering::Newest;

use crate::activation::{Choice, Over, Rest};
use crate::facts::{ImageName, revision_name};
use crate::numbers::Numbers;
use crate::pins;
use crate::record;
use crate::session::{Place, Session};

/// What a rollback does on one target.
pub enum Chosen<'a> {
    /// It makes an earlier release serve.
    Goes(Box<Choice<'a>>),
    /// It finishes one that stopped, and does nothing more.
    Finishes(Box<Choice<'a>>),
    /// Nothing: what is asked for serves already.
    Serves {
        place: &'a Place,
        release: Box<Release>,
        /// Whether a rollback that stopped had come to its end.
        finished: bool,
        /// Whether it stands in no ledger yet that this serves: it is recorded.
        unrecorded: bool,
    },
}

impl<'a> Chosen<'a> {
    pub fn place(&self) -> &'a Place {
        match self {
            Self::Goes(choice) | Self::Finishes(choice) => choice.place,
            Self::Serves { place, .. } => place,
        }
    }

    /// What serves there in the end.
    fn to(&self) -> &Release {
        match self {
            Self::Goes(choice) | Self::Finishes(choice) => &choice.to,
            Self::Serves { release, .. } => release,
        }
    }
}

/// One target before anything is chosen.
struct Looked<'a> {
    place: &'a Place,
    releases: Vec<Release>,
    serving: Option<Serving>,
    /// A rollback that was killed.
    unfinished: Option<Hold>,
    /// Whether the last run is a rollback that recorded its release and has no end.
    unended: bool,
    /// The last run, where it is a rollback that ended.
    last: Option<Rolled>,
}

/// A rollback that ended.
struct Rolled {
    /// Which command it was.
    typed: String,
    /// Whether its release serves.
    went: bool,
    /// Whether it came to nothing.
    failed: bool,
}

/// What the rollback of a service does on every target; `to` is a person's word for a release.
///
/// Errors: input, when there is nothing to go back to, a word means several releases, or two
/// targets would serve different contents.
pub async fn choose<'a>(
    session: &'a Session,
    service: &str,
    to: Option<&str>,
) -> Result<(Vec<Chosen<'a>>, Vec<Over<'a>>)> {
    let mut all = Vec::new();
    for place in &session.places {
        all.push(look(place, service).await?);
    }
    let stopped = all.iter().any(|it| it.unfinished.is_some() || it.unended);
    let mut over = Vec::new();
    let mut chosen = match to.is_none() {
        true if stopped => finish(session, service, &all, &mut over).await?,
        true if went_in_part(&all) => rest(session, service, &all, &mut over).await?,
        _ => {
            let mut chosen = Vec::new();
            for looked in &all {
                let word = to.map(|word| on_target(looked, &all, word));
                let word = word.as_deref();
                chosen.push(choose_on(session, service, looked, word, &mut over).await?);
            }
            chosen
        }
    };
    one_content(&chosen, to)?;
    let newest = newest(session, service, &all).await;
    number(&mut chosen, newest);
    Ok((chosen, over))
}

/// The newest releases of all targets of the manifest, whichever are asked for.
async fn newest(session: &Session, service: &str, all: &[Looked<'_>]) -> Newest {
    let mut newest = Numbers::default().newest_elsewhere(session, service).await;
    for looked in all {
        if let Some(last) = looked.releases.last() {
            newest.note(looked.place.name(), last);
        }
    }
    newest
}

/// Gives what is to serve one number on every target: where the rollback was finished or begun on
/// another one, that one. What serves and stands in no ledger has one before it.
fn number(chosen: &mut [Chosen<'_>], mut newest: Newest) {
    let mut parts = BTreeSet::new();
    let (mut content, mut records) = (String::new(), false);
    for chosen in chosen.iter() {
        match chosen {
            Chosen::Goes(choice) => {
                parts.insert(choice.place.name());
                content.clone_from(&choice.to.content_id);
                records |= choice.unrecorded;
            }
            Chosen::Finishes(choice) => {
                newest.put(choice.place.name(), choice.number, &choice.to.content_id);
            }
            Chosen::Serves { .. } => {}
        }
    }
    let first = newest.highest() + 1;
    let next = match records {
        true => first + 1,
        false => newest.next(&parts, &content),
    };
    for chosen in chosen {
        match chosen {
            Chosen::Goes(choice) => {
                choice.number = next;
                if choice.unrecorded {
                    choice.from.number = first;
                }
            }
            Chosen::Serves {
                release,
                unrecorded: true,
                ..
            } => release.number = first,
            Chosen::Serves { .. } | Chosen::Finishes(_) => {}
        }
    }
}

/// A word for a release as one target understands it: the id of a content with another target's own
/// part means there what is equal on both.
fn on_target(looked: &Looked<'_>, all: &[Looked<'_>], word: &str) -> String {
    let of = |looked: &Looked<'_>| {
        let history = History::new(&looked.releases, &|_: &str| false);
        match history.find(word) {
            Found::One(found) => Some(found.content_id.clone()).filter(|_| is_id(found, word)),
            Found::Nothing | Found::Several(_) => None,
        }
    };
    let known = History::new(&looked.releases, &|_: &str| false);
    if !matches!(known.find(word), Found::Nothing) {
        return word.to_owned();
    }
    let content = all.iter().find_map(of);
    content.map_or_else(|| word.to_owned(), |content| newest_of(looked, &content))
}

fn is_id(release: &Release, word: &str) -> bool {
    release.content().starts_with(word)
}

/// The newest release whose content is this one but for a target's own part, in a word; the content
/// itself where there is none.
fn newest_of(looked: &Looked<'_>, content: &str) -> String {
    let mut newest = looked.releases.iter().rev();
    let found = newest.find(|it| it.content_id == content);
    found.map_or_else(|| content.to_owned(), |it| format!("r{}", it.number))
}

async fn look<'a>(place: &'a Place, service: &str) -> Result<Looked<'a>> {
    let releases = place.ledger.releases(service).await?;
    // Without its pins a release of `apply --only` looks like any other of its image.
    let releases = releases.into_iter();
    let releases = releases.map(|release| pins::pinning(place, release));
    let releases = futures::future::join_all(releases).await;
    let holds = place.ledger.holds(service).await?;
    let serving = match place.env.services.get(service) {
        Some(spec) => place.serving(spec).await?,
        None => None,
    };
    let last_run = place.ledger.last_run().await?;
    let last_run = last_run.filter(|run| run.header.command == "rollback");
    let recorded = last_run.as_ref().is_some_and(|run| {
        let name = format!("run {}", run.header.number);
        let mut last = releases.last().into_iter();
        last.any(|last| last.run == name && last.rollback_to.is_some())
    });
    let outcome = last_run.as_ref().and_then(|run| run.outcome());
    let unended = last_run.is_some() && outcome.is_none() && recorded;
    let last = outcome.map(|outcome| (outcome != "succeeded", last_run.as_ref()));
    let last = last.and_then(|(failed, run)| {
        Some(Rolled {
            typed: run?.header.typed.clone()?,
            went: recorded,
            failed: failed && !recorded,
        })
    });
    Ok(Looked {
        place,
        releases,
        serving,
        unfinished: holds.into_iter().find(|hold| hold.unfinished.is_some()),
        unended,
        last,
    })
}

/// Finishes what a rollback left, wherever it did: typed twice, it goes back once. Where it had not
/// begun, the same content is made to serve as on the other targets.
async fn finish<'a>(
    session: &'a Session,
    service: &str,
    all: &[Looked<'a>],
    over: &mut Vec<Over<'a>>,
) -> Result<Vec<Chosen<'a>>> {
    let mut chosen = Vec::new();
    let mut unbegun = Vec::new();
    for looked in all {
        let place = looked.place;
        let rest = match &looked.unfinished {
            Some(hold) => Choice::unfinished(place, service, hold).await?,
            None => None,
        };
        let ended = match rest {
            Some(Rest::Goes(choice)) => {
                chosen.push(Chosen::Finishes(choice));
                continue;
            }
            Some(Rest::Ended(ended)) => {
                over.push(ended);
                true
            }
            Some(Rest::Superseded(superseded)) => {
                over.push(superseded);
                false
            }
            None => looked.unended && looked.unfinished.is_none(),
        };
        match looked.releases.last() {
            Some(last) if ended => chosen.push(finished(place, last)),
            Some(_) | None => unbegun.push(looked),
        }
    }
    follow(session, service, (chosen, unbegun), over).await
}

/// Nothing more is done where the rollback had come to its end.
fn finished<'a>(place: &'a Place, last: &Release) -> Chosen<'a> {
    Chosen::Serves {
        place,
        release: Box::new(last.clone()),
        finished: true,
        unrecorded: false,
    }
}

/// Makes the same content serve on the targets that are left as on those that are chosen.
async fn follow<'a>(
    session: &'a Session,
    service: &str,
    (mut chosen, left): (Vec<Chosen<'a>>, Vec<&Looked<'a>>),
    over: &mut Vec<Over<'a>>,
) -> Result<Vec<Chosen<'a>>> {
    let content = chosen.first().map(|it| it.to().content_id.clone());
    for looked in left {
        let word = content.as_ref().map(|content| newest_of(looked, content));
        chosen.push(choose_on(session, service, looked, word.as_deref(), over).await?);
    }
    Ok(chosen)
}

/// Whether the last command was a rollback that went on one target and came to nothing on another
/// one.
fn went_in_part(all: &[Looked<'_>]) -> bool {
    let mut typed = all.iter().map(|it| it.last.as_ref().map(|it| &it.typed));
    let first = typed.next().flatten();
    let of_one = first.is_some() && typed.all(|it| it == first);
    let any = |of: fn(&Rolled) -> bool| all.iter().any(|it| it.last.as_ref().is_some_and(of));
    of_one && any(|it| it.went) && any(|it| it.failed)
}

/// The same words once more: where the rollback went it is done, and where it came to nothing the
/// same content is made to serve.
async fn rest<'a>(
    session: &'a Session,
    service: &str,
    all: &[Looked<'a>],
    over: &mut Vec<Over<'a>>,
) -> Result<Vec<Chosen<'a>>> {
    let mut chosen = Vec::new();
    let mut left = Vec::new();
    for looked in all {
        let failed = looked.last.as_ref().is_some_and(|it| it.failed);
        match looked.releases.last() {
            Some(last) if !failed => chosen.push(finished(looked.place, last)),
            Some(_) | None => left.push(looked),
        }
    }
    follow(session, service, (chosen, left), over).await
}

async fn choose_on<'a>(
    session: &Session,
    service: &str,
    looked: &Looked<'a>,
    to: Option<&str>,
    over: &mut Vec<Over<'a>>,
) -> Result<Chosen<'a>> {
    let place = looked.place;
    let follows = pins::follows(place);
    let history = History::new(&looked.releases, &follows);
    let standing = history.standing(&Current::of(looked.serving.as_ref()));
    let unknown = matches!(standing, Standing::Unrecorded(_));
    let nothing = matches!(standing, Standing::Nothing);
    let (from, unrecorded) = from(session, service, looked, &history, standing).await?;
    let by_name = to.is_some();
    let to = match (to, looked.releases.last()) {
        (Some(word), _) => named(&history, word, place)?,
        // Another hand changed what no release has: the release that it changed served before, and
        // nobody rejects it.
        (None, Some(last)) if unknown && !last.detached && history.same_content(&from, last) => {
            last.clone()
        }
        (None, _) => history
            .before(&from)
            .cloned()
            .ok_or_else(|| nothing_before(place, &from))?,
    };
    let origin = |release: &Release| release.rollback_to.unwrap_or(release.number);
    // The same words again after a kill: it is one rollback, whether its call had landed or not.
    let unfinished = looked.unfinished.as_ref().filter(|hold| {
        let wanted = hold.unfinished.and_then(|number| history.numbered(number));
        wanted.is_some_and(|wanted| origin(wanted) == origin(&to))
    });
    if let Some(hold) = unfinished {
        match Choice::unfinished(place, service, hold).await? {
            Some(Rest::Goes(choice)) => return Ok(Chosen::Finishes(choice)),
            Some(Rest::Ended(it) | Rest::Superseded(it)) => over.push(it),
            None => {}
        }
    }
    // An equal content that was rolled out anew has another revision on some clouds; what no
    // release has is not known to be equal.
    let is_equal = !unknown && history.same_content(&from, &to);
    let serves = same_revision(&from.revision, &to.revision) || origin(&from) == origin(&to);
    if serves || is_equal {
        if nothing {
            return Err(nothing_serves(place, service));
        }
        return Ok(Chosen::Serves {
            place,
            release: Box::new(from),
            finished: false,
            unrecorded,
        });
    }
    let skipped = match by_name {
        true => Vec::new(),
        false => skipped(&history, &from, &to),
    };
    let mut choice = Choice::new(place, from, to).await?;
    choice.unrecorded = unrecorded;
    choice.skipped = skipped;
    Ok(Chosen::Goes(Box::new(choice)))
}

/// What lies between and is not gone back to, in words.
fn skipped(history: &History<'_>, from: &Release, to: &Release) -> Vec<String> {
    let skipped = history.skipped(from, to).into_iter();
    let words = skipped.map(|(release, why)| {
        let why = match why {
            Skipped::SameContent => format!("same content as r{}", from.number),
            Skipped::Rejected => "rejected".to_owned(),
            Skipped::Unverified => "failed its verification".to_owned(),
        };
        format!("r{}, {why}", release.number)
    });
    words.collect()
}

/// The release that serves, and whether it stands in no ledger yet.
async fn from(
    session: &Session,
    service: &str,
    looked: &Looked<'_>,
    history: &History<'_>,
    standing: Standing<'_>,
) -> Result<(Release, bool)> {
    let place = looked.place;
    let Some(last) = looked.releases.last() else {
        return Err(
            Error::input(format!("`{service}` has no release on {}", place.name()))
                .hint("`deployer apply` makes the first one"),
        );
    };
    match standing {
        Standing::Last(release) => Ok((release.clone(), false)),
        // Nothing serves: whatever was to serve last is what is left behind.
        Standing::Nothing => Ok((last.clone(), false)),
        // A roll-out that nobody waited for, and that the cloud put back: that is what is gone back
        // from.
        Standing::Earlier(_) if last.detached => Ok((last.clone(), false)),
        Standing::Earlier(earlier) => Ok((record::again(session, history, earlier, ""), true)),
        Standing::Unrecorded(revision) => {
            let images = looked.serving.as_ref().map(|serving| &serving.images);
            let named = images.and_then(|images| images.get(&revision.0));
            let image = named.or_else(|| images.and_then(|images| images.values().next()));
            let found = record::unrecorded(session, place, service, &revision, image).await?;
            let number = history.next_number();
            let found = found.map(|release| Release { number, ..release });
            let unknown = || {
                Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{} serves on {}, no release says so, and it cannot be told what it is",
                        revision_name(&revision.0),
                        place.name()
                    ),
                )
                .hint("`deployer apply` makes the manifest's release serve")
            };
            Ok((found.ok_or_else(unknown)?, true))
        }
        Standing::Several(shares) => {
            let shares: Vec<String> = shares
                .iter()
                .map(|(revision, share)| format!("{} {share} %", revision_name(&revision.0)))
                .collect();
            Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "several revisions of `{service}` serve on {}: {}",
                    place.name(),
                    shares.join(", ")
                ),
            )
            .hint("`deployer apply` makes the manifest's release serve everything"))
        }
    }
}

fn nothing_serves(place: &Place, service: &str) -> Error {
    let message = format!("nothing serves as `{service}` on {}", place.name());
    Error::new(ErrorKind::NotFound, message)
        .hint("`deployer apply` makes the manifest's release serve")
}

fn nothing_before(place: &Place, from: &Release) -> Error {
    let again = match from.rollback_to {
        Some(origin) => format!(", which is r{origin} again"),
        None => String::new(),
    };
    Error::input(format!(
        "nothing to go back to on {}: r{} serves{again}, and no release before it served without being rejected or failing its verification",
        place.name(),
        from.number
    ))
    .hint("`deployer releases` lists what there is; `--to` names one")
}

/// The release that a person means.
///
/// Errors: input, when there is none, or several.
pub fn named(history: &History<'_>, word: &str, place: &Place) -> Result<Release> {
    let cloud = place.name();
    match history.find(word) {
        Found::One(release) => Ok(release.clone()),
        Found::Nothing => Err(nothing_called(history, word, cloud)),
        Found::Several(releases) => {
            let described: Vec<String> = releases.iter().map(|it| describe(it)).collect();
            let numbers: Vec<String> = releases
                .iter()
                .map(|it| format!("--to r{}", it.number))
                .collect();
            Err(Error::input(format!(
                "`{word}` means several releases on {cloud}: {}",
                described.join(", ")
            ))
            .hint(format!("say which: {}", numbers.join(" or "))))
        }
    }
}

/// One number means one release on all targets, and where a target took no part in it there is
/// none: it is said what that one had then.
fn nothing_called(history: &History<'_>, word: &str, cloud: CloudName) -> Error {
    const LIST: &str = "`deployer releases` lists what there is";
    let number = word.strip_prefix('r').and_then(|it| it.parse().ok());
    let Some(number) = number else {
        return Error::input(format!("no release on {cloud} is called `{word}`")).hint(LIST);
    };
    let missing = format!("{cloud} has no r{number}: no run recorded it there");
    match history.newest_before(number) {
        None => Error::input(missing).hint(LIST),
        Some(nearest) => {
            let (at, image) = (nearest.number, ImageName::of(nearest).name());
            Error::input(format!(
                "{missing}; the nearest before it is r{at}, image {image}"
            ))
            .hint(format!(
                "name r{at}, with `--cloud {cloud}`, for that one; {LIST}"
            ))
        }
    }
}

fn describe(release: &Release) -> String {
    let digest = release.image.0.rsplit('@').next().unwrap_or_default();
    let digest: String = digest.chars().take(19).collect();
    format!(
        "r{} (image {digest}, content {}, {:.0})",
        release.number,
        release.content(),
        release.at
    )
}

/// On two targets one content is made to serve, or nothing.
fn one_content(chosen: &[Chosen<'_>], to: Option<&str>) -> Result<()> {
    let Some((first, others)) = chosen.split_first() else {
        return Ok(());
    };
    if others
        .iter()
        .all(|it| it.to().content_id == first.to().content_id)
    {
        return Ok(());
    }
    let word = to.map_or_else(|| "what served before".to_owned(), |to| format!("`{to}`"));
    let each: Vec<String> = chosen
        .iter()
        .map(|it| format!("{} {}", it.place().name(), describe(it.to())))
        .collect();
    let clouds: Vec<String> = chosen
        .iter()
        .map(|it| it.place().name())
        .map(|cloud: CloudName| format!("--cloud {cloud}"))
        .collect();
    Err(Error::input(format!(
        "{word} is not the same on every target: {}",
        each.join(", ")
    ))
    .hint(format!(
        "name one content with `--to`, or one target with {}",
        clouds.join(" or ")
    )))
}
