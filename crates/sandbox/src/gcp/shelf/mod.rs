//! Google's simple kinds, each a row of a table: where one is, what it is made of and needs, who
//! uses it, and in which words its service refuses. To make, read, list, change and delete one is
//! here, once, and so is the policy of one that has it.
//!
//! Which of these methods a kind has, what each takes, and the members of what it answers, is for
//! its discovery document to say (`schemas/gcp`); that has checked what a request must say.
//!
//! To add a simple kind:
//!
//! 1. name its methods in `schemas/trim_discovery.py`, and run that;
//! 2. give [`Gcp`] a [`Shelf`] for it, and have that dumped;
//! 3. write its row, a `const` [`Kind`]: every field, and the source of each refusal. A new one is
//!    [`told`], one that is deleted leaves [`nothing`] to say, unless its service answers with an
//!    operation. A method that is not simple is `None` here;
//! 4. have its service ask [`Kind::call`] before it looks at the methods that it answers itself;
//! 5. have a client of the vendor's, or a test, make, read, change and delete one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::iam::Policy;
use super::names::check_location;
use super::schema::{Object, camel};
use super::wire::Call;

/// Where a thing is (a location, or a project; empty for the project), and its id.
pub type Key = (String, String);

/// The things of a kind. Cheap to clone.
pub struct Shelf<T>(Arc<Mutex<BTreeMap<Key, Thing<T>>>>);

/// A simple thing.
#[derive(Serialize)]
pub struct Thing<T> {
    /// As it is answered.
    pub message: Object,
    /// Who may do what with it.
    pub policy: Policy,
    /// What is not answered, or elsewhere.
    #[serde(flatten)]
    pub kept: T,
}

/// A simple kind.
pub struct Kind<T: 'static> {
    /// What the ids of its methods begin with.
    pub methods: &'static str,
    /// Which placeholder of a path is its id.
    pub id: usize,
    /// Where its things are.
    pub on: fn(&Gcp) -> &Shelf<T>,
    /// Where what a call is about is; `-` for everywhere. Refuses a place that there is not.
    pub home: fn(&Gcp, &Call) -> Outcome<String>,
    /// How one is made.
    pub makes: Option<Makes<T>>,
    /// How one is changed.
    pub changes: Option<Changes<T>>,
    /// How one is deleted.
    pub ends: Option<Ends<T>>,
    /// There is none of that key.
    pub absent: fn(&Gcp, &Key) -> ApiError,
    /// Whether a listing that is asked for this way has the one of that id.
    pub fits: fn(&Call, &str, &Thing<T>) -> Outcome<bool>,
    /// How many a listing has, unless it is asked for another count.
    pub page: usize,
}

/// How a thing is made.
pub struct Makes<T: 'static> {
    /// The id of a new one. Refuses one that the service does not take.
    pub named: fn(&Call) -> Outcome<String>,
    /// What a new one is. Refuses what does not fit, and what needs something that is not there.
    pub made: fn(&Gcp, &Call, &Key) -> Outcome<(Object, T)>,
    /// There is one of that key already.
    pub taken: fn(&Gcp, &Key) -> ApiError,
    /// Has done what else a new one takes, and answers.
    pub answer: fn(&Gcp, &Key, Object) -> Value,
}

/// How a thing is deleted.
pub struct Ends<T: 'static> {
    /// Refuses to delete one that is in use, or that the caller saw otherwise.
    pub free: fn(&Call, &Thing<T>) -> Outcome<()>,
    /// Has done what else it takes, and answers.
    pub answer: fn(&Gcp, &Key, Thing<T>) -> Value,
}

