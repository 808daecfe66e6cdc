//! Writes `docs/manifest.md` from the manifest's schema, so that it never says what the reader does
//! not, and `docs/permissions.md` from what the program needs.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::{run, workspace};

const HEAD: &str = "\
<!-- Made by `cargo xtask docs` from the schema. Change the doc comments in crates/manifest, not this page. -->

# The manifest

`deployer.toml` says what a team wants; `deployer.ENV.toml` beside it says what differs in one environment. Later
layers win: defaults, the manifest, the overlay, `DEPLOYER_*` variables (`DEPLOYER_SERVICES__API__PORT=4000`), `--set
services.api.port=4000`. `deployer config show --origin` tells where each value came from.

Texts may hold `${env}`, `${app}`, `${target.cloud}`, `${target.region}`, `${target.account}` (AWS), `${target.project}`
(Google Cloud) and, in a service, `${service.url}`; `$${` is a literal `${`.

## Whose things are

Everything that `deployer` makes is marked with its owner, the app and the environment: the tag `deployer = APP/ENV` on AWS, the
label `deployer = APP_ENV` on Google Cloud. Nothing that bears another mark, or none, is changed or deleted, whatever an inventory
says. DNS records and the binding that opens a Cloud Run service carry no mark: a record is ours while it says what we wrote, the
binding as far as its service is. Tags and labels that the manifest does not set are somebody's: they are not compared and stay.

The mark is known without the ledger: `destroy` also deletes what carries it and is in no inventory, and so do `plan` and `apply` where
the ledger is lost, until one of them has noted everything. That takes the permission `tag:GetResources` on AWS, and to list each kind on Google Cloud; without it the plan
says what it does not know.

`adopt = true` takes over what nobody has marked. When its section is removed, or the environment destroyed, our mark is taken off
and it stays, and so does what it needs: the plan says `release`. `deployer forget ADDRESS` does the same for what `deployer` made.

What cannot be had back is removed or replaced only where `--allow-data-loss ADDRESS` names it: databases, caches, secrets that were
set by hand (`from = \"cloud\"`, `deployer secrets set`), log groups and image repositories. Without it `apply` and `destroy` end
with exit code 64 and print the whole command. `destroy --allow-data-loss all` is for environments that come and go.

## Renaming

A service, a database, a cache or a secret gets another key, and nothing in the clouds another name, when its table says what it was:

```toml
[services.web]  # [services.api] before
was = \"api\"
```

`was` is the key under which it was *first* applied, its origin: also after a second renaming it is `\"api\"`. Default names go on being made from the origin, those of the secrets of
a database or a cache too (`main-url`, which is `store-url` once `main` is `store`). What is written in words is today's key: `{ secret = \"store-url\" }`,
`[targets.aws.services.web]`, `deployer logs web`. The plan of a renaming is empty and says `` service `web` was `api` ``; releases, holds, verification and
migrations are those of `api`, and no release is made. `was` stays in the manifest as long as the thing is there.

`was` may stand in an overlay, for the environments that have known the thing by its first key; a target cannot say it. Refused are a key that another thing of the same
table has, and one that two things claim. A plan warns where nothing is there under the origin and something is there under today's key. Key pairs, `[keys.NAME]`, name
nothing in a cloud: they are renamed as they are. Their halves are named by `private` and `public`, which keep their names.

## In an editor

`deployer schema > deployer.schema.json` writes the JSON Schema (draft 2020-12) that this page is made from. Editors with
Taplo (Even Better TOML for VS Code, for one) complete, explain and check the manifest when its first line is

```toml
#:schema ./deployer.schema.json
```

The schema is that of one file, which may be an overlay: it requires nothing that another layer may hold. `deployer schema
--merged` has what is required of all layers together, as the tables below have it.
";

/// What stands before what `deployer permissions` prints.
const OF_PERMISSIONS: &str = "\
<!-- Made by `cargo xtask docs` from what `deployer permissions` prints. Change the kind's own file (its `access`),
crates/aws/src/permissions, crates/gcp/src/permissions or crates/cli/src/view/permissions.rs, not this page. -->

";

