//! REST with XML bodies: the operation is told by method and path; members in the path, the query
//! and the body become the JSON that the schema checks, and results XML.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::query;
use super::schema::{Model, Shape};

/// An element: its text, or what is in it.
#[derive(Default)]
struct Element {
    name: String,
    text: String,
    inner: Vec<Element>,
}

/// The operation that a request's line tells.
pub fn operation<'a>(model: &'a Model, method: &Method, path: &str) -> Option<&'a str> {
    model.operations().find(|operation| {
        let Some(http) = model.http(operation) else {
            return false;
        };
        http.method == method.as_str() && in_path(&http.path, path).is_some()
    })
}

/// What stands in a path where its pattern has names in braces. `None` when it does not fit.
fn in_path(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    // Clients write the last slash or not, as their models have it.
    let parts = |path: &str| -> Vec<String> {
        let parts = path.trim_end_matches('/').split('/');
        parts.map(str::to_owned).collect()
    };
    let (pattern, path) = (parts(pattern), parts(path));
    if pattern.len() != path.len() {
        return None;
    }
    let mut found = Vec::new();
    for (wanted, given) in pattern.iter().zip(path) {
        match wanted.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            Some(name) if !given.is_empty() => {
                let given = percent_decode_str(&given).decode_utf8_lossy().into_owned();
                found.push((name.to_owned(), given));
            }
            None if *wanted == given => {}
            Some(_) | None => return None,
        }
    }
    Some(found)
}

/// Reads the members of an operation. What does not fit the model stays as it came, so that the
/// schema's check finds it.
///
/// Errors: InvalidInput, when the body is not XML.
pub fn read(model: &Model, operation: &str, uri: &Uri, body: &[u8]) -> Result<Value, AwsError> {
    let (Some(shape), Some(http)) = (model.input(operation), model.http(operation)) else {
        return Ok(json!({}));
    };
    let mut members = match parse(body)? {
        Some(root) => structure(model, shape, &root),
        None => Map::new(),
    };
    let path = in_path(&http.path, uri.path()).unwrap_or_default();
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query: Vec<(String, String)> = query.into_owned().collect();
    for (member, (place, name)) in &shape.places {
        let given = match place.as_str() {
            "uri" => path.iter().find(|(it, _)| it == name),
            "querystring" => query.iter().find(|(it, _)| it == name),
            _ => None,
        };
        let of = shape.members.get(member).and_then(|it| model.shape(it));
        if let (Some((_, text)), Some(of)) = (given, of) {
            members.insert(member.clone(), query::typed(of, text));
        }
    }
    Ok(Value::Object(members))
}

fn invalid() -> AwsError {
    AwsError::new("InvalidInput", "Invalid XML")
}

/// The root of a document; none of an empty body.
fn parse(body: &[u8]) -> Result<Option<Element>, AwsError> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(body).map_err(|_| invalid())?;
    let mut reader = Reader::from_str(text);
    // The first stands for the document.
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().map_err(|_| invalid())? {
            Event::Start(begun) => open.push(named(begun.local_name().as_ref())),
            Event::Empty(whole) => add(&mut open, named(whole.local_name().as_ref()))?,
            Event::End(_) => {
                let done = open.pop().ok_or_else(invalid)?;
                add(&mut open, done)?;
            }
            Event::Text(text) => say(&mut open, &text.decode().map_err(|_| invalid())?),
            Event::CData(text) => say(&mut open, &text.decode().map_err(|_| invalid())?),
            Event::GeneralRef(entity) => {
                let character = entity.resolve_char_ref().map_err(|_| invalid())?;
                let name = entity.decode().map_err(|_| invalid())?;
                match (character, resolve_predefined_entity(&name)) {
                    (Some(character), _) => say(&mut open, character.encode_utf8(&mut [0; 4])),
                    (None, Some(text)) => say(&mut open, text),
                    (None, None) => return Err(invalid()),
                }
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(mut document), true) => document.inner.pop().map(Some).ok_or_else(invalid),
        _ => Err(invalid()),
    }
}

fn named(name: &[u8]) -> Element {
    Element {
        name: String::from_utf8_lossy(name).into_owned(),
        ..Element::default()
    }
}

fn add(open: &mut [Element], done: Element) -> Result<(), AwsError> {
    let around = open.last_mut().ok_or_else(invalid)?;
    around.inner.push(done);
    Ok(())
}

fn say(open: &mut [Element], text: &str) {
    if let Some(innermost) = open.last_mut() {
        innermost.text.push_str(text);
    }
}

