//! `run.migration`: which database it is for, as its job knows it.

use deployer_core::fields::Fields;
use deployer_core::graph::Value;
use deployer_core::migration::{Identity, Whose};

use crate::labels::show_version;

/// The kind in addresses.
pub(crate) const KIND: &str = "run.migration";

/// Which database a migration is for.
pub(crate) struct Database {
    /// What its job pins.
    pub(crate) pinned: Value<Identity>,
    /// Whether the manifest names one.
    pub(crate) named: bool,
}

impl Whose for Database {
    fn known(&self) -> Option<Identity> {
        self.pinned.known()
    }

    fn describe(&self, fields: &mut Fields) {
        if !self.named {
            return;
        }
        let show = |database: &Identity| {
            let pin = database.pin.as_ref();
            pin.map_or_else(|| "none".to_owned(), show_version)
        };
        fields.set_value("database", self.pinned.field(show));
    }
}
