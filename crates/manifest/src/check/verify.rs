//! Checks what is asked of a service: paths, patterns and places in answers are read as the asking
//! reads them.

use regex::Regex;
use serde_json_path::JsonPath;

use crate::check::secrets::declared;
use crate::model::{Check, Manifest, Method, Service};
use crate::problem::{Part, Report};
use crate::source::KeyPath;

pub(super) fn check(
    service: &Service,
    path: &KeyPath,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    let verify = &service.verify;
    for (key, asked) in [("metrics", &verify.metrics), ("jwks", &verify.jwks)] {
        if let Some(asked) = asked {
            request_path(asked, &path.join(key), report);
        }
    }
    if let Some(token) = &verify.token {
        let at = path.join("token");
        request_path(&token.path, &at.join("path"), report);
        declared(&token.client_id, &at.join("client_id"), manifest, report);
        let secret = at.join("client_secret");
        declared(&token.client_secret, &secret, manifest, report);
    }
    for (index, check) in verify.checks.iter().enumerate() {
        let at = path.join("checks").join(index.to_string());
        one(check, &at, report);
    }
    names(&verify.checks, &path.join("checks"), report);
}

fn request_path(text: &str, path: &KeyPath, report: &mut Report<'_>) {
    if !text.starts_with('/') || text.contains(|c: char| c.is_whitespace()) {
        let help = "write a path such as \"/metrics\", without the host";
        report.error(path, format!("`{text}` is not a path"), help);
    }
}

fn one(check: &Check, at: &KeyPath, report: &mut Report<'_>) {
    request_path(&check.path, &at.join("path"), report);
    if !(100..=599).contains(&check.status) {
        let message = format!("{} is not a status of HTTP", check.status);
        report.error(&at.join("status"), message, "from 100 to 599");
    }
    for name in check.headers.keys() {
        let path = at.join("headers").join(name);
        header_name(name, &path, report);
        let lower = name.to_lowercase();
        if ["authorization", "cookie", "x-api-key"].contains(&lower.as_str()) {
            let message = format!("the header `{name}` looks like a secret");
            let help = "a manifest holds no secrets; ask for something that needs none";
            report.warning(&path, Part::HiddenValue, message, help);
        }
    }
    for (name, text) in &check.expect_headers {
        let path = at.join("expect_headers").join(name);
        header_name(name, &path, report);
        pattern(text, &path, report);
    }
    if let Some(text) = &check.body {
        pattern(text, &at.join("body"), report);
    }
    for place in check.json.keys() {
        if let Err(e) = JsonPath::parse(place) {
            let message = format!(
                "`{place}` is not a place in JSON: {}",
                first_line(&e.to_string())
            );
            let help = "write a JSONPath such as \"$.status\" or \"$.keys[0].kid\"";
            report.key_error(&at.join("json").join(place), message, help);
        }
    }
    let reads_body = check.body.is_some() || !check.json.is_empty();
    if check.method == Method::Head && reads_body {
        let message = "an answer to HEAD has no body";
        let help = "use method = \"GET\", or remove `body` and `json`";
        report.error(&at.join("method"), message, help);
    }
}

fn header_name(name: &str, path: &KeyPath, report: &mut Report<'_>) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        let help = "letters, digits and `-`";
        report.key_error(path, format!("`{name}` cannot name a header"), help);
    }
}

fn pattern(text: &str, path: &KeyPath, report: &mut Report<'_>) {
    let Err(error) = Regex::new(text) else {
        return;
    };
    let why = match &error {
        // The last line says it; those before draw the pattern again.
        regex::Error::Syntax(drawn) => {
            let last = drawn.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
        _ => error.to_string(),
    };
    let message = format!("`{text}` is not a regular expression: {why}");
    let help = "a literal `.`, `(`, `[`, `{`, `*`, `+` or `?` is written with a backslash before it, in 'single quotes'";
    report.error(path, message, help);
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

/// A report with two checks of one name says nothing about either.
fn names(checks: &[Check], path: &KeyPath, report: &mut Report<'_>) {
    for (index, check) in checks.iter().enumerate() {
        let Some(name) = &check.name else { continue };
        let earlier = checks.iter().take(index);
        if earlier
            .filter_map(|check| check.name.as_ref())
            .any(|other| other == name)
        {
            let at = path.join(index.to_string()).join("name");
            let message = format!("another check is called `{name}`, too");
            report.error(&at, message, "give each check a name of its own");
        }
    }
}
