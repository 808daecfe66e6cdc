//! Whose things are: the owner that marks name, and what earlier runs noted of what carries no
//! mark; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::fields::Fields;
use crate::names::{LEDGER_LABEL, LEDGER_TAG, OWNER_TAG};

/// What the fields of tags and labels begin with.
const TAG: &str = "tags.";

/// One environment of one app: what a mark names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The app.
    pub app: String,
    /// Its environment.
    pub environment: String,
}

impl Owner {
    /// The owner of that name.
    pub fn new(app: &str, environment: &str) -> Self {
        Self {
            app: app.to_owned(),
            environment: environment.to_owned(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::names::owner(&self.app, &self.environment))
    }
}

/// How we know that a thing is not ours, and whose it is where its mark says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    how: String,
    owner: Option<String>,
}

impl Stranger {
    /// Marked as another owner's: nothing takes it from there.
    pub fn of(owner: impl Into<String>, how: impl Into<String>) -> Self {
        Self {
            how: how.into(),
            owner: Some(owner.into()),
        }
    }

    /// Whose it is. `None` when nobody has marked it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The refusal to touch it, with the way out. `what` names the thing.
    pub fn refusal(&self, what: impl fmt::Display) -> Error {
        let message = format!("{what} exists and is not ours: {}", self.how);
        let error = Error::new(ErrorKind::Conflict, message);
        match &self.owner {
            Some(owner) => error.hint(format!(
                "it belongs to `{owner}`: let that environment release it (`deployer forget`), or give ours another name \
                 in the manifest; `adopt` takes only what nobody has marked"
            )),
            None => error.hint(
                "give ours another name in the manifest, or set `adopt = true` on it to take it over",
            ),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// Something that nobody has marked.
impl From<String> for Stranger {
    fn from(how: String) -> Self {
        Self { how, owner: None }
    }
}

/// The refusal to deploy code alone to a service that may be somebody else's.
pub fn unknown(service: &str) -> Error {
    let what = format!("service `{service}` is not known to be ours: the ledger does not name it");
    Error::new(ErrorKind::Conflict, what)
        .hint("run `deployer apply` without `--only` once: it looks at the mark of the service")
}

/// What earlier runs noted of one address. Empty for one that they did not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Whether the inventory names it.
    pub known: bool,
    /// Whether it was there before us.
    pub adopted: bool,
    /// Whether it holds data, where its kind alone does not say.
    pub data: Option<bool>,
    /// The keys of the tags that we set beside our mark.
    pub tags: BTreeSet<String>,
    /// What we wrote there, or may have, where it carries no mark.
    pub wrote: Vec<Fields>,
}

impl Past {
    /// Whether what carries no mark is still as we wrote it.
    pub fn says(&self, fields: &Fields) -> bool {
        self.wrote.contains(fields)
    }

    /// Whether everything that we once wrote, where it carries no mark, is so still: the cloud may
    /// tell more.
    pub fn is_still(&self, there: &Fields) -> bool {
        let mut wrote = self.wrote.iter();
        wrote.any(|it| {
            it.iter()
                .all(|(name, value)| there.get(name) == Some(value))
        })
    }

    /// The tags that an earlier run set and that are not wanted now: only these are ever removed.
    pub fn unwanted<V>(&self, wanted: &BTreeMap<String, V>) -> BTreeSet<String> {
        let keys = self.tags.iter();
        keys.filter(|key| !wanted.contains_key(*key))
            .cloned()
            .collect()
    }
}

/// What the ledgers know of every address.
#[derive(Clone, Debug, Default)]
pub struct Ours(pub(crate) BTreeMap<Address, Past>);

impl Ours {
    /// What is known of an address.
    pub fn past(&self, address: &Address) -> Past {
        self.0.get(address).cloned().unwrap_or_default()
    }
}

/// What a run notes in the inventory of something that exists, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// What it needs: it is deleted before these.
    pub needs: BTreeSet<Address>,
    /// What is known of how it came to be.
    pub began: Began,
    /// Whether it holds data, where its kind alone does not say.
    pub data: Option<bool>,
    /// The keys of the tags that are set beside our mark.
    pub tags: BTreeSet<String>,
    /// What is written there, where it carries no mark.
    pub wrote: Option<Fields>,
    /// Whether all of this is known to be so; else what was noted before may still be so too.
    pub certain: Certain,
}

/// How much of what is noted replaces what was noted before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certain {
    /// Nothing: it is to be made so, and what was there before may still be, with what it needs.
    #[default]
    NotYet,
    /// All of it: it is so.
    Now,
    /// Nothing: only a part of it was looked at.
    InPart,
}

