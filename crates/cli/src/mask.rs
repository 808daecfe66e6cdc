//! Hides the values of secrets in what an app printed, before that is shown or kept.

use std::collections::BTreeSet;

use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::session::Place;

/// Anything shorter would hide what is no secret, and is none to speak of.
const SHORTEST: usize = 4;
/// What stands in the place of a value.
const HIDDEN: &str = "[redacted]";

/// What is to be hidden: values as a whole, their lines, and the members of those that are JSON objects. In memory only.
#[derive(Default)]
pub struct Mask {
    /// The longest first: a value may be a part of another one.
    parts: Vec<SecretString>,
}

impl Mask {
    /// The values that the secrets of a place hold now. One that cannot be read hides nothing.
    pub async fn of(place: &Place) -> Self {
        let store = place.cloud.secrets();
        let secrets = place.env.secrets.values();
        let values = join_all(secrets.map(|secret| store.value(&secret.name))).await;
        Self::new(values.into_iter().filter_map(|value| value.ok().flatten()))
    }

    fn new(values: impl IntoIterator<Item = SecretString>) -> Self {
        let mut parts = BTreeSet::new();
        for value in values {
            parts_of(value.expose_secret(), &mut parts);
        }
        let mut parts: Vec<String> = parts.into_iter().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Self {
            parts: parts.into_iter().map(SecretString::from).collect(),
        }
    }

    /// The text without any of them.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for part in &self.parts {
            text = text.replace(part.expose_secret(), HIDDEN);
        }
        text
    }
}

fn parts_of(value: &str, parts: &mut BTreeSet<String>) {
    let mut add = |part: &str| {
        if part.len() >= SHORTEST {
            parts.insert(part.to_owned());
        }
    };
    add(value.trim());
    // What is printed comes line by line.
    value.lines().map(str::trim).for_each(&mut add);
    // `scheme://user:PASSWORD@host`
    let authority = value.split_once("://").map(|(_, rest)| rest);
    if let Some((user, _)) = authority.and_then(|rest| rest.rsplit_once('@'))
        && let Some((_, password)) = user.split_once(':')
    {
        add(password);
    }
    if let Ok(Value::Object(members)) = serde_json::from_str(value) {
        for member in members.values().filter_map(Value::as_str) {
            add(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_their_lines_and_members_are_hidden_and_nothing_else() {
        let values = [
            "hunter2",
            "postgresql://app:s3cr3t%21@10.0.0.1:5432/app",
            "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n",
            r#"{"password":"of json","port":5432}"#,
            "1",
        ];
        let mask = Mask::new(values.map(SecretString::from));
        let text = "A=hunter2 U=postgresql://app:s3cr3t%21@10.0.0.1:5432/app P=s3cr3t%21 MIIEvQIBADAN 'of json' 127.0.0.1";
        let hidden = mask.hide(text);
        assert_eq!(
            hidden,
            "A=[redacted] U=[redacted] P=[redacted] [redacted] '[redacted]' 127.0.0.1"
        );
    }
}
