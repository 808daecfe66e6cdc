//! A request of the manifest: status, headers, places in the JSON, a pattern in the body, a bound
//! on the time.

use deployer_core::spec::HttpCheck;
use regex::Regex;
use reqwest::Method;
use serde_json::Value;
use serde_json_path::JsonPath;
use std::time::Duration;
use url::Url;

use crate::finding::Finding;
use crate::http::{Answer, below, brief};
use crate::verifier::Verifier;

/// What is expected.
pub fn expected(check: &HttpCheck) -> String {
    let mut parts = vec![format!(
        "{} at {} {}",
        check.status, check.method, check.path
    )];
    let headers = check.expect_headers.iter();
    parts.extend(headers.map(|(name, pattern)| format!("{name} ~ {pattern}")));
    let places = check.json.iter();
    parts.extend(places.map(|(place, value)| format!("{place} = {value}")));
    parts.extend(check.body.iter().map(|pattern| format!("body ~ {pattern}")));
    parts.extend(
        check
            .within
            .map(|bound| format!("within {} ms", bound.as_millis())),
    );
    parts.join(", ")
}

/// Sends the request and judges the answer.
pub async fn check(verifier: &Verifier, base: &Url, check: &HttpCheck) -> Finding {
    let (took, judgement) = match request(verifier, base, check) {
        Err(why) => (Duration::ZERO, Err(why)),
        Ok(request) => match verifier.http.send(request).await {
            Err(silence) => (silence.took, Err(silence.why)),
            Ok(answer) => (answer.took, judge(check, &answer)),
        },
    };
    Finding::judged(&check.name, expected(check), took, judgement)
}

fn request(
    verifier: &Verifier,
    base: &Url,
    check: &HttpCheck,
) -> Result<reqwest::RequestBuilder, String> {
    let method = Method::from_bytes(check.method.as_bytes())
        .map_err(|_| format!("`{}` is no method", brief(&check.method)))?;
    let url = below(base, &check.path);
    let request = verifier.request(method, url);
    let headers = check.headers.iter();
    Ok(headers.fold(request, |request, (name, value)| {
        request.header(name, value)
    }))
}

fn judge(check: &HttpCheck, answer: &Answer) -> Result<String, String> {
    let mut wrong = Vec::new();
    wrong.extend(answer.expect_status(check.status).err());
    for (name, pattern) in &check.expect_headers {
        wrong.extend(judge_header(answer, name, pattern).err());
    }
    wrong.extend(judge_json(check, answer));
    if let Some(pattern) = &check.body {
        wrong.extend(judge_body(answer, pattern).err());
    }
    if let Some(bound) = check.within.filter(|bound| answer.took > *bound) {
        wrong.push(format!(
            "{} ms, more than {} ms",
            answer.took.as_millis(),
            bound.as_millis()
        ));
    }
    match wrong.is_empty() {
        true => Ok(answer.status_words()),
        false => Err(wrong.join("; ")),
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|_| format!("`{}` is no regular expression", brief(text)))
}

fn judge_header(answer: &Answer, name: &str, wanted: &str) -> Result<(), String> {
    let wanted = pattern(wanted)?;
    let values: Vec<String> = answer
        .headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    match values.first() {
        None => Err(format!("no header {name}")),
        Some(_) if values.iter().any(|value| wanted.is_match(value)) => Ok(()),
        // A cookie is a credential of somebody.
        Some(_) if name.eq_ignore_ascii_case("set-cookie") => Err(format!("another {name}")),
        Some(value) => Err(format!("{name} is {}", brief(value))),
    }
}

fn judge_json(check: &HttpCheck, answer: &Answer) -> Vec<String> {
    if check.json.is_empty() {
        return Vec::new();
    }
    match answer.json() {
        Err(why) => vec![why],
        Ok(document) => check
            .json
            .iter()
            .filter_map(|(place, value)| judge_place(&document, place, value).err())
            .collect(),
    }
}

/// What stands at the place must be the value; where the place names several, all of them.
fn judge_place(document: &Value, place: &str, wanted: &Value) -> Result<(), String> {
    let path = JsonPath::parse(place).map_err(|_| format!("`{}` is no JSON path", brief(place)))?;
    let found = path.query(document).all();
    match found.iter().find(|value| !same(value, wanted)) {
        None if found.is_empty() => Err(format!("nothing at {place}")),
        None => Ok(()),
        Some(other) => Err(format!("{place} is {}", brief(&other.to_string()))),
    }
}

/// JSON has one kind of number: 1 and 1.0 are the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
        }
        _ => one == other,
    }
}

fn judge_body(answer: &Answer, wanted: &str) -> Result<(), String> {
    match pattern(wanted)?.is_match(&String::from_utf8_lossy(&answer.body)) {
        true => Ok(()),
        false => Err(format!("no match in {}", begin(&answer.body))),
    }
}

/// What people recognise an answer by: how it begins, on one line.
fn begin(body: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(body);
    let begins: String = text.chars().take(SHOWN).collect();
    match begins.len() == text.len() {
        true => format!("{begins:?}"),
        false => format!("{begins:?}... ({} bytes)", body.len()),
    }
}
