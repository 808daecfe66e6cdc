//! Pages of lists, as the services of the JSON protocols ask for them: how one of them does is a
//! row.

use serde_json::{Value, json};

use super::error::AwsError;
use super::json::{number, page, text};

/// How a service asks for a page.
pub struct Pages {
    /// The members that say how many, and from where; an answer has the latter for the next page.
    pub members: (&'static str, &'static str),
    /// How many, unless it is asked for another count.
    pub size: usize,
    /// The token is none of ours.
    pub wrong: fn() -> AwsError,
}

impl Pages {
    /// A page of `all` as `member`, as a request asks for it.
    pub fn of(&self, input: &Value, member: &str, all: Vec<Value>) -> Result<Value, AwsError> {
        let (shown, next) = self.cut(input, all)?;
        Ok(self.told(json!({ member: shown }), next))
    }

    /// The page that a request asks for, and the token of the next.
    pub fn cut<T>(&self, input: &Value, all: Vec<T>) -> Result<(Vec<T>, Option<String>), AwsError> {
        let size = number(input, self.members.0).and_then(|size| usize::try_from(size).ok());
        let token = text(input, self.members.1);
        page(all, token, size.unwrap_or(self.size)).map_err(|()| (self.wrong)())
    }

    /// An answer with the token of the next page, if there is one.
    pub fn told(&self, mut answer: Value, next: Option<String>) -> Value {
        if let Some(next) = next {
            answer[self.members.1] = json!(next);
        }
        answer
    }
}