/// What can be changed of a thing.
pub struct Changes<T: 'static> {
    /// The members that a mask may name.
    pub members: &'static [&'static str],
    /// Whether there must be a mask; else all that is sent is changed without one.
    pub by_mask: bool,
    /// What is said of a member that a mask may not name.
    pub refused: &'static str,
    /// Refuses what may not be sent, and completes the rest.
    pub checked: fn(&Gcp, &mut Object) -> Outcome<()>,
    /// Refuses what does not fit the thing as it is; notes that it changes.
    pub noted: fn(&Gcp, &mut Thing<T>, &Object) -> Outcome<()>,
}

impl<T> Thing<T> {
    /// One that nobody was let at yet.
    pub fn new(message: Object, kept: T) -> Self {
        Self {
            message,
            policy: Policy::default(),
            kept,
        }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shelf<T> {
    /// The things, by their keys.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Thing<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told of each thing there, `-` for everywhere.
    pub fn at<R, I: IntoIterator<Item = R>>(
        &self,
        home: &str,
        mut tell: impl FnMut(&Key, &Thing<T>) -> I,
    ) -> Vec<R> {
        let all = self.lock();
        let there = all.iter().filter(|(key, _)| home == "-" || key.0 == home);
        there.flat_map(|(key, it)| tell(key, it)).collect()
    }
}

impl<T: Serialize> Shelf<T> {
    /// Everything that there is, as data.
    pub fn dump(&self) -> Value {
        crate::dump::of_map(&self.lock())
    }
}

impl<T> Kind<T> {
    /// Answers a call, unless it is of none of these methods.
    pub fn call(&self, gcp: &Gcp, call: &Call) -> Option<Outcome> {
        Some(match call.method.id.strip_prefix(self.methods)? {
            "create" | "insert" => self.create(gcp, call, self.makes.as_ref()?),
            "get" => self.with(gcp, call, |it| Ok(it.message.clone().into())),
            "list" => self.list(gcp, call),
            "patch" => self.patch(gcp, call, self.changes.as_ref()?),
            "delete" => self.delete(gcp, call, self.ends.as_ref()?),
            "getIamPolicy" => self.with(gcp, call, |it| Ok(it.policy.get())),
            "setIamPolicy" => {
                let now = gcp.host().clock.now();
                self.with(gcp, call, |it| it.policy.set_at(&call.body, now))
            }
            "testIamPermissions" => self.with(gcp, call, |_| Ok(gcp.test_permissions(&call.body))),
            _ => return None,
        })
    }

    /// The key of what a call's path names: by its id, or by the number that older APIs give it.
    pub fn key(&self, gcp: &Gcp, call: &Call) -> Outcome<Key> {
        let (home, named) = ((self.home)(gcp, call)?, call.var(self.id));
        let all = (self.on)(gcp).lock();
        let mut own = all.iter().filter(|((it, _), _)| *it == home);
        let numbered = own.find(|(_, it)| it.message.get("id").is_some_and(|id| id == named));
        let id = numbered
            .map_or(named, |((_, id), _)| id.as_str())
            .to_owned();
        Ok((home, id))
    }

    /// Does something with what a call's path names.
    pub fn with<R>(
        &self,
        gcp: &Gcp,
        call: &Call,
        act: impl FnOnce(&mut Thing<T>) -> Outcome<R>,
    ) -> Outcome<R> {
        self.at(gcp, &self.key(gcp, call)?, act)
    }

    /// Does something with the thing of a key.
    pub fn at<R>(
        &self,
        gcp: &Gcp,
        key: &Key,
        act: impl FnOnce(&mut Thing<T>) -> Outcome<R>,
    ) -> Outcome<R> {
        match (self.on)(gcp).lock().get_mut(key) {
            Some(thing) => act(thing),
            None => Err((self.absent)(gcp, key)),
        }
    }

    fn create(&self, gcp: &Gcp, call: &Call, makes: &Makes<T>) -> Outcome {
        let key = ((self.home)(gcp, call)?, (makes.named)(call)?);
        let (message, kept) = (makes.made)(gcp, call, &key)?;
        let thing = Thing::new(message.clone(), kept);
        match (self.on)(gcp).lock().entry(key.clone()) {
            Entry::Vacant(place) => drop(place.insert(thing)),
            Entry::Occupied(_) => return Err((makes.taken)(gcp, &key)),
        }
        Ok((makes.answer)(gcp, &key, message))
    }

    fn list(&self, gcp: &Gcp, call: &Call) -> Outcome {
        let home = (self.home)(gcp, call)?;
        let mut found = Vec::new();
        for ((own, id), thing) in (self.on)(gcp).lock().iter() {
            if (home == "-" || *own == home) && (self.fits)(call, id, thing)? {
                found.push(thing.message.clone());
            }
        }
        call.listed(found, self.page)
    }

    fn patch(&self, gcp: &Gcp, call: &Call, changes: &Changes<T>) -> Outcome {
        let members = changes.asked(call)?;
        let mut sent = call.body.clone();
        (changes.checked)(gcp, &mut sent)?;
        self.with(gcp, call, |thing| {
            (changes.noted)(gcp, thing, &sent)?;
            for member in members {
                match sent.get(&member) {
                    Some(value) => thing.message.insert(member, value.clone()),
                    None => thing.message.remove(&member),
                };
            }
            Ok(thing.message.clone().into())
        })
    }

    fn delete(&self, gcp: &Gcp, call: &Call, ends: &Ends<T>) -> Outcome {
        let key = self.key(gcp, call)?;
        self.at(gcp, &key, |it| (ends.free)(call, it))?;
        let gone = (self.on)(gcp).lock().remove(&key);
        gone.map(|it| (ends.answer)(gcp, &key, it))
            .ok_or_else(|| (self.absent)(gcp, &key))
    }
}

impl<T> Changes<T> {
    /// The members that a call changes.
    fn asked(&self, call: &Call) -> Outcome<Vec<String>> {
        let is_known = |member: &str| self.members.contains(&member);
        let mask = call.query("updateMask").split(',').map(camel);
        let mask: Vec<String> = mask.filter(|path| !path.is_empty()).collect();
        let refused = |why: String| Err(ApiError::field("update_mask", why));
        if mask.is_empty() && self.by_mask {
            return refused("an update mask must be provided".to_owned());
        }
        if mask.is_empty() {
            let sent = call.body.keys().filter(|it| is_known(it));
            return Ok(sent.cloned().collect());
        }
        let mut asked = Vec::new();
        for path in mask {
            match path.split('.').next().unwrap_or_default() {
                "*" if !self.by_mask => {
                    asked.extend(self.members.iter().map(|it| (*it).to_owned()));
                }
                // A time to live is kept as the time of its end (<https://google.aip.dev/214>).
                "ttl" if is_known("ttl") => asked.push("expireTime".to_owned()),
                // It says which version the caller saw, and is no part of it.
                "etag" if is_known("etag") => {}
                member if is_known(member) => asked.push(member.to_owned()),
                _ => return refused(format!("the field '{path}' {}", self.refused)),
            }
        }
        Ok(asked)
    }
}

/// For a kind whose things are at locations.
pub fn located(_: &Gcp, call: &Call) -> Outcome<String> {
    if call.var(1) != "-" {
        check_location(call.var(1))?;
    }
    Ok(call.var(1).to_owned())
}

/// For a kind of which any may be deleted.
pub fn unused<T>(_: &Call, _: &Thing<T>) -> Outcome<()> {
    Ok(())
}

/// For a kind whose listings have all that are there.
pub fn all<T>(_: &Call, _: &str, _: &Thing<T>) -> Outcome<bool> {
    Ok(true)
}

/// For a kind of which a new one is answered itself.
pub fn told(_: &Gcp, _: &Key, message: Object) -> Value {
    message.into()
}

/// For a kind of which nothing is said any more.
pub fn nothing<T>(_: &Gcp, _: &Key, _: Thing<T>) -> Value {
    json!({})
}
