//! Checks requests and our own answers against the vendor's service models (see `schemas/aws`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

/// The trimmed model of one service.
#[derive(Debug, Deserialize)]
pub struct Model {
    /// Names of the protocol.
    pub metadata: Metadata,
    operations: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

/// What the model says of the protocol.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// What precedes the operation in `X-Amz-Target`; empty for the query protocol.
    #[serde(default)]
    pub target_prefix: String,
    /// `json`, `query` or `rest-xml`.
    pub protocol: String,
    /// `1.0` or `1.1`; empty for the query protocol.
    #[serde(default)]
    pub json_version: String,
    /// The namespace of answers; empty for the JSON protocol.
    #[serde(default)]
    pub xml_namespace: String,
}

#[derive(Debug, Deserialize)]
struct Operation {
    input: Option<String>,
    output: Option<String>,
    wrapper: Option<String>,
    http: Option<Http>,
}

/// How a REST protocol tells an operation.
#[derive(Debug, Deserialize)]
pub struct Http {
    /// `GET`.
    pub method: String,
    /// `/2013-04-01/hostedzone/{Id}`.
    pub path: String,
    /// The status of an answer.
    pub status: u16,
}

/// The trimmed model of one type.
#[derive(Debug, Deserialize)]
pub struct Shape {
    /// `structure`, `list`, `string`, ...
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    required: Vec<String>,
    /// The shapes of a structure's members, by name.
    #[serde(default)]
    pub members: BTreeMap<String, String>,
    /// The shape of a list's members.
    pub member: Option<String>,
    /// What XML protocols call a list's members, unless `member`.
    pub item: Option<String>,
    /// Members that are not in the body: where (`uri`, `querystring`, `header`), and as what.
    #[serde(default)]
    pub places: BTreeMap<String, (String, String)>,
    key: Option<String>,
    value: Option<String>,
    #[serde(rename = "enum")]
    choices: Option<Vec<String>>,
    pattern: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    document: bool,
    #[serde(default)]
    union: bool,
}

/// Which rule a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The wrong JSON type: the vendor cannot read the request.
    Type,
    /// A member that the model does not have.
    Unknown,
    /// A member that the model requires is absent.
    Required,
    /// An enum, a pattern, a length or a range.
    Constraint,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Where, as the vendor writes it: `tags.1.member.key`.
    pub path: String,
    /// The vendor's sentence about it.
    pub message: String,
}

/// Which side of the wire is checked: lengths and patterns bind clients, not the service's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

static MODELS: LazyLock<BTreeMap<&'static str, Model>> = LazyLock::new(|| {
    [
        ("sts", include_str!("../../schemas/aws/sts.json")),
        (
            "apprunner",
            include_str!("../../schemas/aws/apprunner.json"),
        ),
        ("ecs", include_str!("../../schemas/aws/ecs.json")),
        ("ecr", include_str!("../../schemas/aws/ecr.json")),
        (
            "secretsmanager",
            include_str!("../../schemas/aws/secretsmanager.json"),
        ),
        (
            "application-autoscaling",
            include_str!("../../schemas/aws/application-autoscaling.json"),
        ),
        ("logs", include_str!("../../schemas/aws/logs.json")),
        ("rds", include_str!("../../schemas/aws/rds.json")),
        (
            "elasticache",
            include_str!("../../schemas/aws/elasticache.json"),
        ),
        (
            "tagging",
            include_str!("../../schemas/aws/resourcegroupstaggingapi.json"),
        ),
        ("route53", include_str!("../../schemas/aws/route53.json")),
    ]
    .into_iter()
    .map(|(name, text)| {
        let model = serde_json::from_str(text).expect("the trimmed models are checked in tests");
        (name, model)
    })
    .collect()
});

static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// The model of a service by its signing name. `None` for a service that the sandbox does not own.
pub fn model(service: &str) -> Option<&'static Model> {
    MODELS.get(service)
}

/// Every service that the sandbox owns, by its signing name.
pub fn models() -> impl Iterator<Item = (&'static str, &'static Model)> {
    MODELS.iter().map(|(service, model)| (*service, model))
}