/// `cargo xtask docs`
///
/// The program says what it reads and what it needs: depending on its crates instead, this one
/// would have the clouds' SDKs built once more before every command.
pub fn command() -> Result<()> {
    let program = workspace::build_everything()?;
    let said = |arguments: &[&str]| run::output(Command::new(&program).args(arguments));
    let schema = serde_json::from_str(&said(&["schema", "--merged"])?);
    write(
        "manifest.md",
        &page(&schema.context("the schema is no JSON")?),
    )?;
    // A test of `crates/cli` tells when this page is stale.
    let permissions = said(&["permissions"])?;
    write("permissions.md", &format!("{OF_PERMISSIONS}{permissions}"))
}

fn write(name: &str, page: &str) -> Result<()> {
    let path = workspace::root().join("docs").join(name);
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} is written", path.display());
    Ok(())
}

/// The text of `docs/manifest.md`.
fn page(schema: &Value) -> String {
    let mut pages = Pages {
        definitions: schema["$defs"].as_object().cloned().unwrap_or_default(),
        text: HEAD.to_owned(),
    };
    pages.section("the top level", "", schema);
    pages.text
}

struct Pages {
    definitions: Map<String, Value>,
    text: String,
}

/// A table of the manifest that has a section of its own.
struct Below {
    heading: String,
    path: String,
    schema: Value,
}

impl Pages {
    fn section(&mut self, heading: &str, path: &str, schema: &Value) {
        let mut below = vec![];
        let mut rows = vec![];
        for (key, property) in sorted(schema) {
            let required = is_required(schema, &key);
            rows.push(self.row(&key, &property, required));
            let path = if path.is_empty() {
                key
            } else {
                format!("{path}.{key}")
            };
            below.extend(self.below(&path, &property));
        }
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "\n## {heading}\n");
        let about = text_of(schema);
        // The heading says the table's name already.
        let about = about
            .split_once("`: ")
            .map_or(about.as_str(), |(name, rest)| {
                if name.starts_with('`') {
                    rest
                } else {
                    about.as_str()
                }
            });
        if !about.is_empty() && !path.is_empty() && !about.starts_with("`[") {
            let _ = writeln!(self.text, "{}\n", capital(about));
        }
        self.text
            .push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for row in rows {
            let _ = writeln!(self.text, "{row}");
        }
        for Below {
            heading,
            path,
            schema,
        } in below
        {
            self.section(&heading, &path, &schema);
        }
    }

    fn row(&self, key: &str, property: &Value, required: bool) -> String {
        let default = match property.get("default") {
            _ if required => "required".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(Value::Object(table)) => inline(table),
            Some(value) => format!("`{value}`"),
        };
        let meaning = text_of(property);
        let kind = self.kind(property);
        format!(
            "| `{key}` | {} | {default} | {} |",
            cell(&kind),
            cell(&meaning)
        )
    }

    /// The schema behind a reference, or itself; `null`, which TOML does not have, is left out.
    fn resolved(&self, schema: &Value) -> Value {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/$defs/");
            return self.definitions.get(name).cloned().unwrap_or_default();
        }
        for word in ["anyOf", "allOf"] {
            if let Some(forms) = schema.get(word).and_then(Value::as_array) {
                let mut forms: Vec<_> =
                    forms.iter().filter(|form| form["type"] != "null").collect();
                if let (Some(only), true) = (forms.pop(), forms.is_empty()) {
                    return self.resolved(only);
                }
            }
        }
        schema.clone()
    }

    /// What may stand there, in words of TOML.
    fn kind(&self, schema: &Value) -> String {
        let schema = self.resolved(schema);
        for word in ["anyOf", "oneOf"] {
            if let Some(forms) = schema.get(word).and_then(Value::as_array) {
                let mut words: Vec<String> = vec![];
                for form in forms {
                    let kind = self.kind(form);
                    if !words.contains(&kind) {
                        words.push(kind);
                    }
                }
                return words.join(" or ");
            }
        }
        if let Some(value) = schema.get("const") {
            return format!("`{value}`");
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            return words.join(" or ");
        }
        match schema.get("type") {
            Some(Value::Array(types)) => {
                let types = types.iter().filter_map(Value::as_str);
                let words: Vec<_> = types.filter(|one| *one != "null").collect();
                words.join(" or ")
            }
            Some(Value::String(one)) if one == "array" => {
                format!("array of {}", plural(&self.kind(&schema["items"])))
            }
            Some(Value::String(one)) if one == "object" => {
                let keys = sorted(&schema);
                let plain = |(_, one): &(String, Value)| !is_table(&self.resolved(one));
                if keys.is_empty() || keys.len() > 2 || !keys.iter().all(plain) {
                    return "table".to_owned();
                }
                let keys: Vec<_> = keys.iter().map(|(key, _)| format!("{key} = ...")).collect();
                format!("`{{ {} }}`", keys.join(", "))
            }
            Some(Value::String(one)) => one.clone(),
            _ => "any".to_owned(),
        }
    }

    /// The tables at `path` that are explained on their own.
    fn below(&self, path: &str, property: &Value) -> Vec<Below> {
        let schema = self.resolved(property);
        let made = |heading: String, path: String, schema: Value| Below {
            heading,
            path,
            schema,
        };
        if is_table(&schema) {
            return vec![made(format!("`[{path}]`"), path.to_owned(), schema)];
        }
        if let Some(each) = schema
            .get("additionalProperties")
            .filter(|each| each.is_object())
        {
            let each = self.resolved(each);
            let path = format!("{path}.NAME");
            return match is_table(&each) {
                true => vec![made(format!("`[{path}]`"), path, each)],
                false => vec![],
            };
        }
        if let Some(items) = schema.get("items") {
            let items = self.resolved(items);
            return match is_table(&items) {
                true => vec![made(format!("`[[{path}]]`"), path.to_owned(), items)],
                false => vec![],
            };
        }
        let forms = schema.get("anyOf").and_then(Value::as_array);
        let forms = forms.into_iter().flatten().map(|form| self.resolved(form));
        let tables = forms.filter(|form| is_table(form) && sorted(form).len() > 2);
        tables
            .map(|form| made(format!("`[{path}]`"), path.to_owned(), form))
            .collect()
    }
}

