//! Reads members of inputs that the schema has already checked.

use serde_json::{Map, Value, json};

/// A string member. `None` when absent or null.
pub fn text<'a>(input: &'a Value, name: &str) -> Option<&'a str> {
    input.get(name).and_then(Value::as_str)
}

/// A string member that the schema requires; empty when it is absent all the same.
pub fn need<'a>(input: &'a Value, name: &str) -> &'a str {
    text(input, name).unwrap_or_default()
}

/// A boolean member; false when absent.
pub fn flag(input: &Value, name: &str) -> bool {
    input.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A whole number. `None` when absent.
pub fn number(input: &Value, name: &str) -> Option<i64> {
    input.get(name).and_then(Value::as_i64)
}

/// A list member; empty when absent.
pub fn list<'a>(input: &'a Value, name: &str) -> &'a [Value] {
    input
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of a list member.
pub fn texts(input: &Value, name: &str) -> Vec<String> {
    list(input, name)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Seconds since the epoch with milliseconds, as the JSON protocol writes timestamps.
pub fn seconds(at: jiff::Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
}

/// Copies the named members that are present and not null.
pub fn copy(from: &Value, names: &[&str], to: &mut Map<String, Value>) {
    for name in names {
        if let Some(value) = from.get(*name).filter(|value| !value.is_null()) {
            to.insert((*name).to_owned(), value.clone());
        }
    }
}

/// Adds tags (`{key_name, value_name}` objects) to `tags`, replacing those of the same key.
pub fn merge_tags(tags: &mut Vec<Value>, added: &[Value], key_name: &str) {
    for tag in added {
        tags.retain(|have| have.get(key_name) != tag.get(key_name));
        tags.push(tag.clone());
    }
}

/// Removes the tags with these keys.
pub fn drop_tags(tags: &mut Vec<Value>, keys: &[String], key_name: &str) {
    tags.retain(|tag| !text(tag, key_name).is_some_and(|key| keys.iter().any(|k| k == key)));
}

/// One page of `items` and the token of the next: tokens are offsets, as opaque to clients as the
/// vendor's. `Err` when `token` is none of ours.
pub fn page<T>(
    items: Vec<T>,
    token: Option<&str>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), ()> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let start = match token {
        None => 0,
        Some(token) => engine
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.strip_prefix("page:")?.parse::<usize>().ok())
            .ok_or(())?,
    };
    let more = items.len() > start.saturating_add(size);
    let page = items.into_iter().skip(start).take(size).collect();
    Ok((
        page,
        more.then(|| engine.encode(format!("page:{}", start + size))),
    ))
}

/// A random hexadecimal id of `length` characters, at most 32.
pub fn random_hex(length: usize) -> String {
    let mut hex = uuid::Uuid::new_v4().simple().to_string();
    hex.truncate(length);
    hex
}
