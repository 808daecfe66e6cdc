//! Tags of a resource, which every service keeps alike and calls otherwise: how one of them does is
//! a row.

use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::json::{drop_tags, list, merge_tags, need, texts};
use super::schema;
use super::tagging::Tagged;

/// How a service speaks of tags. They are kept as lists of objects with a key and a value.
pub struct Tags {
    /// What requests to the service are signed for.
    pub service: &'static str,
    /// The members of requests that name the resource, and the keys of what is taken away.
    pub members: (&'static str, &'static str),
    /// The member of requests that has tags, and that of answers.
    pub list: (&'static str, &'static str),
    /// What objects of the list call a key and a value.
    pub pair: (&'static str, &'static str),
    /// Whether requests and answers have a map in the place of the list.
    pub is_map: bool,
    /// Refuses tags that a request may not have.
    pub check: fn(&[Value]) -> Result<(), AwsError>,
    /// A resource has more than fifty.
    pub too_many: fn() -> AwsError,
    /// There is no tag of this key to take away. `None`: that is no error.
    pub missing: Option<fn(&str) -> AwsError>,
}

/// How many tags a resource may have.
const MOST: usize = 50;

impl Tags {
    /// Lists of objects with `Key` and `Value`, of which a resource has any. The words are ours.
    pub const LISTED: Self = Self {
        service: "",
        members: ("ResourceArn", "TagKeys"),
        list: ("Tags", "Tags"),
        pair: ("Key", "Value"),
        is_map: false,
        check: |_| Ok(()),
        too_many: || AwsError::new("TooManyTagsException", "A resource has at most 50 tags."),
        missing: None,
    };

    /// Carries out an operation on the tags of the resource that `find` finds, by what the request
    /// calls it. `None` when the operation is about something else. The answer has the tags, where
    /// the service's has any.
    pub fn call<'a>(
        &self,
        operation: &str,
        input: &Value,
        find: impl FnOnce(&str) -> Result<&'a mut Vec<Value>, AwsError>,
    ) -> Option<Result<Value, AwsError>> {
        let change: fn(&Self, &Value, &mut Vec<Value>) -> Result<(), AwsError> = match operation {
            "ListTagsForResource" => |_, _, _| Ok(()),
            "TagResource" | "AddTagsToResource" => Self::add,
            "UntagResource" | "RemoveTagsFromResource" => Self::remove,
            _ => return None,
        };
        Some(self.given(input).and_then(|_| {
            let tags = find(need(input, self.members.0))?;
            change(self, input, tags)?;
            let told = json!({ self.list.1: self.told(tags) });
            Ok(schema::model(self.service).map_or(json!({}), |it| it.cut(operation, told)))
        }))
    }

    /// The tags of a request.
    pub fn given(&self, input: &Value) -> Result<Vec<Value>, AwsError> {
        let tags = match input.get(self.list.0).and_then(Value::as_object) {
            Some(map) => {
                let pairs = map.iter();
                let object = |(key, value)| json!({ self.pair.0: key, self.pair.1: value });
                pairs.map(object).collect()
            }
            None => list(input, self.list.0).to_vec(),
        };
        (self.check)(&tags)?;
        Ok(tags)
    }

    /// For the Resource Groups Tagging API.
    pub fn tagged(&self, arn: &str, tags: &[Value]) -> Tagged {
        Tagged::new(arn, tags, self.pair)
    }

    fn add(&self, input: &Value, tags: &mut Vec<Value>) -> Result<(), AwsError> {
        let mut merged = tags.clone();
        merge_tags(&mut merged, &self.given(input)?, self.pair.0);
        if merged.len() > MOST {
            return Err((self.too_many)());
        }
        *tags = merged;
        Ok(())
    }

    fn remove(&self, input: &Value, tags: &mut Vec<Value>) -> Result<(), AwsError> {
        let keys = texts(input, self.members.1);
        let is_there = |key: &&String| tags.iter().any(|tag| need(tag, self.pair.0) == **key);
        let absent = keys.iter().find(|key| !is_there(key));
        if let (Some(key), Some(missing)) = (absent, self.missing) {
            return Err(missing(key));
        }
        drop_tags(tags, &keys, self.pair.0);
        Ok(())
    }

    /// Tags as the service answers them.
    pub fn told(&self, tags: &[Value]) -> Value {
        let pair = |tag: &Value| (need(tag, self.pair.0).to_owned(), tag[self.pair.1].clone());
        match self.is_map {
            true => Value::Object(tags.iter().map(pair).collect::<Map<_, _>>()),
            false => json!(tags),
        }
    }
}
