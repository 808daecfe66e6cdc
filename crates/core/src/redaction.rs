//! Finds secret values in text, in every form in which apps and clouds write them, and puts a word
//! in their place. In memory only.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::error::Error;

/// What stands in the place of a value.
pub const HIDDEN: &str = "[redacted]";

/// Anything shorter would hide what is no secret, and is none to speak of.
const SHORTEST: usize = 4;

/// A number that is a member of a JSON secret and has fewer digits may be a port or a count.
const SHORTEST_NUMBER: usize = 6;

/// No secret nests deeper, and a document that does is not worth the stack.
const DEEPEST: usize = 16;

/// What RFC 3986 calls unreserved stays as it is in most libraries' percent-encoding.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What names a password in a connection string, in lower case: JDBC's and libpq's parameters,
/// ADO.NET's and ODBC's keywords.
const PASSWORD_KEYS: [&str; 6] = [
    "password=",
    "pwd=",
    "passwd=",
    "passphrase=",
    "secret=",
    "token=",
];

/// The values that are to be hidden, with their parts and forms.
#[derive(Default)]
pub struct Redaction {
    /// The longest first: a value may be a part of another one.
    parts: Vec<SecretString>,
}

impl Redaction {
    /// Of these values: as a whole and line by line, the passwords in addresses and connection
    /// strings, the members of JSON objects; each as it is and in the forms in which it is quoted,
    /// encoded and escaped.
    pub fn of(values: impl IntoIterator<Item = SecretString>) -> Self {
        let mut parts = BTreeSet::new();
        for value in values {
            parts_of(value.expose_secret(), &mut parts);
        }
        Self::new(parts.iter().flat_map(|part| forms(part)))
    }

    /// Of one value as a whole, however short.
    pub fn of_whole(value: &SecretString) -> Self {
        let value = value.expose_secret();
        Self::new(forms(value).into_iter().filter(|form| !form.is_empty()))
    }

    fn new(forms: impl IntoIterator<Item = String>) -> Self {
        let forms: BTreeSet<String> = forms.into_iter().collect();
        let mut forms: Vec<String> = forms.into_iter().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self {
            parts: forms.into_iter().map(SecretString::from).collect(),
        }
    }

    /// The text without any of them.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for part in &self.parts {
            if text.contains(part.expose_secret()) {
                text = text.replace(part.expose_secret(), HIDDEN);
            }
        }
        text
    }

    /// Whether the text has one of them.
    pub fn finds_in(&self, text: &str) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| text.contains(part.expose_secret()))
    }

    /// An error that cannot repeat any of them, whatever the other side wrote into its message.
    pub fn without(&self, error: Error) -> Error {
        if !error.chain().iter().any(|line| self.finds_in(line)) {
            return error;
        }
        Error::new(error.kind(), self.hide(&error.to_string()))
    }
}

/// One text in the forms in which it may be written.
fn forms(text: &str) -> Vec<String> {
    let escaped = Value::from(text).to_string();
    let escaped = escaped[1..escaped.len() - 1].to_owned();
    let mut forms = vec![text.to_owned(), escaped];
    for set in [NON_ALPHANUMERIC, RESERVED] {
        let encoded = utf8_percent_encode(text, set).to_string();
        // As forms have it.
        forms.push(encoded.replace("%20", "+"));
        forms.push(encoded);
    }
    for engine in [&STANDARD, &URL_SAFE] {
        // With padding it is the longer one, and found as well.
        let encoded = engine.encode(text);
        forms.push(encoded.trim_end_matches('=').to_owned());
        forms.push(encoded);
    }
    forms
}

