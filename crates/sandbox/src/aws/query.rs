//! The query protocol: reads forms into the JSON that the schema checks, writes results as XML.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::escape;
use super::schema::{Model, Shape};

/// What a form says at one name: a value, or what stands behind further dots.
#[derive(Default)]
struct Node {
    text: Option<String>,
    inner: BTreeMap<String, Node>,
}

/// The operation that a form asks for; empty when it names none.
pub fn action(body: &[u8]) -> String {
    let mut pairs = url::form_urlencoded::parse(body);
    let action = pairs.find(|(name, _)| name == "Action");
    action.map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Reads the members of an operation. What does not fit the model stays as it came, so that the
/// schema's check finds it.
pub fn read(model: &Model, operation: &str, body: &[u8]) -> Value {
    let mut root = Node::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        if name == "Action" || name == "Version" {
            continue;
        }
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.inner.entry(part.to_owned()).or_default();
        }
        node.text = Some(value.into_owned());
    }
    match model.input(operation) {
        Some(shape) => structure(model, shape, &root),
        None => untyped(&root),
    }
}

fn value(model: &Model, shape: &Shape, node: &Node) -> Value {
    if shape.kind == "list" {
        return list(model, shape, node);
    }
    if shape.kind == "structure" {
        return structure(model, shape, node);
    }
    let Some(text) = node.text.as_deref().filter(|_| node.inner.is_empty()) else {
        return untyped(node);
    };
    typed(shape, text)
}

/// A value of a simple type; what is none of it stays text.
pub fn typed(shape: &Shape, text: &str) -> Value {
    let typed = match shape.kind.as_str() {
        "integer" | "long" => text.parse::<i64>().ok().map(|number| json!(number)),
        "float" | "double" => text.parse::<f64>().ok().map(|number| json!(number)),
        "boolean" => match text {
            "true" => Some(json!(true)),
            "false" => Some(json!(false)),
            _ => None,
        },
        "timestamp" => text.parse().ok().map(super::json::seconds),
        _ => None,
    };
    typed.unwrap_or_else(|| json!(text))
}

fn structure(model: &Model, shape: &Shape, node: &Node) -> Value {
    let members = node.inner.iter().map(|(name, node)| {
        let value = match shape.members.get(name).and_then(|it| model.shape(it)) {
            Some(shape) => value(model, shape, node),
            None => untyped(node),
        };
        (name.clone(), value)
    });
    Value::Object(members.collect())
}

/// `Tags.Tag.1`, `Tags.Tag.2`, ...; an empty list is `Tags=`.
fn list(model: &Model, shape: &Shape, node: &Node) -> Value {
    let item = shape.item.as_deref().unwrap_or("member");
    let numbered = match (node.text.as_deref(), node.inner.get(item)) {
        (Some(""), None) if node.inner.is_empty() => return json!([]),
        (None, Some(numbered)) if node.inner.len() == 1 => numbered,
        _ => return untyped(node),
    };
    let Some(of) = shape.member.as_deref().and_then(|it| model.shape(it)) else {
        return untyped(node);
    };
    let items = (1..=numbered.inner.len()).map(|index| numbered.inner.get(&index.to_string()));
    match items.collect::<Option<Vec<_>>>() {
        Some(items) => items
            .into_iter()
            .map(|item| value(model, of, item))
            .collect(),
        None => untyped(node),
    }
}

fn untyped(node: &Node) -> Value {
    match &node.text {
        Some(text) => json!(text),
        None => {
            let inner = node.inner.iter();
            Value::Object(
                inner
                    .map(|(name, node)| (name.clone(), untyped(node)))
                    .collect(),
            )
        }
    }
}

/// Writes the result of an operation as the vendor does.
pub fn respond(model: &Model, operation: &str, result: &Value) -> Response {
    let id = uuid::Uuid::new_v4();
    let mut body = format!(
        "<{operation}Response xmlns=\"{}\">\n",
        model.metadata.xml_namespace
    );
    if let (Some(wrapper), Some(shape)) = (model.wrapper(operation), model.output(operation)) {
        body.push_str(&format!("<{wrapper}>\n"));
        if let Some(members) = result.as_object() {
            write_members(model, shape, members, &mut body);
        }
        body.push_str(&format!("</{wrapper}>\n"));
    }
    body.push_str(&format!(
        "<ResponseMetadata>\n<RequestId>{id}</RequestId>\n</ResponseMetadata>\n</{operation}Response>\n"
    ));
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// Writes a structure's members that are in the body.
pub fn write_members(model: &Model, shape: &Shape, members: &Map<String, Value>, out: &mut String) {
    let in_body = |name: &String| !shape.places.contains_key(name);
    let said = members.iter().filter(|(_, value)| !value.is_null());
    for (name, value) in said.filter(|(name, _)| in_body(name)) {
        if let Some(shape) = shape.members.get(name).and_then(|it| model.shape(it)) {
            write(model, shape, name, value, out);
        }
    }
}

fn write(model: &Model, shape: &Shape, name: &str, value: &Value, out: &mut String) {
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(members) => write_members(model, shape, members, out),
        Value::Array(items) => {
            let item = shape.item.as_deref().unwrap_or("member");
            if let Some(of) = shape.member.as_deref().and_then(|it| model.shape(it)) {
                items
                    .iter()
                    .for_each(|value| write(model, of, item, value, out));
            }
        }
        Value::Number(seconds) if shape.kind == "timestamp" => {
            let milliseconds = seconds.as_f64().unwrap_or_default() * 1000.0;
            let at = jiff::Timestamp::from_millisecond(milliseconds.round() as i64);
            out.push_str(&format!("{:.3}", at.unwrap_or_default()));
        }
        Value::String(text) => out.push_str(&escape(text)),
        other => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::schema::model;

    #[test]
    fn a_form_becomes_typed_members_and_lists_by_their_own_names() {
        let rds = model("rds").unwrap();
        let form = "Action=CreateDBInstance&Version=2014-10-31&AllocatedStorage=20&MultiAZ=false\
            &VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-1&VpcSecurityGroupIds.VpcSecurityGroupId.2=sg-2\
            &Tags.Tag.1.Key=a&Tags.Tag.1.Value=b%26&DBInstanceIdentifier=x&EnableCloudwatchLogsExports=";
        assert_eq!(action(form.as_bytes()), "CreateDBInstance");
        assert_eq!(
            read(rds, "CreateDBInstance", form.as_bytes()),
            json!({
                "AllocatedStorage": 20, "MultiAZ": false, "VpcSecurityGroupIds": ["sg-1", "sg-2"],
                "Tags": [{"Key": "a", "Value": "b&"}], "DBInstanceIdentifier": "x",
                "EnableCloudwatchLogsExports": [],
            })
        );
    }

    #[test]
    fn what_does_not_fit_the_model_is_found_by_the_schema() {
        let rds = model("rds").unwrap();
        for wrong in [
            "AllocatedStorage=many",
            "MultiAZ=yes",
            "Tags.Tag.2.Key=a",
            "Tags.member.1.Key=a",
            "Surprise=1",
            "Tags=a",
        ] {
            let form = format!("DBInstanceIdentifier=x&DBInstanceClass=y&Engine=z&{wrong}");
            let input = read(rds, "CreateDBInstance", form.as_bytes());
            assert_eq!(
                rds.check_input("CreateDBInstance", &input).len(),
                1,
                "{wrong}"
            );
        }
    }
}