/// A small table of plain values as TOML writes it in a line; nothing for others.
fn inline(table: &Map<String, Value>) -> String {
    if table.is_empty()
        || table.len() > 2
        || table.values().any(|one| one.is_object() || one.is_array())
    {
        return String::new();
    }
    let mut keys: Vec<_> = table
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    keys.sort();
    format!("`{{ {} }}`", keys.join(", "))
}

fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some_and(Value::is_object)
}

fn is_required(schema: &Value, key: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|keys| keys.iter().any(|one| one == key))
}

/// The keys of a table: required ones first, then by name, whatever order the schema was made in.
fn sorted(schema: &Value) -> Vec<(String, Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut keys: Vec<_> = properties
        .into_iter()
        .flatten()
        .map(|(key, property)| (key.clone(), property.clone()))
        .collect();
    keys.sort_by_key(|(key, _)| (!is_required(schema, key), key.clone()));
    keys
}

fn text_of(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    text.unwrap_or_default().replace('\n', " ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn plural(kind: &str) -> String {
    match kind {
        "string" | "integer" | "table" => format!("{kind}s"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use deployer_manifest::{Describes, schema};

    use super::*;

    fn page() -> String {
        super::page(&schema(Describes::Merged))
    }

    #[test]
    fn the_page_in_the_repository_is_the_one_that_the_schema_makes() {
        let kept = std::fs::read_to_string(workspace::root().join("docs/manifest.md")).unwrap();
        assert!(
            kept == page(),
            "docs/manifest.md is stale: run `cargo xtask docs`"
        );
    }

    #[test]
    fn every_table_of_the_manifest_has_a_section() {
        let page = page();
        for heading in [
            "[services.NAME]",
            "[services.NAME.health]",
            "[[services.NAME.verify.checks]]",
            "[databases.NAME]",
            "[targets.aws.databases.NAME]",
            "[targets.gcp.services.NAME.dns]",
        ] {
            assert!(page.contains(&format!("\n## `{heading}`\n")), "{heading}");
        }
    }
}
