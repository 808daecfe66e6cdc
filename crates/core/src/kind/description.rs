//! Describes what a kind is, field by field, each with what a change of it costs; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Order;
use crate::fields::{FieldChange, FieldValue, Fields};
use crate::graph::Value;
use crate::node::Effect;

/// One field of a kind, or a group of fields `NAME.KEY`. There is none without a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    cost: Effect,
    /// Of what is replaced.
    order: Option<Order>,
}

impl Field {
    /// A field that is changed in place.
    pub const fn in_place(name: &'static str) -> Self {
        Self::costing(name, Effect::InPlace)
    }

    /// A field whose change cuts off whoever uses the thing.
    pub const fn interrupts(name: &'static str) -> Self {
        Self::costing(name, Effect::Interrupts)
    }

    /// A field that only another thing can have: of the same name, or of another generation. A kind
    /// with a field that is replaced by creating first names it in `Kind::GENERATIONS`.
    pub const fn replaces(name: &'static str, order: Order) -> Self {
        Self {
            name,
            cost: Effect::Replace,
            order: Some(order),
        }
    }

    /// The same of a thing that holds data, which goes with it.
    pub const fn loses_data(name: &'static str) -> Self {
        Self::costing(name, Effect::LosesData)
    }

    const fn costing(name: &'static str, cost: Effect) -> Self {
        Self {
            name,
            cost,
            order: None,
        }
    }

    /// Its name in plans.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// What a kind is, or is to be.
#[derive(Clone, Debug, Default)]
pub struct Description {
    fields: Fields,
    costs: BTreeMap<String, Effect>,
    /// The fields of which another value is another generation.
    created_first: BTreeSet<&'static str>,
}

impl Description {
    /// Adds a field.
    pub fn set(&mut self, field: Field, value: impl fmt::Display) {
        self.put(field, field.name.to_owned(), value);
    }

    /// Adds a field when there is a value for it; an empty text is none.
    pub fn set_some(&mut self, field: Field, value: Option<impl fmt::Display>) {
        if let Some(value) = value.map(|it| it.to_string()).filter(|it| !it.is_empty()) {
            self.set(field, value);
        }
    }

    /// Adds a field that may be known only after another node was applied.
    pub fn set_value<T: Clone>(
        &mut self,
        field: Field,
        value: &Value<T>,
        show: impl FnOnce(&T) -> String,
    ) {
        self.cost(field, field.name);
        self.fields.set_value(field.name, value.field(show));
    }

    /// Adds a list whose order says nothing.
    pub fn sorted(&mut self, field: Field, items: impl IntoIterator<Item = impl Into<String>>) {
        let mut items: Vec<String> = items.into_iter().map(Into::into).collect();
        items.sort();
        self.set(field, items.join(", "));
    }

    /// Adds `NAME.KEY` for every entry.
    pub fn each<K: fmt::Display, V: fmt::Display>(
        &mut self,
        field: Field,
        entries: impl IntoIterator<Item = (K, V)>,
    ) {
        for (key, value) in entries {
            self.put(field, format!("{}.{key}", field.name), value);
        }
    }

    /// Adds the fields of a kind that says their cost elsewhere.
    pub fn extend(&mut self, fields: &Fields) {
        for (name, value) in fields.iter() {
            self.fields.set_value(name, value.clone());
        }
    }

    fn put(&mut self, field: Field, name: String, value: impl fmt::Display) {
        self.cost(field, &name);
        self.fields.set(name, value);
    }

    fn cost(&mut self, field: Field, name: &str) {
        self.costs.insert(name.to_owned(), field.cost);
        if field.order == Some(Order::CreateFirst) {
            self.created_first.insert(field.name);
        }
    }

    /// The fields of which another value is another generation.
    pub fn created_first(&self) -> impl Iterator<Item = &'static str> {
        self.created_first.iter().copied()
    }

    /// The fields.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The fields alone.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    /// What a change of the field of this name costs. `None` when it has none.
    pub fn cost_of(&self, name: &str) -> Option<Effect> {
        self.costs.get(name).copied()
    }
}

/// The fields that differ.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a>(&'a [FieldChange]);

impl<'a> Changed<'a> {
    /// These.
    pub fn new(changes: &'a [FieldChange]) -> Self {
        Self(changes)
    }

    /// Whether the field is among them, or one of its group.
    pub fn has(&self, field: Field) -> bool {
        let group = |name: &str| {
            name.strip_prefix(field.name)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.0
            .iter()
            .any(|it| it.field == field.name || group(&it.field))
    }
}

/// The number of days, bytes or things on both sides of a change. `None` where one of them is no
/// number.
pub fn numbers(change: &FieldChange) -> Option<(i64, i64)> {
    let number = |value: &Option<FieldValue>| match value {
        Some(FieldValue::Known(text)) => text.parse().ok(),
        _ => None,
    };
    Some((number(&change.old)?, number(&change.new)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Field = Field::replaces("size", Order::DeleteFirst);
    const LABELS: Field = Field::in_place("labels");

    #[test]
    fn a_field_says_what_its_change_costs_and_a_group_says_it_of_each() {
        let mut one = Description::default();
        one.set(SIZE, 1);
        one.each(LABELS, [("a", "1")]);
        let mut two = Description::default();
        two.set(SIZE, 2);
        two.each(LABELS, [("a", "2")]);
        let changes = one.fields().changes_to(two.fields());
        let changed = Changed::new(&changes);
        assert!(changed.has(SIZE) && changed.has(LABELS));
        assert!(!changed.has(Field::in_place("siz")));
        assert_eq!(one.cost_of("size"), Some(Effect::Replace));
        assert_eq!(one.cost_of("labels.a"), Some(Effect::InPlace));
        assert_eq!(one.cost_of("labels.b"), None);
    }

    #[test]
    fn the_order_of_a_sorted_list_is_no_difference() {
        let described = |items: [&str; 2]| {
            let mut to = Description::default();
            to.sorted(LABELS, items);
            to.into_fields()
        };
        assert_eq!(described(["b", "a"]), described(["a", "b"]));
    }
}
