//! Generations of a thing that is replaced without an outage: what tells them apart stands in their
//! names; pure.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Field, Wish};
use crate::graph::Value;
use crate::names::Rule;

/// How many digits of a content stand in a name.
const MARK: usize = 8;

/// Which of two comes first when a thing is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The old one is deleted, and another one is made under the same name.
    DeleteFirst,
    /// Another one is made under another name, what uses the old one moves to it and is ready, and
    /// then the old one is deleted. Both are there for a while.
    CreateFirst,
}

/// What tells the generations of a kind apart, and how it stands in their names.
#[derive(Clone, Copy, Debug)]
pub struct Generations {
    /// Every field that is replaced by creating first, in the order in which they stand in a name.
    pub fields: &'static [Field],
    /// What the cloud takes as a name.
    pub rule: fn() -> &'static Rule,
    /// How a name is made.
    pub naming: Naming,
}

/// How a name is made of a base and the parts of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The base, cut where it is too long, and eight digits of that and of the parts: two bases
    /// that are cut to the same beginning are told apart.
    Digits,
    /// The base and the parts as they are, with `-` between them. No part has a `-`.
    Readable,
}

/// What a generation is made of: the text of each field that tells it apart.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<(&'static str, String)>);

impl Parts {
    /// Adds a part.
    pub fn set(&mut self, field: Field, value: impl fmt::Display) {
        self.0.push((field.name(), value.to_string()));
    }

    /// Adds a part that another node may make. A name does not wait for it: the address of that
    /// node stands in its place, before it is known and after.
    pub fn set_value<T: Clone>(
        &mut self,
        field: Field,
        value: &Value<T>,
        text: impl FnOnce(&T) -> String,
    ) {
        match value {
            Value::Given(value) => self.set(field, text(value)),
            Value::From(output) => self.set(field, output.address()),
        }
    }
}

impl Generations {
    /// What a generation is called.
    ///
    /// Panics when the parts are not those of the fields: a kind that forgets one would change a
    /// thing under its name.
    pub fn name(&self, base: &str, parts: &Parts) -> String {
        let named: Vec<&str> = parts.0.iter().map(|(field, _)| *field).collect();
        let fields: Vec<&str> = self.fields.iter().map(Field::name).collect();
        assert_eq!(named, fields, "the name of a generation is made of these");
        let texts = parts.0.iter().map(|(_, text)| text.as_str());
        match self.naming {
            Naming::Digits => with_digits((self.rule)(), base, texts),
            Naming::Readable => {
                let name = std::iter::once(base).chain(texts);
                (self.rule)().fit(&name.collect::<Vec<_>>().join("-"))
            }
        }
    }

    /// What the names of all generations of one thing begin with. `None` for a name that is none of
    /// a generation's. Two bases that are too long may have the same.
    pub fn stem<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.naming {
            Naming::Digits => {
                let (stem, mark) = name.rsplit_once('-')?;
                let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
                (mark.len() == MARK && mark.chars().all(is_digit)).then_some(stem)
            }
            Naming::Readable => {
                let mut parts = self.fields.iter();
                parts.try_fold(name, |rest, _| Some(rest.rsplit_once('-')?.0))
            }
        }
    }
}

/// What the cloud calls a thing whose name is to be `base`: that, or where its kind has
/// generations, the name of the one that is wished for.
pub fn named<K: Wish>(base: &str, wish: &K) -> String {
    match K::GENERATIONS {
        None => base.to_owned(),
        Some(generations) => {
            let mut parts = Parts::default();
            wish.parts(&mut parts);
            generations.name(base, &parts)
        }
    }
}

fn with_digits<'a>(rule: &Rule, base: &'a str, parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(base).chain(parts) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hex::encode(hash.finalize());
    let mark = digest.get(..MARK).unwrap_or(&digest);
    let room = rule.longest - mark.len() - 1;
    let short = match base.get(..room) {
        Some(head) if base.len() > room => head.trim_end_matches(['-', '_']),
        Some(_) | None => base,
    };
    format!("{short}-{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::graph::Output;
    use crate::name_rule;

    name_rule!(
        /// A rule.
        SHORT, "a thing", 32, Any,
        "^[A-Za-z0-9][A-Za-z0-9_-]{3,31}$",
        "short"
    );

    const SIZE: Field = Field::replaces("size", Order::CreateFirst);
    const PLACE: Field = Field::replaces("place", Order::CreateFirst);

    const DIGITS: Generations = Generations {
        fields: &[SIZE, PLACE],
        rule: || &SHORT,
        naming: Naming::Digits,
    };
    const READABLE: Generations = Generations {
        fields: &[SIZE],
        rule: || &SHORT,
        naming: Naming::Readable,
    };

    fn digits(base: &str, size: &str, place: &str) -> String {
        let mut parts = Parts::default();
        parts.set(SIZE, size);
        parts.set(PLACE, place);
        DIGITS.name(base, &parts)
    }

    #[test]
    fn another_content_is_another_name_and_each_fits() {
        assert_eq!(digits("shop", "1", "a"), digits("shop", "1", "a"));
        assert_ne!(digits("shop", "1", "a"), digits("shop", "2", "a"));
        let long = digits(&"a-b_".repeat(20), "1", "a");
        assert!(SHORT.accepts(&long), "{long}");
        let other = digits(&format!("{}x", "a-b_".repeat(20)), "1", "a");
        assert_ne!(long, other, "two that are cut to the same beginning");
        assert_eq!(DIGITS.stem(&long), DIGITS.stem(&other));
        // The parts are told apart.
        assert_ne!(digits("shop", "ab", "c"), digits("shop", "a", "bc"));
    }

    #[test]
    fn generations_of_one_thing_have_one_stem() {
        let (one, two) = (digits("a-shop", "1", "a"), digits("a-shop", "2", "a"));
        assert_eq!(DIGITS.stem(&one), Some("a-shop"));
        assert_eq!(DIGITS.stem(&two), Some("a-shop"));
        assert_eq!(DIGITS.stem("a-shop"), None);
        assert_eq!(DIGITS.stem("shop-0123456"), None);
        let mut parts = Parts::default();
        parts.set(SIZE, "large");
        assert_eq!(READABLE.name("a-shop", &parts), "a-shop-large");
        assert_eq!(READABLE.stem("a-shop-large"), Some("a-shop"));
    }

    #[test]
    fn a_name_does_not_wait_for_what_it_is_made_of() {
        let address: Address = "aws/r/ec2.subnets/shop".parse().unwrap();
        let output = Output::of(&address);
        let named = |value: &Value<String>| {
            let mut parts = Parts::default();
            parts.set_value(SIZE, value, String::clone);
            READABLE.name("a", &parts)
        };
        let made = Value::From(output.clone());
        let before = named(&made);
        output.publish("large".to_owned());
        assert_eq!(named(&made), before);
        assert_eq!(named(&Value::Given("large".to_owned())), "a-large");
    }

    #[test]
    #[should_panic(expected = "the name of a generation is made of these")]
    fn a_part_that_is_forgotten_is_found_at_once() {
        let mut parts = Parts::default();
        parts.set(SIZE, 1);
        DIGITS.name("shop", &parts);
    }
}