impl Model {
    /// The names of its operations.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.operations.keys().map(String::as_str)
    }

    /// Whether the sandbox has this operation.
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    /// Whether it talks in forms and XML.
    pub fn is_query(&self) -> bool {
        self.metadata.protocol == "query"
    }

    /// Whether a method and a path tell the operation, and bodies are XML.
    pub fn is_rest_xml(&self) -> bool {
        self.metadata.protocol == "rest-xml"
    }

    /// How REST protocols tell an operation.
    pub fn http(&self, operation: &str) -> Option<&Http> {
        self.operations.get(operation)?.http.as_ref()
    }

    /// A type by its name.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    /// What an operation takes.
    pub fn input(&self, operation: &str) -> Option<&Shape> {
        self.shape(self.operations.get(operation)?.input.as_deref()?)
    }

    /// What an operation answers.
    pub fn output(&self, operation: &str) -> Option<&Shape> {
        self.shape(self.operations.get(operation)?.output.as_deref()?)
    }

    /// Those members of an answer that the operation's output has.
    pub fn cut(&self, operation: &str, mut answer: Value) -> Value {
        let output = self.output(operation);
        if let Some(members) = answer.as_object_mut() {
            members.retain(|name, _| output.is_some_and(|it| it.members.contains_key(name)));
        }
        answer
    }

    /// The element that the query protocol puts around an answer.
    pub fn wrapper(&self, operation: &str) -> Option<&str> {
        self.operations.get(operation)?.wrapper.as_deref()
    }

    /// Every rule that a request breaks.
    pub fn check_input(&self, operation: &str, input: &Value) -> Vec<Violation> {
        let shape = self
            .operations
            .get(operation)
            .and_then(|of| of.input.as_deref());
        self.check(shape, input, Side::Input)
    }

    /// Every rule that an answer breaks.
    pub fn check_output(&self, operation: &str, output: &Value) -> Vec<Violation> {
        let shape = self
            .operations
            .get(operation)
            .and_then(|of| of.output.as_deref());
        self.check(shape, output, Side::Output)
    }

    fn check(&self, shape: Option<&str>, value: &Value, side: Side) -> Vec<Violation> {
        let mut walk = Walk {
            model: self,
            side,
            found: Vec::new(),
        };
        match shape {
            Some(shape) => walk.shape(shape, value, String::new()),
            None if value.as_object().is_some_and(|members| !members.is_empty()) => {
                walk.report(
                    Rule::Unknown,
                    "",
                    "the operation takes no members".to_owned(),
                );
            }
            None => {}
        }
        walk.found
    }
}

struct Walk<'a> {
    model: &'a Model,
    side: Side,
    found: Vec<Violation>,
}

