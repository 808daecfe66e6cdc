"""Google's discovery documents: which method a request is, and whether a document fits a schema."""

import json
import re
from importlib import resources

from google.logging.type import log_severity_pb2

# Cloud SQL's numbers of its PostgreSQL versions, 9.6 to 20; its document does not say them, Google's Rust client does.
POSTGRES_VERSIONS = (0, 9, 18, 10, 19, 23, 110, 172, 272, 408, 557, 684, 781)

DOCUMENTS = (
    "run.v2",
    "secretmanager.v1",
    "artifactregistry.v1",
    "logging.v2",
    "iam.v1",
    "iamcredentials.v1",
    "cloudresourcemanager.v1",
    "cloudresourcemanager.v3",
    "serviceusage.v1",
    "storage.v1",
    "sqladmin.v1",
    "sqladmin.v1beta4",
    "redis.v1",
    "dns.v1",
    "run.v1",
)

# What every Google API takes beside a method's own parameters.
SYSTEM_PARAMETERS = {
    "$alt", "$.xgafv", "$prettyPrint", "$fields", "access_token", "alt", "callback", "fields", "key",
    "oauth_token", "prettyPrint", "quotaUser", "uploadType", "upload_protocol", "userProject",
}


class Method:
    """One method of one API."""

    def __init__(self, api, document, method):
        self.api = api
        self.id = method["id"]
        self.http_method = method["httpMethod"]
        self.parameters = method.get("parameters", {})
        self.request = method.get("request", {}).get("$ref")
        self.response = method.get("response", {}).get("$ref")
        self.schemas = document["schemas"]
        base = "/" + document["servicePath"]
        template = base + method.get("flatPath", method["path"])
        self.literals = len(re.sub(r"\{[^}]*\}", "", template))
        words = re.split(r"(\{[^}]*\})", template)
        self.pattern = re.compile("".join("([^/:]+(?:@[^/]+)?)" if word.startswith("{") else re.escape(word) for word in words))

    @property
    def family(self):
        return "operations" if ".operations." in self.id else self.api.split(".")[0]


def load():
    """Every method of every document."""
    folder = resources.files("googleapiclient") / "discovery_cache" / "documents"
    methods = []
    for api in DOCUMENTS:
        document = json.loads((folder / f"{api}.json").read_text(encoding="utf-8"))

        def walk(resource):
            for method in resource.get("methods", {}).values():
                methods.append(Method(api, document, method))
            for child in resource.get("resources", {}).values():
                walk(child)

        walk(document)
    return methods


def find(methods, http_method, path):
    """The method whose path has the most literal text in common; `None` when no API has one."""
    fitting = [m for m in methods if m.http_method == http_method and m.pattern.fullmatch(path)]
    return max(fitting, key=lambda method: method.literals, default=None)


def check_parameters(method, exchange, note):
    """The query's parameters: known, and the required ones there."""
    names = [name for name, _ in exchange.query]
    for name in names:
        if name.split(";")[0] not in SYSTEM_PARAMETERS and name not in query_names(method):
            note(f"?{name}", f"{method.id} has no such parameter")
    for name, parameter in method.parameters.items():
        if parameter.get("required") and parameter["location"] == "query" and name not in names:
            note(f"?{name}", "required parameter is missing")
        if "enum" in parameter:
            for _, value in (pair for pair in exchange.query if pair[0] == name):
                if value not in parameter["enum"]:
                    note(f"?{name}", "not in the enumeration")


def query_names(method):
    return {name for name, parameter in method.parameters.items() if parameter["location"] == "query"}


class Walker:
    """Walks a JSON document along a schema and notes what the schema does not allow.

    With a `mask` (the fields that an update names), what is required outside of it may be missing.
    """

    def __init__(self, method, note, request, mask=None):
        self.mask = mask
        self.schemas = method.schemas
        self.note = note
        self.request = request
        # A change sends what was read: the parts that only Google sets are then ignored, as documented.
        self.may_echo = method.http_method in ("PATCH", "PUT")

    def check(self, schema, value, path):
        schema = self.schemas[schema["$ref"]] if "$ref" in schema else schema
        kind = schema.get("type", "any")
        if value is None:
            self.note(path, "null")
        elif kind == "object":
            self.check_object(schema, value, path)
        elif kind == "array":
            if self.is_a(list, value, path, "an array"):
                for index, item in enumerate(value):
                    self.check(schema["items"], item, f"{path}[{index}]")
        elif kind == "string":
            self.check_string(schema, value, path)
        elif kind == "boolean":
            self.is_a(bool, value, path, "a boolean")
        elif kind == "integer":
            if self.is_a(int, value, path, "an integer") and isinstance(value, bool):
                self.note(path, "a boolean where an integer is expected")
        elif kind == "number":
            self.is_a((int, float), value, path, "a number")

    def is_a(self, types, value, path, wanted):
        if not isinstance(value, types):
            self.note(path, f"{type(value).__name__} where {wanted} is expected")
        return isinstance(value, types)

    def check_object(self, schema, value, path):
        if not self.is_a(dict, value, path, "an object"):
            return
        properties = schema.get("properties", {})
        free = schema.get("additionalProperties")
        for name, item in value.items():
            if name in properties:
                self.check_property(properties[name], item, f"{path}.{name}")
            elif free is not None:
                # Under `type: any` stand messages of other types, named by `@type`.
                self.check(free, item, f"{path}{{value}}")
            else:
                self.note(f"{path}.{name}", f"{schema.get('id', 'this object')} has no such field")
        if self.request:
            for name, described in properties.items():
                if not path and self.mask and name not in self.mask:
                    continue
                if described.get("description", "").startswith("Required.") and name not in value:
                    self.note(f"{path}.{name}", f"required field of {schema.get('id')} is missing")

    def check_property(self, schema, value, path):
        if self.request and schema.get("readOnly") and not self.may_echo:
            self.note(path, "only Google sets this field")
        self.check(schema, value, path)

    def check_string(self, schema, value, path):
        names = schema.get("enum")
        if names and isinstance(value, int) and not isinstance(value, bool):
            # The clients ask for and send numbers (`enum-encoding=int`).
            if value not in numbers_of(names):
                self.note(path, "a number that the enumeration does not have")
            return
        if not self.is_a(str, value, path, "a string"):
            return
        if names and value not in names:
            self.note(path, "not in the enumeration")
        form = FORMATS.get(schema.get("format"))
        if form and not form.fullmatch(value):
            self.note(path, f"not a {schema['format']}")


def numbers_of(names):
    """The numbers of an enumeration's values: documents list them in order, and these two leave gaps."""
    if "EMERGENCY" in names:
        return log_severity_pb2.LogSeverity.values()
    if "POSTGRES_16" in names:
        return POSTGRES_VERSIONS
    return range(len(names))


FORMATS = {
    "int64": re.compile(r"-?\d+"),
    "uint64": re.compile(r"\d+"),
    "google-datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"),
    "google-duration": re.compile(r"-?\d+(\.\d{1,9})?s"),
    "google-fieldmask": re.compile(r"[A-Za-z0-9_.,*]*"),
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
}
