//! `deployer schema`: the JSON Schema of the manifest, for editors.

use deployer_manifest::{Describes, schema};

use crate::args::SchemaArgs;
use crate::exit::Exit;
use crate::view;

/// Prints the schema.
pub fn run(args: &SchemaArgs) -> Exit {
    view::json_as_it_is(&schema(match args.merged {
        true => Describes::Merged,
        false => Describes::File,
    }));
    Exit::Success
}