fn structure(model: &Model, shape: &Shape, element: &Element) -> Map<String, Value> {
    let members = element.inner.iter().map(|inner| {
        let of = shape.members.get(&inner.name);
        let value = match of.and_then(|it| model.shape(it)) {
            Some(of) => value(model, of, inner),
            None => json!(inner.text),
        };
        (inner.name.clone(), value)
    });
    members.collect()
}

fn value(model: &Model, shape: &Shape, element: &Element) -> Value {
    match shape.kind.as_str() {
        "structure" => Value::Object(structure(model, shape, element)),
        "list" => list(model, shape, element),
        _ => query::typed(shape, &element.text),
    }
}

fn list(model: &Model, shape: &Shape, element: &Element) -> Value {
    let item = shape.item.as_deref().unwrap_or("member");
    let of = shape.member.as_deref().and_then(|it| model.shape(it));
    let items = element.inner.iter().map(|inner| match of {
        Some(of) if inner.name == item => value(model, of, inner),
        _ => json!({ inner.name.as_str(): inner.text }),
    });
    items.collect()
}

/// Writes the result of an operation as the vendor does.
pub fn respond(model: &Model, operation: &str, result: &Value) -> Response {
    let namespace = &model.metadata.xml_namespace;
    let mut body = String::from("<?xml version=\"1.0\"?>\n");
    body.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
    let shape = model.output(operation);
    if let (Some(shape), Some(members)) = (shape, result.as_object()) {
        query::write_members(model, shape, members, &mut body);
    }
    body.push_str(&format!("</{operation}Response>\n"));
    let mut response = Response::new(body.into());
    if let Some(http) = model.http(operation) {
        *response.status_mut() = StatusCode::from_u16(http.status).unwrap_or(StatusCode::OK);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    for (member, (place, name)) in shape.into_iter().flat_map(|it| &it.places) {
        let value = result
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default();
        let name = HeaderName::try_from(name.to_ascii_lowercase());
        if let ("header", Ok(name), Ok(value)) =
            (place.as_str(), name, HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::schema::model;

    #[test]
    fn path_query_and_body_become_typed_members() {
        let route53 = model("route53").unwrap();
        let uri: Uri = "/2013-04-01/hostedzone/Z1/rrset?name=a.example.com&maxitems=1"
            .parse()
            .unwrap();
        assert_eq!(
            operation(route53, &Method::GET, uri.path()),
            Some("ListResourceRecordSets")
        );
        assert_eq!(
            read(route53, "ListResourceRecordSets", &uri, b"").unwrap(),
            json!({ "HostedZoneId": "Z1", "StartRecordName": "a.example.com", "MaxItems": "1" })
        );
        let body = "<?xml version=\"1.0\"?><ChangeResourceRecordSetsRequest xmlns=\"x\"><ChangeBatch>\
            <Changes><Change><Action>CREATE</Action><ResourceRecordSet><Name>a.</Name><Type>TXT</Type>\
            <TTL>60</TTL><ResourceRecords><ResourceRecord><Value>&quot;a&#38;b&quot;</Value></ResourceRecord>\
            </ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>";
        let uri: Uri = "/2013-04-01/hostedzone/Z1/rrset/".parse().unwrap();
        let change = operation(route53, &Method::POST, uri.path()).unwrap();
        assert_eq!(
            read(route53, change, &uri, body.as_bytes()).unwrap(),
            json!({ "HostedZoneId": "Z1", "ChangeBatch": { "Changes": [{ "Action": "CREATE",
                "ResourceRecordSet": { "Name": "a.", "Type": "TXT", "TTL": 60,
                    "ResourceRecords": [{ "Value": "\"a&b\"" }] } }] } })
        );
    }

    #[test]
    fn a_broken_body_and_an_unknown_path_are_found_out() {
        let route53 = model("route53").unwrap();
        let uri: Uri = "/2013-04-01/hostedzone".parse().unwrap();
        for broken in ["<a", "<a><b></a>", "text", "<a>&unknown;</a>"] {
            let read = read(route53, "CreateHostedZone", &uri, broken.as_bytes());
            assert_eq!(read.unwrap_err().code, "InvalidInput", "{broken}");
        }
        assert_eq!(
            operation(route53, &Method::GET, "/2013-04-01/healthcheck"),
            None
        );
        assert_eq!(
            operation(route53, &Method::PUT, "/2013-04-01/hostedzone"),
            None
        );
    }
}