impl Walk<'_> {
    fn report(&mut self, rule: Rule, path: &str, message: String) {
        self.found.push(Violation {
            rule,
            path: path.to_owned(),
            message,
        });
    }

    fn shape(&mut self, name: &str, value: &Value, path: String) {
        let Some(shape) = self.model.shapes.get(name) else {
            self.report(
                Rule::Unknown,
                &path,
                format!("the model lacks the shape {name}"),
            );
            return;
        };
        let typed = match shape.kind.as_str() {
            _ if shape.document => true,
            "structure" => value.is_object(),
            "map" => value.is_object(),
            "list" => value.is_array(),
            "string" | "blob" | "character" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "long" => value.as_i64().is_some(),
            _ => value.is_number(),
        };
        if !typed {
            let expected = shape.kind.clone();
            self.report(
                Rule::Type,
                &path,
                format!("expected {expected} at `{path}`"),
            );
            return;
        }
        match shape.kind.as_str() {
            _ if shape.document => {}
            "structure" => self.structure(shape, value, &path),
            "list" => self.list(shape, value, &path),
            "map" => self.map(shape, value, &path),
            "string" => self.string(shape, value, &path),
            "blob" => self.blob(shape, value, &path),
            "integer" | "long" | "float" | "double" => {
                self.bounds(
                    shape,
                    value.as_f64().unwrap_or_default(),
                    &value.to_string(),
                    "value",
                    &path,
                );
            }
            _ => {}
        }
    }

    fn structure(&mut self, shape: &Shape, value: &Value, path: &str) {
        let Some(members) = value.as_object() else {
            return;
        };
        let present = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
        for name in shape.required.iter().filter(|name| !present(name)) {
            let at = join(path, name);
            let message = format!(
                "Value null at '{at}' failed to satisfy constraint: Member must not be null"
            );
            self.report(Rule::Required, &at, message);
        }
        if shape.union && members.values().filter(|value| !value.is_null()).count() != 1 {
            self.report(
                Rule::Type,
                path,
                format!("exactly one member must be set at `{path}`"),
            );
        }
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let at = join(path, name);
            match shape.members.get(name) {
                Some(shape) => self.shape(shape, value, at),
                None => self.report(Rule::Unknown, &at, format!("Unknown member `{at}`")),
            }
        }
    }

    fn list(&mut self, shape: &Shape, value: &Value, path: &str) {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        self.bounds(
            shape,
            items.len() as f64,
            &value.to_string(),
            "length",
            path,
        );
        let member = shape.member.as_deref().unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            self.shape(member, item, format!("{path}.{}.member", index + 1));
        }
    }

    fn map(&mut self, shape: &Shape, value: &Value, path: &str) {
        let Some(entries) = value.as_object() else {
            return;
        };
        self.bounds(
            shape,
            entries.len() as f64,
            &value.to_string(),
            "length",
            path,
        );
        for (key, value) in entries {
            let at = format!("{path}.{key}");
            self.shape(
                shape.key.as_deref().unwrap_or_default(),
                &Value::String(key.clone()),
                format!("{at}.key"),
            );
            self.shape(
                shape.value.as_deref().unwrap_or_default(),
                value,
                format!("{at}.member"),
            );
        }
    }

    fn string(&mut self, shape: &Shape, value: &Value, path: &str) {
        let text = value.as_str().unwrap_or_default();
        if let Some(choices) = shape
            .choices
            .as_ref()
            .filter(|all| !all.iter().any(|one| one == text))
        {
            let choices = choices.join(", ");
            self.constraint(
                path,
                text,
                &format!("Member must satisfy enum value set: [{choices}]"),
            );
        }
        self.bounds(shape, text.chars().count() as f64, text, "length", path);
        if self.side == Side::Input
            && let Some(pattern) = shape
                .pattern
                .as_deref()
                .filter(|pattern| !fits(pattern, text))
        {
            let rule = format!("Member must satisfy regular expression pattern: {pattern}");
            self.constraint(path, text, &rule);
        }
    }

    fn blob(&mut self, shape: &Shape, value: &Value, path: &str) {
        use base64::Engine as _;
        let text = value.as_str().unwrap_or_default();
        match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => self.bounds(
                shape,
                bytes.len() as f64,
                "java.nio.HeapByteBuffer",
                "length",
                path,
            ),
            Err(_) => self.report(Rule::Type, path, format!("`{path}` is not base64")),
        }
    }

    fn bounds(&mut self, shape: &Shape, measure: f64, shown: &str, what: &str, path: &str) {
        if self.side == Side::Output {
            return;
        }
        if let Some(min) = shape.min.filter(|min| measure < *min) {
            self.constraint(
                path,
                shown,
                &format!("Member must have {what} greater than or equal to {min}"),
            );
        }
        if let Some(max) = shape.max.filter(|max| measure > *max) {
            self.constraint(
                path,
                shown,
                &format!("Member must have {what} less than or equal to {max}"),
            );
        }
    }

    fn constraint(&mut self, path: &str, shown: &str, rule: &str) {
        // A value is quoted to be recognised, not kept: a secret's text must not travel in an
        // error.
        let shown: String = match self.is_secret(path) {
            true => "***".to_owned(),
            false => shown.chars().take(200).collect(),
        };
        let message = format!("Value '{shown}' at '{path}' failed to satisfy constraint: {rule}");
        self.report(Rule::Constraint, path, message);
    }

    fn is_secret(&self, path: &str) -> bool {
        let leaf = path.to_ascii_lowercase();
        leaf.contains("secretstring")
            || leaf.contains("secretbinary")
            || leaf.contains("environment")
            || leaf.contains("password")
            || leaf.contains("authtoken")
    }
}