/// How a thing came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Began {
    /// As the inventory says; made by us where that does not know it yet.
    #[default]
    Before,
    /// It was there without a mark of ours; where the inventory knows it, that says otherwise.
    Found,
    /// By us, now.
    Made,
}

/// The keys of the tags among these fields, our own mark aside.
pub fn tag_keys(fields: &Fields) -> BTreeSet<String> {
    let keys = fields.iter().filter_map(|(name, _)| name.strip_prefix(TAG));
    keys.filter(|key| ![OWNER_TAG, LEDGER_TAG, LEDGER_LABEL].contains(key))
        .map(str::to_owned)
        .collect()
}

/// The mark among these fields. `None` when there is none.
pub fn mark(fields: &Fields) -> Option<String> {
    let mark = fields.get(&format!("{TAG}{OWNER_TAG}"))?;
    Some(mark.to_string())
}

/// Whether something is to bear a mark and bears none yet.
pub fn is_to_be_marked(wanted: &Fields, there: &Fields) -> bool {
    mark(wanted).is_some() && mark(there).is_none()
}

/// What is there, without the tags that neither the manifest sets nor an earlier run of ours set:
/// these are somebody's.
pub fn without_others_tags(there: &Fields, wanted: &Fields, past: &Past) -> Fields {
    let ours = |name: &str| match name.strip_prefix(TAG) {
        None => true,
        Some(key) => key == OWNER_TAG || past.tags.contains(key) || wanted.get(name).is_some(),
    };
    let mut fields = Fields::new();
    for (name, value) in there.iter().filter(|(name, _)| ours(name)) {
        fields.set_value(name, value.clone());
    }
    fields
}

/// Whether this is `false`: for what is not written.
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.set(*name, value);
        }
        fields
    }

    #[test]
    fn tags_that_nobody_of_us_set_are_not_seen() {
        let there = fields(&[
            ("cpu", "1"),
            ("tags.deployer", "shop/a"),
            ("tags.backup", "daily"),
            ("tags.team", "old"),
            ("tags.gone", "x"),
        ]);
        let wanted = fields(&[("tags.deployer", "shop/a"), ("tags.team", "new")]);
        let past = Past {
            tags: BTreeSet::from(["gone".to_owned()]),
            ..Past::default()
        };
        let seen = without_others_tags(&there, &wanted, &past);
        let names: Vec<&str> = seen.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cpu", "tags.deployer", "tags.gone", "tags.team"]);
    }

    #[test]
    fn a_marked_thing_is_refused_with_its_owners_name_and_no_word_of_taking_it() {
        let marked = Stranger::of("shop/b", "its tag `deployer` says `shop/b`, not `shop/a`");
        let refusal = marked.refusal("secret `x`");
        assert_eq!(refusal.kind(), ErrorKind::Conflict);
        let hint = refusal.hint_text().unwrap().to_owned();
        assert!(hint.contains("it belongs to `shop/b`"), "{hint}");
        assert!(!hint.contains("set `adopt = true`"), "{hint}");
        let unmarked = Stranger::from("it has no tag `deployer`".to_owned());
        let refusal = unmarked.refusal("secret `x`");
        let hint = refusal.hint_text().unwrap();
        assert!(hint.contains("set `adopt = true`"), "{hint}");
    }
}