fn parts_of(value: &str, parts: &mut BTreeSet<String>) {
    add(value, parts);
    add(value.trim(), parts);
    // What is printed comes line by line.
    for line in value.lines() {
        add(line.trim(), parts);
        passwords_of(line, parts);
    }
    if let Ok(document @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(value) {
        members_of(&document, 0, parts);
    }
}

fn add(part: &str, parts: &mut BTreeSet<String>) {
    if part.len() >= SHORTEST {
        parts.insert(part.to_owned());
    }
}

/// A part as it is written and as it is meant.
fn add_decoded(part: &str, parts: &mut BTreeSet<String>) {
    add(part, parts);
    if let Ok(decoded) = percent_decode_str(part).decode_utf8() {
        add(&decoded, parts);
    }
}

/// The members of a JSON document that are texts, and numbers that are too long for a port.
fn members_of(document: &Value, depth: usize, parts: &mut BTreeSet<String>) {
    match document {
        Value::Object(members) if depth < DEEPEST => {
            let members = members.values();
            members.for_each(|member| members_of(member, depth + 1, parts));
        }
        Value::Array(members) if depth < DEEPEST => {
            let members = members.iter();
            members.for_each(|member| members_of(member, depth + 1, parts));
        }
        Value::String(text) => {
            add(text, parts);
            text.lines().for_each(|line| passwords_of(line, parts));
        }
        Value::Number(number) => {
            let digits = number.to_string();
            if digits.len() >= SHORTEST_NUMBER {
                parts.insert(digits);
            }
        }
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// The passwords in a line that is an address or a connection string.
fn passwords_of(line: &str, parts: &mut BTreeSet<String>) {
    // `scheme://user:PASSWORD@host`
    let authority = line.split_once("://").map(|(_, rest)| rest);
    if let Some((user, _)) = authority.and_then(|rest| rest.rsplit_once('@'))
        && let Some((name, password)) = user.split_once(':')
    {
        add_decoded(password, parts);
        // What HTTP's basic authentication sends.
        let decoded = percent_decode_str(password).decode_utf8_lossy();
        add(&STANDARD.encode(format!("{name}:{decoded}")), parts);
    }
    // ASCII alone changes its case: the places stay.
    let lower = line.to_ascii_lowercase();
    for key in PASSWORD_KEYS {
        for (at, _) in lower.match_indices(key) {
            let rest = &line[at + key.len()..];
            let quote = rest
                .chars()
                .next()
                .filter(|c| matches!(c, '"' | '\'' | '{'));
            let value = match quote {
                Some(quote) => {
                    let close = if quote == '{' { '}' } else { quote };
                    rest[1..].split(close).next()
                }
                None => rest.split(['&', ';', ' ', '\t']).next(),
            };
            add_decoded(value.unwrap_or_default(), parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[track_caller]
    fn check(value: &str, text: &str, expected: &str) {
        let redaction = Redaction::of([SecretString::from(value)]);
        assert_eq!(redaction.hide(text), expected, "of {value}");
    }

    #[test]
    fn values_their_lines_and_members_are_hidden_and_nothing_else() {
        let values = [
            "hunter2",
            "postgresql://app:s3cr3t%21@10.0.0.1:5432/app",
            "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n",
            r#"{"password":"of json","port":5432}"#,
            "1",
        ];
        let redaction = Redaction::of(values.map(SecretString::from));
        let text = "A=hunter2 U=postgresql://app:s3cr3t%21@10.0.0.1:5432/app P=s3cr3t%21 MIIEvQIBADAN 'of json' 127.0.0.1";
        assert_eq!(
            redaction.hide(text),
            "A=[redacted] U=[redacted] P=[redacted] [redacted] '[redacted]' 127.0.0.1"
        );
    }

    #[test]
    fn a_password_is_hidden_as_it_is_meant_too() {
        check(
            "postgresql://app:p%40ss%2Fword@db/app",
            "login with p@ss/word failed",
            "login with [redacted] failed",
        );
    }

    #[test]
    fn connection_strings_have_their_password_hidden() {
        let jdbc = "jdbc:postgresql://db/app?user=app&password=s3%26cret&ssl=true";
        check(jdbc, "bad password s3&cret", "bad password [redacted]");
        check(jdbc, "ssl=true", "ssl=true");
        let ado = "Server=db;User Id=app;Password=s3cr3t;Encrypt=true";
        check(ado, "for s3cr3t.", "for [redacted].");
        check(
            "Server=db;Pwd=\"with;semicolon\";",
            "with;semicolon",
            "[redacted]",
        );
        check("host=db password=s3cr3t dbname=app", "s3cr3t", "[redacted]");
    }

    #[test]
    fn nested_and_numeric_members_are_hidden() {
        let value = r#"{"db":{"password":"deep one"},"pins":[12345678],"port":5432,"ok":true}"#;
        check(
            value,
            "deep one 12345678 5432 true",
            "[redacted] [redacted] 5432 true",
        );
    }

    #[test]
    fn a_value_is_hidden_in_every_way_in_which_it_is_written() {
        let value = "a \"b\"/c+d";
        check(value, r#"{"v":"a \"b\"/c+d"}"#, r#"{"v":"[redacted]"}"#);
        check(value, "v=a%20%22b%22%2Fc%2Bd", "v=[redacted]");
        check(value, "v=a+%22b%22%2Fc%2Bd", "v=[redacted]");
        let encoded = STANDARD.encode(value);
        check(value, &format!("v={encoded};"), "v=[redacted];");
        let bare = encoded.trim_end_matches('=');
        check(value, &format!("v={bare}"), "v=[redacted]");
        check("one\ntwo of it", r"one\ntwo of it", "[redacted]");
    }

    #[test]
    fn an_error_repeats_no_value_however_short() {
        let redaction = Redaction::of_whole(&"pw".into());
        let error = Error::new(ErrorKind::Rejected, "no good: pw").hint("say pw");
        let shown = format!("{:?}", redaction.without(error));
        assert_eq!(shown, "Rejected: no good: [redacted]");
        let fine = Error::new(ErrorKind::Rejected, "no good").hint("another");
        assert_eq!(redaction.without(fine).hint_text(), Some("another"));
        let nothing = Redaction::of_whole(&"".into());
        assert_eq!(nothing.hide("all of it"), "all of it");
    }
}
