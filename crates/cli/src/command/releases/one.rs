//! `deployer releases SERVICE REV`: everything of one release, and what differs from another.

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};
use deployer_core::history::{Found, History};
use deployer_core::ledger::Release;
use serde_json::{Value, json};

use super::Listed;
use crate::duration;
use crate::facts::{self, Fact, ImageName, Version, revision_name};
use crate::session::Session;
use crate::view::plan::list;
use crate::view::said::{Said, in_columns};
use crate::view::{self, foreign};

/// One release on one target, beside the one that it is compared with.
pub(super) struct One {
    listed: Listed,
    release: Release,
    /// `None` for the first release of all, which nobody compares with another.
    other: Option<Release>,
}

/// Finds a release by a person's word on every target that has it. Without `other`, it is compared
/// with the one that served before it.
///
/// Errors: input, where no target has it, or a word means several.
pub(super) fn find(
    service: &str,
    all: Vec<Listed>,
    (word, other): (&str, Option<&str>),
) -> Result<Vec<One>> {
    let mut found = Vec::new();
    let mut known = Vec::new();
    for listed in all {
        let follows = |_: &str| false;
        let history = History::new(&listed.releases, &follows);
        known.extend(listed.releases.iter().map(|it| it.number));
        let one = |word: &str| match history.find(word) {
            Found::One(release) => Ok(Some(release.clone())),
            Found::Nothing => Ok(None),
            Found::Several(several) => Err(means_several(word, &several)),
        };
        let Some(release) = one(word)? else {
            continue;
        };
        let other = match other {
            Some(word) => match one(word)? {
                Some(other) => Some(other),
                None => continue,
            },
            None => {
                let mut newest = listed.releases.iter().rev();
                newest.find(|it| it.number < release.number).cloned()
            }
        };
        found.push(One {
            release,
            other,
            listed,
        });
    }
    match found.is_empty() {
        true => Err(nothing_called(service, (word, other), known)),
        false => Ok(found),
    }
}

fn means_several(word: &str, several: &[&Release]) -> Error {
    let several = several.iter();
    let numbers: Vec<String> = several
        .map(|it| format!("r{} ({})", it.number, ImageName::of(it).short()))
        .collect();
    let numbers = list(&numbers);
    Error::input(format!("`{word}` means several releases: {numbers}"))
        .hint("name one by its number")
}

fn nothing_called(service: &str, words: (&str, Option<&str>), mut known: Vec<u64>) -> Error {
    known.sort_unstable();
    let words = match words {
        (word, None) => format!("no release of `{service}` is called `{word}`"),
        (word, Some(other)) => {
            format!("no target has releases of `{service}` called `{word}` and `{other}`")
        }
    };
    Error::input(words).hint(match (known.first(), known.last()) {
        (Some(first), Some(last)) if first != last => {
            format!("there are r{first} to r{last}; `deployer releases {service}` lists them")
        }
        (Some(only), _) => format!("there is r{only} alone"),
        (None, _) => "`deployer apply` makes the first one".to_owned(),
    })
}

impl One {
    /// Its target's cloud.
    pub(super) fn cloud(&self) -> CloudName {
        self.listed.cloud
    }

    /// Whether it differs in what is the target's own and no revision has.
    fn differs_beside(&self) -> bool {
        let other = self.other.as_ref();
        other.is_some_and(|it| it.overrides != self.release.overrides)
    }

    fn facts(&self) -> Vec<Fact> {
        let of = |other: &Release| facts::between(&Version::of(other), &Version::of(&self.release));
        self.other.as_ref().map(of).unwrap_or_default()
    }

    /// The release as `releases` has it, and what differs from the other one.
    pub(super) fn document(&self) -> Value {
        let mut document = self.listed.document();
        document["releases"] = json!([view::release::with_short_names(&self.release)]);
        document["compared_with"] = json!(self.other.as_ref().map(|it| it.number));
        document["differs"] = json!(self.facts());
        document
    }

    /// What it is on its target, in a line.
    fn stands(&self) -> String {
        let listed = &self.listed;
        let number = self.release.number;
        let next = listed.releases.iter().find(|it| it.number > number);
        let cell = listed.cell(&self.release, next, listed.serves().ok());
        let verified = match self.release.verified {
            Some(true) => "; verified",
            Some(false) => "; its verification failed",
            None => "",
        };
        let revision = revision_name(&self.release.revision.0);
        let content = self.release.content();
        format!("{cell}: {revision}{verified}; content {content}")
    }
}

