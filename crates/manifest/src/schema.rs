//! Makes the JSON Schema (draft 2020-12) of the manifest, for editors and for the documentation.

use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, schema_for};
use serde_json::Value;

use crate::described::WHOLE;
use crate::model::Manifest;

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Describes {
    /// One file: a manifest or an overlay. What it lacks may stand in another layer, so no key of a
    /// table is required.
    File,
    /// All layers together, as [`crate::load`] wants them.
    Merged,
}

/// The schema of `deployer.toml`.
pub fn schema(describes: Describes) -> Value {
    let mut schema = schema_for!(Manifest);
    schema.insert("title".to_owned(), "deployer.toml".into());
    if describes == Describes::File {
        RequireNothing.transform(&mut schema);
    }
    schema.to_value()
}

/// Takes `required` off every table that layers add to; the elements of arrays and the forms of one
/// value stay whole.
struct RequireNothing;

impl Transform for RequireNothing {
    fn transform(&mut self, schema: &mut Schema) {
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) && !stays_whole(schema) {
            schema.remove("required");
        }
        transform_subschemas(self, schema);
    }
}

fn stays_whole(schema: &Schema) -> bool {
    schema.get(WHOLE) == Some(&Value::Bool(true))
}
