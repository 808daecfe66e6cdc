//! Reads from a Dockerfile what a manifest needs to know of the image; performs no IO.

use std::collections::BTreeMap;

use crate::view::foreign;

/// What the last stage of a Dockerfile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The first port of `EXPOSE`, else `ENV PORT`.
    pub port: Option<u16>,
    /// `HEALTHCHECK`, as ECS takes it: `CMD` or `CMD-SHELL` first; empty for none.
    pub health_command: Vec<String>,
    /// The options of `HEALTHCHECK` that a manifest has, too: `interval`, `timeout`,
    /// `start_period`.
    pub health_times: BTreeMap<&'static str, String>,
    /// `--retries` of `HEALTHCHECK`.
    pub health_retries: Option<u32>,
    /// The path that the check asks for over HTTP.
    pub health_path: Option<String>,
    /// What the image runs, as it is written.
    pub runs: Option<String>,
    /// The names that `ENV` sets; the image keeps their values.
    pub variables: Vec<String>,
}

impl Dockerfile {
    /// What was read, in words. `None` where it says nothing of use.
    pub fn words(&self) -> Option<String> {
        let mut words = Vec::new();
        words.extend(self.port.map(|port| format!("port {port}")));
        words.extend(match (&self.health_path, self.health_command.is_empty()) {
            (Some(path), _) => Some(format!("health check of `{path}`")),
            (None, false) => Some("a health check".to_owned()),
            (None, true) => None,
        });
        words.extend(self.runs.as_ref().map(|runs| format!("it runs {runs}")));
        let variables = (!self.variables.is_empty()).then(|| self.variables.join(", "));
        words.extend(variables.map(|names| format!("it sets {names}")));
        (!words.is_empty()).then(|| foreign::one_line(&words.join("; ")))
    }
}

/// Reads `text`; what it does not know it passes over.
pub fn read(text: &str) -> Dockerfile {
    let mut found = Dockerfile::default();
    let mut known = BTreeMap::new();
    for line in logical_lines(text) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let rest = rest.trim();
        match word.to_uppercase().as_str() {
            // Only the last stage becomes the image.
            "FROM" => found = Dockerfile::default(),
            "ARG" => {
                if let Some((name, value)) = rest.split_once('=') {
                    known.insert(name.to_owned(), unquoted(value));
                }
            }
            "ENV" => {
                for (name, value) in pairs(rest) {
                    if name == "PORT" {
                        found.port = found.port.or_else(|| filled(&value, &known).parse().ok());
                    } else if !found.variables.contains(&name) {
                        found.variables.push(name.clone());
                    }
                    known.insert(name, value);
                }
            }
            "EXPOSE" => {
                let first = rest.split_whitespace().next().unwrap_or_default();
                let port = filled(first, &known);
                let port = port.split('/').next().and_then(|port| port.parse().ok());
                found.port = port.or(found.port);
            }
            "HEALTHCHECK" => health(rest, &known, &mut found),
            "CMD" | "ENTRYPOINT" => {
                let both = |before: String| format!("{before} {rest}");
                found.runs = Some(found.runs.take().map_or_else(|| rest.to_owned(), both));
            }
            _ => {}
        }
    }
    found
}

/// Lines without comments, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut open = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') || (line.is_empty() && !open) {
            continue;
        }
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
        open = goes_on;
    }
    lines
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let quoted = |quote: char| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.to_owned())
    };
    quoted('"')
        .or_else(|| quoted('\''))
        .unwrap_or_else(|| text.to_owned())
}

/// `A=1 B="two words"`, or the old `A value`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return vec![(name.to_owned(), unquoted(value))];
    }
    words(text)
        .into_iter()
        .filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), unquoted(value)))
        })
        .collect()
}

/// Words parted by spaces that are in no quotes; quotes and backslashes stay.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words.last_mut().expect("there is always one word").push(c);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `$NAME` and `${NAME}` and `${NAME:-default}`, where the whole text is one.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    let Some(name) = text.strip_prefix('$') else {
        return text.to_owned();
    };
    let (name, after) = match name.strip_prefix('{').and_then(|name| name.split_once('}')) {
        Some((name, after)) => (name, after),
        None => name.split_at(name.find('/').unwrap_or(name.len())),
    };
    let (name, usual) = name.split_once(":-").unwrap_or((name, ""));
    let value = known.get(name).map_or(usual, String::as_str);
    format!("{value}{after}")
}