/// What differs between two releases, on every target: what is the same on several, once.
pub(super) fn differences(session: &Session, all: &[One]) -> String {
    let mut text = String::new();
    for (clouds, one) in alike(all, |one| {
        let other = one.other.as_ref().map(|it| it.number);
        (one.release.number, other, one.facts())
    }) {
        let name = |release: &Release| {
            let image = foreign::one_line(&ImageName::of(release).name());
            format!("r{} ({image})", release.number)
        };
        let other = one.other.as_ref().map_or_else(String::new, &name);
        let title = title(session, one);
        text.push_str(&format!(
            "{title}: {other} → {} on {}\n",
            name(&one.release),
            list(&clouds)
        ));
        text.push_str(&differing(one));
    }
    text
}

/// Everything of a release.
pub(super) fn describe(session: &Session, all: &[One]) -> String {
    let mut text = String::new();
    for (clouds, one) in alike(all, |one| {
        let other = one.other.as_ref().map(|it| it.number);
        let release = &one.release;
        let settings = facts::settings(&release.spec);
        (
            release.number,
            release.content_id.clone(),
            other,
            settings,
            one.facts(),
        )
    }) {
        let release = &one.release;
        let title = title(session, one);
        text.push_str(&format!(
            "{title}: r{} on {}\n",
            release.number,
            list(&clouds)
        ));
        let mut rows = Vec::new();
        let mut row = |what: &str, said: String| rows.push((what.to_owned(), Said::Words(said)));
        let image = ImageName::of(release);
        row(
            "image",
            match &image.tag {
                Some(tag) => format!("{tag} ({})", image.short()),
                None => image.short(),
            },
        );
        let ago = duration::since(release.at, session.clock.now());
        row(
            "when",
            format!("{:.0}, {ago} ago, {}", release.at, release.run),
        );
        row("who", release.by.clone());
        if let Some(to) = release.rollback_to {
            row(
                "what",
                match release.put_back {
                    true => format!("r{to} again"),
                    false => format!("back to r{to}"),
                },
            );
        }
        for one in all
            .iter()
            .filter(|it| clouds.contains(&it.listed.cloud.as_str()))
        {
            row(one.listed.cloud.as_str(), one.stands());
        }
        for kept in &release.kept {
            row("but", kept.clone());
        }
        let spec = &release.spec;
        for (what, value) in facts::settings(spec) {
            if let Some(value) = value {
                rows.push((what.to_owned(), Said::Value(value)));
            }
        }
        rows.extend(in_section(
            "env",
            spec.env
                .iter()
                .map(|(name, value)| (name, foreign::value(value))),
        ));
        rows.extend(in_section(
            "secrets",
            spec.secrets
                .iter()
                .map(|(name, used)| (name, used.secret.clone())),
        ));
        push(&mut text, &rows);
        if let Some(other) = &one.other {
            text.push_str(&format!("changed since r{}\n", other.number));
            text.push_str(&differing(one));
        }
    }
    text
}

/// Rows `SECTION.NAME`, as the manifest has them.
fn in_section<'a>(
    section: &str,
    rows: impl Iterator<Item = (&'a String, String)>,
) -> Vec<(String, Said)> {
    rows.map(|(name, value)| (format!("{section}.{name}"), Said::Value(value)))
        .collect()
}

fn title(session: &Session, one: &One) -> String {
    format!("{} · {}", one.release.service, session.loaded.environment)
}

fn differing(one: &One) -> String {
    let facts = one.facts();
    let mut text = String::new();
    let rows: Vec<(String, Said)> = match facts.is_empty() {
        true if one.differs_beside() => vec![(
            format!("[targets.{}]", one.listed.cloud),
            Said::Words("what no revision has: who may call it, and from where".into()),
        )],
        true => vec![(
            "nothing".into(),
            Said::Words("that the manifest says".into()),
        )],
        false => facts
            .into_iter()
            .map(|fact| (fact.what.clone(), Said::Differs(fact)))
            .collect(),
    };
    push(&mut text, &rows);
    text
}

fn push(text: &mut String, rows: &[(String, Said)]) {
    for line in in_columns(rows, view::width()) {
        text.push_str(&format!("  {line}\n"));
    }
}

/// Those that are alike, the first of each and the names of their targets.
fn alike<K: PartialEq>(all: &[One], key: impl Fn(&One) -> K) -> Vec<(Vec<&'static str>, &One)> {
    let mut told: Vec<(K, Vec<&'static str>, &One)> = Vec::new();
    for one in all {
        let key = key(one);
        let cloud = one.listed.cloud.as_str();
        match told.iter_mut().find(|(same, ..)| *same == key) {
            Some((_, clouds, _)) => clouds.push(cloud),
            None => told.push((key, vec![cloud], one)),
        }
    }
    told.into_iter()
        .map(|(_, clouds, one)| (clouds, one))
        .collect()
}
