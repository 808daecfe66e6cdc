//! Simple kinds, each a row of a table: what one is called, what it is made of and needs, who uses
//! it, and in which words the service refuses. To make, describe, list, change and delete one is
//! here, once, for services that talk in forms and for those that talk in JSON.
//!
//! The operations are known by a kind's noun: `CreateNOUN` (`Register`, `Put`), `DescribeNOUN`,
//! `DescribeNOUNs`, `ListNOUNs`, `DeleteNOUN` (`Deregister`). What changes one goes by names of its
//! own. Answers follow the service's model: an operation whose output has the member of one answers
//! it whole, every other the members that its output has. The model has checked what a request must
//! say.
//!
//! To add a simple kind:
//!
//! 1. name its operations in `schemas/trim_botocore.py`, and run that;
//! 2. give its service's state a [`Shelf`]: it is in the dump;
//! 3. write its row, a `const` [`Kind`]: every field, and the source of each refusal;
//! 4. name the row among the kinds that its service hands to [`Service::answer`], and in `tagged`;
//! 5. have a client of the vendor's, or a test, make, read, change and delete one.

pub mod subnets;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::json::{copy, need};
use super::schema::{self, Model};
use super::tagging::Tagged;
use super::tags::Tags;
use crate::Host;

/// The things of a kind, by key: a name, or an ARN that the service made.
pub type Shelf<T = Kept> = BTreeMap<String, Thing<T>>;

/// What a service keeps of a thing beside what it describes: the values of parameters.
pub type Kept = Map<String, Value>;

/// A simple thing.
#[derive(Serialize)]
pub struct Thing<T = Kept> {
    /// As described, without tags.
    pub value: Value,
    /// Its tags, in the service's own words.
    pub tags: Vec<Value>,
    /// What is described elsewhere.
    pub kept: T,
    /// Whether it was deleted, and is only described for a while.
    pub gone: bool,
}

impl<T: Default> Thing<T> {
    /// A thing that keeps nothing else.
    pub fn new(value: Value, tags: Vec<Value>) -> Self {
        Self {
            value,
            tags,
            kept: T::default(),
            gone: false,
        }
    }
}

/// Where the things of a kind are in a service's state: to read, and to change.
pub type On<S, T> = (fn(&S) -> &Shelf<T>, fn(&mut S) -> &mut Shelf<T>);

/// A simple kind of a service whose state is an `S`.
pub struct Kind<S: 'static, T: 'static = Kept> {
    /// What operations call one, and several.
    pub noun: (&'static str, &'static str),
    /// The members that answer one, and several.
    pub answers: (&'static str, &'static str),
    /// What stands before the name in its ARN, and the member that says the ARN.
    pub arn: (&'static str, &'static str),
    /// Where its things are: to read, and to change.
    pub on: On<S, T>,
    /// The key of a new one. Refuses a name that the service does not take.
    pub named: fn(&S, &Site, &Value) -> Result<String, AwsError>,
    /// The keys of what a request is about; none: of everything.
    pub asked: fn(&S, &Site, &Value) -> Result<Vec<String>, AwsError>,
    /// What a new one is described as. Refuses what does not fit, and what needs something that is
    /// not there.
    pub made: fn(&S, &Site, &str, &Value) -> Result<Value, AwsError>,
    /// What the operations change that change one.
    pub changes: &'static [(&'static str, Change<S>)],
    /// Refuses to delete one that is in use, or the vendor's own.
    pub free: fn(&S, &Site, &str, &Value) -> Result<(), AwsError>,
    /// What becomes of one that is deleted.
    pub going: Going,
    /// What becomes of a request to make what is there.
    pub taken: Taken,
    /// There is none of that key.
    pub absent: fn(&Site, &str) -> AwsError,
    /// How an operation shows one.
    pub shown: fn(&S, &Thing<T>, &str) -> Value,
    /// Whether a listing that is asked for this way has one.
    pub fits: fn(&S, &Thing<T>, &Value) -> bool,
    /// How its service lists things, and speaks of their tags.
    pub service: &'static Service,
}

/// What is alike in all kinds of a service.
pub struct Service {
    /// A page of several: the request, the member, all of them.
    pub pages: fn(&Value, &str, Vec<Value>) -> Result<Value, AwsError>,
    /// How it speaks of tags.
    pub tags: Tags,
}

impl Service {
    /// Answers a call about one of these kinds, or about tags: `tags_at` finds those of what a
    /// request names, of whatever kind.
    pub fn answer<S, T: Default>(
        &self,
        kinds: &[Kind<S, T>],
        state: &mut S,
        asked: &Asked,
        tags_at: impl for<'a> FnOnce(&'a mut S, &str) -> Found<'a>,
    ) -> Result<Value, AwsError> {
        let answered = kinds.iter().find_map(|kind| kind.call(state, asked));
        let (operation, input) = (asked.operation, asked.input);
        let answered =
            answered.or_else(|| (self.tags).call(operation, input, |named| tags_at(state, named)));
        answered.unwrap_or_else(|| {
            let code = match asked.site.model.is_query() {
                true => "InvalidAction",
                false => "UnknownOperationException",
            };
            Err(AwsError::new(code, operation))
        })
    }
}

