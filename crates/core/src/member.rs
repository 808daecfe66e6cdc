//! Takes one member out of a secret that is a JSON object; pure. Nothing of a value ever stands in
//! an error.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The member `key` of what secret `name` holds: a text as it is, a number or a truth value as JSON
/// writes it.
///
/// Errors: rejected, when it is no JSON object, has no such member, or one that is no single value.
pub fn member_of(name: &str, value: &SecretString, key: &str) -> Result<SecretString> {
    let refusal = |why: String, hint: String| {
        let what = format!("cannot take `{key}` out of secret `{name}`: {why}");
        Err(Error::new(ErrorKind::Rejected, what).hint(hint))
    };
    let whole = "remove `key` where the whole value is meant, or put a JSON object there";
    // serde's own error might repeat a part of the value.
    let Ok(value) = serde_json::from_str::<Value>(value.expose_secret()) else {
        return refusal("what it holds is no JSON".to_owned(), whole.to_owned());
    };
    let Value::Object(members) = value else {
        return refusal(
            "what it holds is no JSON object".to_owned(),
            whole.to_owned(),
        );
    };
    match members.get(key) {
        Some(Value::String(text)) => Ok(text.clone().into()),
        Some(single @ (Value::Number(_) | Value::Bool(_))) => Ok(single.to_string().into()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => refusal(
            "that member is no text, number or truth value".to_owned(),
            "name a member that holds one value".to_owned(),
        ),
        None => {
            let known: Vec<&str> = members.keys().map(String::as_str).collect();
            refusal(
                "it has no such member".to_owned(),
                format!("it has: {}", known.join(", ")),
            )
        }
    }
}

/// The refusal of a secret that holds bytes where a variable is to hold its text.
pub fn binary(name: &str) -> Error {
    Error::new(
        ErrorKind::Rejected,
        format!("secret `{name}` holds bytes, not text: no variable can have it"),
    )
    .hint("store it as text (base64, for instance), or let the app fetch it: `inject = \"reference\"`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(value: &str, key: &str) -> Result<String> {
        let taken = member_of("rds!db", &value.into(), key)?;
        Ok(taken.expose_secret().to_owned())
    }

    #[test]
    fn a_member_is_taken_as_text_whatever_single_value_it_is() {
        let value = r#"{"username":"app","password":"a\"b\n","port":5432,"ssl":true}"#;
        assert_eq!(taken(value, "password").unwrap(), "a\"b\n");
        assert_eq!(taken(value, "port").unwrap(), "5432");
        assert_eq!(taken(value, "ssl").unwrap(), "true");
    }

    #[test]
    fn what_cannot_be_taken_is_told_by_name_and_never_by_value() {
        for (value, why) in [
            ("hunter2", "no JSON"),
            ("[\"hunter2\"]", "no JSON object"),
            (r#"{"user":"hunter2"}"#, "no such member"),
            (r#"{"password":{"now":"hunter2"}}"#, "no text"),
        ] {
            let error = taken(value, "password").unwrap_err();
            let told = format!("{error:?} {}", error.hint_text().unwrap_or_default());
            assert!(error.to_string().contains(why), "{error}");
            assert!(
                told.contains("rds!db") && !told.contains("hunter2"),
                "{told}"
            );
        }
    }
}
