//! Kinds that had other names in addresses: what earlier versions wrote of them is read as of
//! today's; pure.

use serde_json::Value;

use crate::address::Address;

/// A kind by today's name, with its former ones.
pub type Former = (&'static str, &'static [&'static str]);

/// The kinds of a cloud by today's names, each with its former ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved(&'static [&'static [Former]]);

impl Moved {
    /// Of all tables of a cloud.
    pub const fn of(tables: &'static [&'static [Former]]) -> Self {
        Self(tables)
    }

    fn all(self) -> impl Iterator<Item = &'static Former> {
        self.0.iter().copied().flatten()
    }

    /// Every kind by today's name.
    pub fn today(self) -> impl Iterator<Item = &'static str> {
        self.all().map(|(today, _)| *today)
    }

    /// Whether no kind ever had another name.
    pub fn is_empty(self) -> bool {
        self.all().all(|(_, was)| was.is_empty())
    }

    /// A kind's name of today.
    pub fn kind(self, name: &str) -> &str {
        let found = self.all().find(|(_, was)| was.contains(&name));
        found.map_or(name, |(today, _)| today)
    }

    /// An address as it reads today.
    pub fn address(self, address: Address) -> Address {
        Address {
            kind: self.kind(&address.kind).to_owned(),
            ..address
        }
    }

    /// The addresses that this one had.
    pub fn formerly(self, address: &Address) -> impl Iterator<Item = Address> {
        let of_it = self.all().filter(|(today, _)| *today == address.kind);
        let was = of_it.flat_map(|(_, was)| was.iter());
        was.map(|kind| address.step(kind))
    }

    /// Makes every address in what was written read as it does today, wherever it stands: as a
    /// value or as a key.
    pub fn rewrite(self, written: &mut Value) {
        if self.is_empty() {
            return;
        }
        match written {
            Value::String(text) => {
                if let Some(today) = self.text(text) {
                    *text = today;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|it| self.rewrite(it)),
            Value::Object(members) => {
                let before = std::mem::take(members);
                for (key, mut value) in before {
                    self.rewrite(&mut value);
                    match self.text(&key) {
                        // What is said by today's name counts.
                        Some(today) => {
                            members.entry(today).or_insert(value);
                        }
                        None => {
                            members.insert(key, value);
                        }
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// An address of a former name by today's. `None` for every other text.
    fn text(self, text: &str) -> Option<String> {
        let address: Address = text.parse().ok()?;
        let is_former = self.kind(&address.kind) != address.kind;
        is_former.then(|| self.address(address).to_string())
    }

    /// A name that two kinds claim, or a kind and its past. `None` where each is one kind's.
    pub fn clash(self) -> Option<&'static str> {
        let was = || self.all().flat_map(|(_, was)| was.iter().copied());
        let today = |name: &str| self.today().any(|today| today == name);
        was().find(|name| today(name) || was().filter(|it| it == name).count() > 1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MOVED: Moved = Moved::of(&[
        &[("fake.tuning", &["fake.knobs", "fake.dials"])],
        &[("fake.service", &[])],
    ]);

    #[test]
    fn an_address_of_a_former_name_reads_as_todays_wherever_it_stands() {
        let mut written = json!({
            "needs": ["aws/r/fake.knobs/idp", "aws/r/fake.service/idp"],
            "nodes": {"aws/r/fake.dials/a/b": {"threads": "4"}},
            "why": "fake.knobs it was",
        });
        MOVED.rewrite(&mut written);
        let today = json!({
            "needs": ["aws/r/fake.tuning/idp", "aws/r/fake.service/idp"],
            "nodes": {"aws/r/fake.tuning/a/b": {"threads": "4"}},
            "why": "fake.knobs it was",
        });
        assert_eq!(written, today);
        let mut both = json!({"aws/r/fake.tuning/a": 1, "aws/r/fake.dials/a": 2});
        MOVED.rewrite(&mut both);
        assert_eq!(both, json!({"aws/r/fake.tuning/a": 1}));
        let address: Address = "aws/r/fake.tuning/idp".parse().unwrap();
        let formerly = MOVED.formerly(&address).map(|it| it.kind);
        let formerly: Vec<String> = formerly.collect();
        assert_eq!(formerly, ["fake.knobs", "fake.dials"]);
    }

    #[test]
    fn a_name_belongs_to_one_kind() {
        assert_eq!(MOVED.clash(), None);
        assert_eq!(
            Moved::of(&[&[("a", &["b"])], &[("b", &[])]]).clash(),
            Some("b")
        );
        assert_eq!(
            Moved::of(&[&[("a", &["c"]), ("b", &["c"])]]).clash(),
            Some("c")
        );
    }
}
