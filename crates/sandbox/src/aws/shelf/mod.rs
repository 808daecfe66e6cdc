//! Simple kinds of the services that talk in forms, each a row of a table: what one is called, what
//! it is made of and needs, who uses it, and in which words the service refuses. To make, describe,
//! change and delete one is here, once.
//!
//! The operations are known by a kind's noun - `CreateNOUN`, `DescribeNOUNs`, `ModifyNOUN`,
//! `DeleteNOUN` - and so are the members of their answers. The service's model has checked what a
//! request must say.

pub mod subnets;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::json::{need, text};
use super::query_rules::{page, tags_of};
use super::tagging::Tagged;
use crate::Host;

/// The things of a kind, by name.
pub type Shelf = BTreeMap<String, Thing>;

/// A simple thing.
#[derive(Serialize)]
pub struct Thing {
    /// As described, without tags.
    pub value: Value,
    /// Its tags.
    pub tags: Vec<Value>,
    /// What the service keeps of it and describes elsewhere: the values of parameters.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub kept: Map<String, Value>,
}

impl Thing {
    /// A thing that keeps nothing else.
    pub fn new(value: Value, tags: Vec<Value>) -> Self {
        Self {
            value,
            tags,
            kept: Map::new(),
        }
    }
}

/// A simple kind of a service whose state is an `S`. Names are kept in lower case.
pub struct Kind<S: 'static> {
    /// What operations and answers call one: `DBSubnetGroup`. Its name is the member `NOUNName`.
    pub noun: &'static str,
    /// What stands before the name in its ARN, and the member that answers the ARN.
    pub arn: (&'static str, &'static str),
    /// Where its things are.
    pub on: fn(&mut S) -> &mut Shelf,
    /// Refuses a name that the service does not take.
    pub named: fn(&str) -> Result<(), AwsError>,
    /// The members of a new one, but for its name and ARN. Refuses what does not fit, and what
    /// needs something that is not there.
    pub made: fn(&S, &Site, &Value) -> Result<Value, AwsError>,
    /// The members of one that a request changes, where a kind can be changed as a whole.
    pub changed: Option<Change<S>>,
    /// Refuses to delete one that is in use, or the vendor's own.
    pub free: fn(&S, &str) -> Result<(), AwsError>,
    /// There is one of that name already.
    pub exists: fn(&str) -> AwsError,
    /// There is none of that name.
    pub absent: fn(&str) -> AwsError,
}

/// What a request changes: the state, the place, the name and what is asked for.
pub type Change<S> = fn(&S, &Site, &str, &Value) -> Result<Value, AwsError>;

/// Where things are: what their ARNs begin with.
pub struct Site {
    prefix: String,
    /// The region.
    pub region: String,
}

impl Site {
    /// Of a service, by its name in ARNs.
    pub fn of(host: &Host, service: &str) -> Self {
        Self {
            prefix: format!("arn:aws:{service}:{}:{}", host.region, host.account),
            region: host.region.clone(),
        }
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }
}

impl<S> Kind<S> {
    /// Carries out an operation, unless it is none of this kind's.
    pub fn call(
        &self,
        state: &mut S,
        site: &Site,
        operation: &str,
        input: &Value,
    ) -> Option<Result<Value, AwsError>> {
        let verb = match operation.strip_suffix('s') {
            Some(several) => several.strip_suffix(self.noun)?,
            None => operation.strip_suffix(self.noun)?,
        };
        match verb {
            "Create" => Some(self.create(state, site, input)),
            "Describe" => Some(self.describe(state, input)),
            "Modify" => self
                .changed
                .map(|changed| self.modify(state, site, input, changed)),
            "Delete" => Some(self.delete(state, input)),
            _ => None,
        }
    }

    /// Puts one there that no request asked for: what the vendor has from the start.
    pub fn put(&self, state: &mut S, site: &Site, name: &str, members: Value) {
        let value = self.whole(site, name, members);
        let shelf = (self.on)(state);
        shelf.insert(name.to_owned(), Thing::new(value, Vec::new()));
    }

    /// The tags of one.
    pub fn tags_of<'a>(
        &self,
        state: &'a mut S,
        name: &str,
    ) -> Result<&'a mut Vec<Value>, AwsError> {
        let found = (self.on)(state).get_mut(name);
        found
            .map(|it| &mut it.tags)
            .ok_or_else(|| (self.absent)(name))
    }

    /// Every one with its tags.
    pub fn tagged(&self, state: &mut S, site: &Site) -> Vec<Tagged> {
        let things = (self.on)(state).iter();
        let of = |(name, it): (&String, &Thing)| {
            Tagged::new(site.arn(self.arn.0, name), &it.tags, ("Key", "Value"))
        };
        things.map(of).collect()
    }

    fn name_of(&self, input: &Value) -> Option<String> {
        text(input, &format!("{}Name", self.noun)).map(str::to_lowercase)
    }

    fn whole(&self, site: &Site, name: &str, mut members: Value) -> Value {
        members[format!("{}Name", self.noun)] = json!(name);
        members[self.arn.1] = json!(site.arn(self.arn.0, name));
        members
    }

    fn create(&self, state: &mut S, site: &Site, input: &Value) -> Result<Value, AwsError> {
        let name = self.name_of(input).unwrap_or_default();
        (self.named)(&name)?;
        let tags = tags_of(input)?;
        let members = (self.made)(state, site, input)?;
        let shelf = (self.on)(state);
        if shelf.contains_key(&name) {
            return Err((self.exists)(&name));
        }
        let value = self.whole(site, &name, members);
        shelf.insert(name, Thing::new(value.clone(), tags));
        Ok(json!({ self.noun: value }))
    }

    fn describe(&self, state: &mut S, input: &Value) -> Result<Value, AwsError> {
        let shelf = (self.on)(state);
        let found = match self.name_of(input) {
            None => shelf.values().map(|it| it.value.clone()).collect(),
            Some(name) => {
                let found = shelf.get(&name).ok_or_else(|| (self.absent)(&name))?;
                vec![found.value.clone()]
            }
        };
        page(input, &format!("{}s", self.noun), found)
    }

    fn modify(
        &self,
        state: &mut S,
        site: &Site,
        input: &Value,
        changed: Change<S>,
    ) -> Result<Value, AwsError> {
        let name = self.name_of(input).unwrap_or_default();
        if !(self.on)(state).contains_key(&name) {
            return Err((self.absent)(&name));
        }
        let members = changed(state, site, &name, input)?;
        let thing = (self.on)(state).get_mut(&name);
        let thing = thing.ok_or_else(|| (self.absent)(&name))?;
        if let (Some(value), Value::Object(members)) = (thing.value.as_object_mut(), members) {
            value.extend(members);
        }
        Ok(json!({ self.noun: thing.value }))
    }

    fn delete(&self, state: &mut S, input: &Value) -> Result<Value, AwsError> {
        let name = self.name_of(input).unwrap_or_default();
        if !(self.on)(state).contains_key(&name) {
            return Err((self.absent)(&name));
        }
        (self.free)(state, &name)?;
        (self.on)(state).remove(&name);
        Ok(json!({}))
    }
}

/// Members of a request that are there, for what is changed.
pub fn given(input: &Value, names: &[&str]) -> Value {
    let given = names.iter().filter(|name| text(input, name).is_some());
    let given = given.map(|name| ((*name).to_owned(), json!(need(input, name))));
    Value::Object(given.collect())
}