/// The tags of something, or why there are none.
pub type Found<'a> = Result<&'a mut Vec<Value>, AwsError>;

/// The members that a request changes, a null where it takes one away: of the state, the place, the
/// key and what is asked for.
pub type Change<S> = fn(&S, &Site, &str, &Value) -> Result<Value, AwsError>;

/// What becomes of a thing that is deleted.
#[derive(Clone, Copy)]
pub enum Going {
    /// It is forgotten, with what else there is of it.
    Forgotten(fn(&Site, &str)),
    /// It is described for a while, with these members changed, and no longer listed.
    Described(fn(&Site, &mut Value)),
}

impl Going {
    /// Nothing else is there of it.
    pub const FORGOTTEN: Self = Self::Forgotten(|_, _| ());
}

/// What becomes of a request to make a thing that is there.
#[derive(Clone, Copy)]
pub enum Taken {
    /// It is refused in these words.
    Refused(fn(&Site, &str) -> AwsError),
    /// The one that is there is answered, as it is.
    Answered,
    /// The one that is there becomes what is asked for, and keeps its tags.
    Replaced,
}

/// Where things are, and when.
pub struct Site {
    /// What the service stands on.
    pub host: Host,
    model: &'static Model,
    prefix: String,
}

impl Site {
    /// Of a service, by its name in ARNs.
    pub fn of(host: &Host, service: &str) -> Self {
        Self {
            prefix: format!("arn:aws:{service}:{}:{}:", host.region, host.account),
            model: schema::model(service).expect("a service with a shelf has a model"),
            host: host.clone(),
        }
    }

    /// The ARN of a resource, for example `subgrp:default`.
    pub fn arn(&self, resource: &str) -> String {
        format!("{}{resource}", self.prefix)
    }

    /// The resource of an ARN of this place.
    pub fn resource<'a>(&self, arn: &'a str) -> Option<&'a str> {
        arn.strip_prefix(&self.prefix)
    }

    /// The clouds' time, as JSON and query services write it.
    pub fn now(&self) -> Value {
        super::json::seconds(self.host.clock.now())
    }
}

/// A call that the schema has let through.
pub struct Asked<'a> {
    /// Where.
    pub site: &'a Site,
    /// Which operation.
    pub operation: &'a str,
    /// With what.
    pub input: &'a Value,
}

impl<S, T: Default> Kind<S, T> {
    /// Carries out an operation, unless it is none of this kind's.
    pub fn call(&self, state: &mut S, asked: &Asked) -> Option<Result<Value, AwsError>> {
        let mut changes = self.changes.iter();
        if let Some((_, change)) = changes.find(|(name, _)| *name == asked.operation) {
            return Some(self.change(state, asked, *change));
        }
        let (one, several) = self.noun;
        if let Some(verb) = asked.operation.strip_suffix(several) {
            return matches!(verb, "Describe" | "List").then(|| self.list(state, asked));
        }
        match asked.operation.strip_suffix(one)? {
            "Create" | "Register" | "Put" => Some(self.create(state, asked)),
            // One that is gone is described as well.
            "Describe" => Some(
                self.key(state, asked)
                    .and_then(|key| self.answer(state, asked, &key)),
            ),
            "Delete" | "Deregister" => Some(self.delete(state, asked)),
            _ => None,
        }
    }

    /// Puts one there that no request asked for: what the vendor has from the start.
    pub fn put(&self, state: &mut S, key: &str, value: Value) {
        (self.on.1)(state).insert(key.to_owned(), Thing::new(value, Vec::new()));
    }

    /// Has one that is there go, whoever uses it.
    pub fn leave(&self, state: &mut S, site: &Site, key: &str) {
        let thing = (self.on.1)(state).get_mut(key);
        if let (Some(thing), Going::Described(change)) = (thing, self.going) {
            change(site, &mut thing.value);
            thing.gone = true;
        }
    }

    /// Every one with its tags, those that are gone too.
    pub fn tagged(&self, state: &S) -> Vec<Tagged> {
        let all = (self.on.0)(state).values();
        all.map(|it| {
            self.service
                .tags
                .tagged(need(&it.value, self.arn.1), &it.tags)
        })
        .collect()
    }

    /// The key of the one thing that a call is about.
    fn key(&self, state: &S, asked: &Asked) -> Result<String, AwsError> {
        let mut keys = (self.asked)(state, asked.site, asked.input)?;
        Ok(keys.pop().unwrap_or_default())
    }

    /// The same, of a thing that is there.
    fn there(&self, state: &S, asked: &Asked) -> Result<String, AwsError> {
        let key = self.key(state, asked)?;
        match (self.on.0)(state).get(&key) {
            Some(thing) if !thing.gone => Ok(key),
            _ => Err((self.absent)(asked.site, &key)),
        }
    }