fn health(text: &str, known: &BTreeMap<String, String>, found: &mut Dockerfile) {
    found.health_command.clear();
    found.health_times.clear();
    found.health_path = None;
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option
            .split_once(char::is_whitespace)
            .unwrap_or((option, ""));
        rest = after.trim_start();
        let Some((name, value)) = option.split_once('=') else {
            continue;
        };
        match name {
            "interval" => drop(found.health_times.insert("interval", value.to_owned())),
            "timeout" => drop(found.health_times.insert("timeout", value.to_owned())),
            "start-period" => drop(found.health_times.insert("start_period", value.to_owned())),
            "retries" => found.health_retries = value.parse().ok(),
            _ => {}
        }
    }
    let Some(command) = rest.strip_prefix("CMD").map(str::trim) else {
        return;
    };
    found.health_command = match serde_json::from_str::<Vec<String>>(command) {
        Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        Err(_) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    found.health_path = asked_path(command);
    if let Some(port) = asked_port(command) {
        found.port = found.port.or_else(|| filled(&port, known).parse().ok());
    }
}

/// What follows `http://HOST` in a command.
fn asked(command: &str) -> Option<&str> {
    let (_, after) = command.split_once("://")?;
    let end = after.find(|c: char| c.is_whitespace() || "\"'|,;)]".contains(c));
    after.get(..end.unwrap_or(after.len()))
}

fn asked_path(command: &str) -> Option<String> {
    let (_, path) = asked(command)?.split_once('/')?;
    Some(format!("/{path}"))
}

fn asked_port(command: &str) -> Option<String> {
    let host = asked(command)?.split('/').next()?;
    let (_, port) = host.split_once(':')?;
    Some(port.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_says_port_health_and_command() {
        let found = read(
            "FROM node:20 AS build\nEXPOSE 9229\nENV BUILD=1\n\nFROM node:20-slim\n# comment\nENV NODE_ENV=production \\\n    LOG_FORMAT=\"json lines\"\nEXPOSE 3000/tcp\nHEALTHCHECK --interval=30s --timeout=3s --retries=2 \\\n  CMD curl -f http://localhost:3000/health || exit 1\nENTRYPOINT [\"node\"]\nCMD [\"dist/server.js\"]\n",
        );
        assert_eq!(found.port, Some(3000));
        assert_eq!(found.health_path.as_deref(), Some("/health"));
        assert_eq!(
            found.health_command,
            [
                "CMD-SHELL",
                "curl -f http://localhost:3000/health || exit 1"
            ]
        );
        assert_eq!(found.health_times["interval"], "30s");
        assert_eq!(found.health_retries, Some(2));
        assert_eq!(found.variables, ["NODE_ENV", "LOG_FORMAT"]);
        assert_eq!(
            found.runs.as_deref(),
            Some("[\"node\"] [\"dist/server.js\"]")
        );
    }

    #[test]
    fn a_port_may_be_a_variable_or_only_in_the_check() {
        assert_eq!(read("FROM x\nENV PORT 8080\n").port, Some(8080));
        assert_eq!(
            read("ARG P=7000\nFROM x\nEXPOSE ${P}/tcp\n").port,
            Some(7000)
        );
        assert_eq!(read("FROM x\nEXPOSE ${P:-7001}\n").port, Some(7001));
        let check =
            "FROM x\nHEALTHCHECK CMD [\"wget\", \"-q\", \"http://127.0.0.1:5000/api/health\"]\n";
        let found = read(check);
        assert_eq!(
            (found.port, found.health_path.as_deref()),
            (Some(5000), Some("/api/health"))
        );
        assert_eq!(found.health_command[0], "CMD");
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(read(""), Dockerfile::default());
        assert_eq!(
            read("FROM scratch\nHEALTHCHECK NONE\nCOPY a b"),
            Dockerfile::default()
        );
    }
}
