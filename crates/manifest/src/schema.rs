//! Makes the JSON Schema (draft 2020-12) of the manifest, for editors and for the documentation.

use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::Value;

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

/// Marks a table that no layer adds to: an element of an array, or one of several forms of a value.
pub(crate) const WHOLE: &str = "x-whole";

/// What a rollback does with a secret: core's own type, which knows no schema.
pub(crate) fn on_rollback(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "restore", "description": "The release's own version serves again." },
            { "const": "follow", "description": "The current version stays: its other half lives elsewhere." },
        ],
    })
}

/// How a secret reaches the app: core's own type, which knows no schema.
pub(crate) fn inject(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "value", "description": "The cloud puts its value into the variable." },
            { "const": "reference", "description": "Its ARN or resource name stands in the variable; the app fetches it." },
        ],
    })
}

/// What a container runs on: core's own type, which knows no schema.
pub(crate) fn architecture(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "x86_64", "description": "linux/amd64, as images call it." },
            { "const": "arm64", "description": "linux/arm64; not on Cloud Run." },
        ],
    })
}