    fn create(&self, state: &mut S, asked: &Asked) -> Result<Value, AwsError> {
        let (site, input) = (asked.site, asked.input);
        let key = (self.named)(state, site, input)?;
        let tags = self.service.tags.given(input)?;
        let value = (self.made)(state, site, &key, input)?;
        let shelf = (self.on.1)(state);
        match (shelf.get_mut(&key).filter(|it| !it.gone), self.taken) {
            (Some(_), Taken::Refused(words)) => return Err(words(site, &key)),
            (Some(_), Taken::Answered) => {}
            (Some(thing), Taken::Replaced) => thing.value = value,
            (None, _) => drop(shelf.insert(key.clone(), Thing::new(value, tags))),
        }
        self.answer(state, asked, &key)
    }

    fn list(&self, state: &S, asked: &Asked) -> Result<Value, AwsError> {
        let keys = (self.asked)(state, asked.site, asked.input)?;
        let shelf = (self.on.0)(state);
        if let Some(key) = keys.iter().find(|key| !shelf.contains_key(*key)) {
            return Err((self.absent)(asked.site, key));
        }
        let all = shelf.iter().filter(|(_, it)| !it.gone);
        let found = all.filter(|(key, it)| {
            (keys.is_empty() || keys.contains(key)) && (self.fits)(state, it, asked.input)
        });
        let shown = found.map(|(_, it)| (self.shown)(state, it, asked.operation));
        (self.service.pages)(asked.input, self.answers.1, shown.collect())
    }

    fn change(&self, state: &mut S, asked: &Asked, change: Change<S>) -> Result<Value, AwsError> {
        let key = self.there(state, asked)?;
        let members = change(state, asked.site, &key, asked.input)?;
        let thing = (self.on.1)(state).get_mut(&key);
        let value = thing.and_then(|it| it.value.as_object_mut());
        if let (Some(value), Value::Object(members)) = (value, members) {
            value.extend(members);
            value.retain(|_, it| !it.is_null());
        }
        self.answer(state, asked, &key)
    }

    fn delete(&self, state: &mut S, asked: &Asked) -> Result<Value, AwsError> {
        let key = self.there(state, asked)?;
        (self.free)(state, asked.site, &key, asked.input)?;
        self.leave(state, asked.site, &key);
        let answer = self.answer(state, asked, &key);
        if let Going::Forgotten(forget) = self.going {
            (self.on.1)(state).remove(&key);
            forget(asked.site, &key);
        }
        answer
    }

    /// What a call answers that was about one thing.
    fn answer(&self, state: &S, asked: &Asked, key: &str) -> Result<Value, AwsError> {
        let thing = (self.on.0)(state).get(key);
        let thing = thing.ok_or_else(|| (self.absent)(asked.site, key))?;
        let shown = (self.shown)(state, thing, asked.operation);
        let output = asked.site.model.output(asked.operation);
        match output.is_some_and(|it| it.members.contains_key(self.answers.0)) {
            true => Ok(json!({ self.answers.0: shown })),
            false => Ok(asked.site.model.cut(asked.operation, shown)),
        }
    }
}

/// What is described of those that are not gone.
pub fn live<T>(shelf: &Shelf<T>) -> impl Iterator<Item = &Value> {
    shelf.values().filter(|it| !it.gone).map(|it| &it.value)
}

/// For a kind of which any may be deleted.
pub fn unused<S>(_: &S, _: &Site, _: &str, _: &Value) -> Result<(), AwsError> {
    Ok(())
}

/// For a kind that is shown as it is kept.
pub fn whole<S, T>(_: &S, thing: &Thing<T>, _: &str) -> Value {
    thing.value.clone()
}

/// For a kind whose listings have all that are there.
pub fn all<S, T>(_: &S, _: &Thing<T>, _: &Value) -> bool {
    true
}

/// The tags of what an ARN names, where that is of one of these kinds. One that is gone is absent.
pub fn tags_at<'a, S>(
    kinds: &[Kind<S>],
    state: &'a mut S,
    site: &Site,
    arn: &str,
) -> Option<Found<'a>> {
    let resource = site.resource(arn)?;
    let (kind, name) = kinds
        .iter()
        .find_map(|kind| Some((kind, resource.strip_prefix(kind.arn.0)?)))?;
    let mut things = (kind.on.1)(state).values_mut();
    let found = things.find(|it| !it.gone && need(&it.value, kind.arn.1) == arn);
    let tags = found.map(|it| &mut it.tags);
    Some(tags.ok_or_else(|| (kind.absent)(site, name)))
}

/// Members of a request that are there, for what is changed.
pub fn given(input: &Value, names: &[&str]) -> Value {
    let mut given = Map::new();
    copy(input, names, &mut given);
    Value::Object(given)
}
