//! How the manifest's schema describes core's own types, which know no schema, and tables that no
//! layer adds to.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Marks a table that no layer adds to: an element of an array, or one of several forms of a value.
pub(crate) const WHOLE: &str = "x-whole";

/// What a rollback does with a secret.
pub(crate) fn on_rollback(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "restore", "description": "The release's own version serves again." },
            { "const": "follow", "description": "The current version stays: its other half lives elsewhere." },
        ],
    })
}

/// How a secret reaches the app.
pub(crate) fn inject(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "value", "description": "The cloud puts its value into the variable." },
            { "const": "reference", "description": "Its ARN or resource name stands in the variable; the app fetches it." },
        ],
    })
}

/// What a container runs on.
pub(crate) fn architecture(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            { "const": "x86_64", "description": "linux/amd64, as images call it." },
            { "const": "arm64", "description": "linux/arm64; not on Cloud Run." },
        ],
    })
}