fn join(path: &str, name: &str) -> String {
    // The vendor spells the first letter of a member in lower case in these sentences.
    let mut letters = name.chars();
    let name: String = match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

/// The vendor matches the whole value.
fn fits(pattern: &str, text: &str) -> bool {
    let mut patterns = PATTERNS
        .lock()
        .expect("no panic while a pattern is compiled");
    patterns
        .entry(pattern.to_owned())
        .or_insert_with(|| whole(pattern).expect("the models' patterns are compiled in tests"))
        .is_match(text)
}

/// What a scheduled action may be called, in Application Auto Scaling's model: without spaces
/// around it, control characters, `:`, `/`, `|`.
const ACTION_NAME: &str =
    r"(?!((^[ ]+.*)|(.*([\u0000-\u001f]|[\u007f-\u009f]|[:/|])+.*)|(.*[ ]+$))).+";
/// The same without looking ahead.
const ACTION_NAME_PLAIN: &str =
    r"[^ \x00-\x1f\x7f-\u{9f}:/|]([^\x00-\x1f\x7f-\u{9f}:/|]*[^ \x00-\x1f\x7f-\u{9f}:/|])?";

/// A tag's key in App Runner's model.
const TAG_KEY: &str = "^(?!aws:).+";
/// The same without looking ahead.
const TAG_KEY_PLAIN: &str = "(?:[^a]|a$|a[^w]|aw$|aw[^s]|aws$|aws[^:]).*";

/// Some models write everything beyond the first plane as ranges of surrogates, which are no
/// characters here, and `\p{Print}` and `\w` as Java does for what ASCII has of them.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    let beyond = r"\u{10000}-\u{10FFFF}";
    let pattern = pattern
        .replace(r"\uD800\uDC00-\uDBFF\uDFFF", beyond)
        .replace(r"\p{Print}", "[[:print:]]")
        .replace(r"\w", "[0-9A-Za-z_]")
        .replace(ACTION_NAME, ACTION_NAME_PLAIN)
        .replace(TAG_KEY, TAG_KEY_PLAIN);
    Regex::new(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_pattern_of_every_model_compiles_and_every_shape_is_there() {
        for model in MODELS.values() {
            for shape in model.shapes.values() {
                if let Some(pattern) = &shape.pattern {
                    fits(pattern, "");
                }
                let used = shape
                    .members
                    .values()
                    .chain(&shape.member)
                    .chain(&shape.key)
                    .chain(&shape.value);
                for name in used {
                    assert!(model.shapes.contains_key(name), "{name}");
                }
            }
        }
    }

    #[track_caller]
    fn check(service: &str, operation: &str, input: Value, expected: &[(Rule, &str)]) {
        let found = model(service).unwrap().check_input(operation, &input);
        let found: Vec<(Rule, &str)> = found.iter().map(|v| (v.rule, v.path.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_request_is_refused_for_each_kind_of_mistake() {
        check("ecs", "UpdateService", json!({"service": "a"}), &[]);
        check(
            "ecs",
            "UpdateService",
            json!({}),
            &[(Rule::Required, "service")],
        );
        check(
            "ecs",
            "UpdateService",
            json!({"service": 1}),
            &[(Rule::Type, "service")],
        );
        check(
            "ecs",
            "UpdateService",
            json!({"service": "a", "x": 1}),
            &[(Rule::Unknown, "x")],
        );
        check(
            "ecs",
            "UpdateService",
            json!({"service": "a", "propagateTags": "ALL"}),
            &[(Rule::Constraint, "propagateTags")],
        );
        check(
            "ecr",
            "CreateRepository",
            json!({"repositoryName": "Upper"}),
            &[(Rule::Constraint, "repositoryName")],
        );
        check(
            "secretsmanager",
            "CreateSecret",
            json!({"Name": "a", "ClientRequestToken": "short"}),
            &[(Rule::Constraint, "clientRequestToken")],
        );
    }
}
