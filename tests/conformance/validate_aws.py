"""Checks recorded AWS traffic, both directions, against botocore's service models.

usage: validate_aws.py RECORDING...   prints {"checked", "passed_over", "deviations"} as JSON
"""

import base64
import binascii
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone
from urllib.parse import parse_qsl

import botocore.session
from botocore.validate import ParamValidator

import rest_xml
from recording import Report, kind, parse_json, read

SERVICES = ("ecs", "ecr", "secretsmanager", "logs", "sts", "rds", "elasticache", "elbv2", "route53",
            "application-autoscaling", "resourcegroupstaggingapi", "apprunner")

# Services whose requests are signed in another name than botocore's.
SIGNED_AS = {"elasticloadbalancing": "elbv2", "tagging": "resourcegroupstaggingapi"}

# Enums that the service itself does not keep to: see NOT_AS_MODELLED in crates/sandbox/schemas/trim_botocore.py.
NOT_AS_MODELLED = {"AutoScalingConfigurationStatus"}

# Every AWS service may answer these; the models list only each operation's own.
COMMON_ERRORS = {
    "AccessDeniedException", "AccessDenied", "ExpiredTokenException", "IncompleteSignature",
    "InternalFailure", "InternalServerError", "InvalidAction", "InvalidClientTokenId",
    "InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
    "RequestExpired", "SerializationException", "ServiceUnavailable", "SignatureDoesNotMatch",
    "Throttling", "ThrottlingException", "UnknownOperationException", "UnrecognizedClientException",
    "ValidationError", "ValidationException",
}


_session = botocore.session.get_session()
_models = {}


def model(service):
    if service not in _models:
        _models[service] = _session.get_service_model(service)
    return _models[service]


def expression(pattern):
    """The model's pattern for Python, matched whole; `None` when it cannot be said in Python."""
    translated = pattern.replace(r"[\p{L}\p{Z}\p{N}_", r"[\w\s").replace(r"[\w-_]", r"[\w\-]")
    translated = translated.replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff").replace(r"\p{Print}", "[ -~]")
    if r"\p{" in translated:
        return None
    return re.compile(translated)


class Walker:
    """Walks a JSON document along a shape and notes what the shape does not allow."""

    def __init__(self, note, request):
        self.note = note
        self.request = request

    def check(self, shape, value, path):
        if value is None:
            # JSON null means absent to AWS, but nobody has a reason to send it.
            self.note(path, f"null where {shape.type_name} is expected")
            return
        getattr(self, f"check_{shape.type_name}", self.check_other)(shape, value, path)

    def check_other(self, shape, value, path):
        self.note(path, f"the check knows no {shape.type_name}")

    def is_a(self, types, shape, value, path):
        wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        if wrong:
            self.note(path, f"{kind(value)} where {shape.type_name} is expected")
        return not wrong

    def check_structure(self, shape, value, path):
        if not self.is_a((dict,), shape, value, path):
            return
        if shape.metadata.get("document"):
            return
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name in value.keys() - members.keys():
            self.note(f"{path}.{name}", f"{shape.name} has no such member")
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in value:
                self.note(f"{path}.{name}", f"required member of {shape.name} is missing")
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            self.note(path, f"the union {shape.name} has {len(value)} members set")
        for name, member in members.items():
            if name in value:
                self.check(member, value[name], f"{path}.{name}")

    def check_list(self, shape, value, path):
        if self.is_a((list,), shape, value, path):
            self.check_size(shape, len(value), "items", path)
            for index, item in enumerate(value):
                self.check(shape.member, item, f"{path}[{index}]")

    def check_map(self, shape, value, path):
        if self.is_a((dict,), shape, value, path):
            self.check_size(shape, len(value), "entries", path)
            for key, item in value.items():
                self.check(shape.key, key, f"{path}{{key}}")
                self.check(shape.value, item, f"{path}{{value}}")

    def check_string(self, shape, value, path):
        if not self.is_a((str,), shape, value, path):
            return
        if shape.enum and value not in shape.enum and shape.name not in NOT_AS_MODELLED:
            self.note(path, f"not in the enumeration {shape.name}")
        # The models' limits are the services' promise about what they take, not about what they say.
        if self.request:
            self.check_size(shape, len(value), "characters", path)
            pattern = shape.metadata.get("pattern")
            compiled = expression(pattern) if pattern else None
            if compiled and not compiled.fullmatch(value):
                self.note(path, f"does not match the pattern of {shape.name}")

    check_character = check_string

    def check_integer(self, shape, value, path):
        if self.is_a((int,), shape, value, path) and self.request:
            low, high = shape.metadata.get("min"), shape.metadata.get("max")
            if (low is not None and value < low) or (high is not None and value > high):
                self.note(path, f"outside the range of {shape.name}")

    check_long = check_integer

    def check_float(self, shape, value, path):
        self.is_a((int, float), shape, value, path)

    check_double = check_float

    def check_timestamp(self, shape, value, path):
        # JSON 1.1 carries seconds since 1970 unless the member names another format.
        if shape.serialization.get("timestampFormat") in (None, "unixTimestamp"):
            self.is_a((int, float), shape, value, path)
        else:
            self.is_a((str,), shape, value, path)

    def check_boolean(self, shape, value, path):
        self.is_a((bool,), shape, value, path)

    def check_blob(self, shape, value, path):
        if self.is_a((str,), shape, value, path):
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                self.note(path, "not base64")

    def check_size(self, shape, size, unit, path):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if self.request and ((low is not None and size < low) or (high is not None and size > high)):
            self.note(path, f"{size} {unit}, {shape.name} takes {low} to {high}")


def as_parameters(shape, value):
    """The document as botocore's own validator takes it; what has a wrong type is left as it is."""
    if shape.type_name == "structure" and isinstance(value, dict):
        by_wire = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        pairs = ((by_wire.get(key, (key, None)), item) for key, item in value.items())
        return {name: as_parameters(member, item) if member else item for (name, member), item in pairs}
    if shape.type_name == "list" and isinstance(value, list):
        return [as_parameters(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: as_parameters(shape.value, item) for key, item in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, timezone.utc)
    return value


def second_opinion(shape, value, note):
    """botocore's validator; its report names the types and the names, but may show a value."""
    report = ParamValidator().validate(as_parameters(shape, value), shape)
    for reason, name, _ in getattr(report, "_errors", []):
        note(name or "", f"botocore refuses it: {reason}")


def entry_name(shape):
    """What the query protocol calls one entry of a list that is not flattened."""
    return shape.member.serialization.get("name", "member")


def from_form(shape, pairs, prefix, note):
    """The document that the query protocol's form says; `None` when it says nothing of this shape."""
    under = [(key, value) for key, value in pairs if key == prefix or key.startswith(f"{prefix}.")]
    if shape.type_name == "structure":
        document = {}
        for name, member in shape.members.items():
            wire = member.serialization.get("name", name)
            found = from_form(member, pairs, f"{prefix}.{wire}" if prefix else wire, note)
            if found is not None:
                document[name] = found
        return document if document or not prefix else None
    if not under:
        return None
    if shape.type_name == "list":
        entry = prefix if shape.serialization.get("flattened") else f"{prefix}.{entry_name(shape)}"
        under = [(key, value) for key, value in under if re.match(re.escape(entry) + r"\.\d", key)]
        numbers = sorted({int(key[len(entry) + 1:].split(".")[0]) for key, _ in under})
        return [from_form(shape.member, pairs, f"{entry}.{number}", note) for number in numbers]
    text = under[0][1]
    if shape.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def form_names(shape, prefix=""):
    """The expressions of every key that a form of this shape may have."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            wire = re.escape(member.serialization.get("name", name))
            yield from form_names(member, f"{prefix}\\.{wire}" if prefix else wire)
    elif shape.type_name == "list":
        entry = prefix if shape.serialization.get("flattened") else f"{prefix}\\.{entry_name(shape)}"
        yield from form_names(shape.member, f"{entry}\\.\\d+")
    else:
        yield prefix


def from_xml(shape, element, path, note):
    """The document that an element of the query protocol's answer says; unknown elements are noted."""
    children = [(child.tag.split("}")[-1], child) for child in element]
    if shape.type_name == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for tag, _ in children:
            if tag not in members:
                note(f"{path}.{tag}", f"{shape.name} has no such member")
        return {
            tag: from_xml(members[tag], child, f"{path}.{tag}", note) for tag, child in children if tag in members
        }
    if shape.type_name == "list":
        return [from_xml(shape.member, child, path, note) for _, child in children]
    text = element.text or ""
    if shape.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if shape.type_name == "timestamp":
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return text
    return text


def service_of(exchange):
    scope = re.search(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request", exchange.request_headers.get("authorization"))
    return scope and SIGNED_AS.get(scope.group(1), scope.group(1))


def check(exchange, report):
    """Checks one exchange."""
    if exchange.is_image_transfer:
        report.passed_over += 1
        return
    service = service_of(exchange)
    if service not in SERVICES:
        report.finder(exchange, str(service), "request")("", "no service that this check knows, or not signed")
        return
    if model(service).protocol == "query":
        check_query(exchange, service, report)
    elif model(service).protocol == "rest-xml":
        check_rest(exchange, service, report)
    else:
        check_json(exchange, service, report)


def operation_of(exchange, service, name, report):
    if name not in model(service).operation_names:
        report.finder(exchange, f"{service}:{name}", "request")("", "the service has no such operation")
        return None
    report.count(f"{service}:{name}")
    return model(service).operation_model(name)


def check_json(exchange, service, report):
    metadata = model(service).metadata
    prefix, _, name = exchange.request_headers.get("x-amz-target").rpartition(".")
    operation = operation_of(exchange, service, name, report)
    if operation is None:
        return
    label = f"{service}:{name}"
    note = report.finder(exchange, label, "request")
    if prefix != metadata["targetPrefix"]:
        note("x-amz-target", "another service's prefix")
    if (exchange.method, exchange.target) != ("POST", "/"):
        note("", "not `POST /`")
    content_type = f"application/x-amz-json-{metadata['jsonVersion']}"
    if exchange.request_headers.get("content-type") != content_type:
        note("content-type", f"not `{content_type}`")
    document = parse_json(exchange.request_body or b"{}", note)
    if document is not None and operation.input_shape is not None:
        Walker(note, True).check(operation.input_shape, document, "")
        second_opinion(operation.input_shape, document, note)
    note = report.finder(exchange, label, "response")
    if exchange.response_headers.get("content-type") != content_type:
        note("content-type", f"not `{content_type}`")
    if exchange.status >= 400:
        check_error(exchange, operation, note)
    elif operation.output_shape is None:
        # An operation without a result answers nothing or an empty object.
        if exchange.response_body not in (b"", b"{}", None):
            note("", "a body where the operation has no result")
    else:
        document = parse_json(exchange.response_body or b"{}", note)
        if document is not None:
            Walker(note, False).check(operation.output_shape, document, "")


def check_error(exchange, operation, note):
    document = parse_json(exchange.response_body, note)
    if not isinstance(document, dict):
        return
    named = exchange.response_headers.get("x-amzn-errortype") or document.pop("__type", "")
    document.pop("__type", None)
    code = named.split(":")[0].split("#")[-1]
    shapes = {shape.name: shape for shape in operation.error_shapes}
    if not code:
        note("__type", "the error has no name")
    elif code not in shapes and code not in COMMON_ERRORS:
        note("__type", f"{operation.name} knows no error `{code}`")
    members = {"message", "Message"}
    if code in shapes:
        members |= set(shapes[code].members)
        for name in document.keys() & shapes[code].members.keys():
            Walker(note, False).check(shapes[code].members[name], document[name], f".{name}")
    for name in document.keys() - members:
        note(f".{name}", f"the error {code} has no such member")


def check_query(exchange, service, report):
    note_early = report.finder(exchange, service, "request")
    try:
        pairs = parse_qsl((exchange.request_body or b"").decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        note_early("", "the body is no form")
        return
    fields = dict(pairs)
    name = fields.get("Action", "")
    operation = operation_of(exchange, service, name, report)
    if operation is None:
        return
    label = f"{service}:{name}"
    note = report.finder(exchange, label, "request")
    if fields.get("Version") != model(service).api_version:
        note("Version", "not the model's version")
    allowed = [] if operation.input_shape is None else list(form_names(operation.input_shape))
    for key in fields.keys() - {"Action", "Version"}:
        if not any(re.fullmatch(pattern, key) for pattern in allowed):
            note(key, f"{name} has no such parameter")
    if operation.input_shape is not None:
        document = from_form(operation.input_shape, pairs, "", note)
        Walker(note, True).check(operation.input_shape, document, "")
        second_opinion(operation.input_shape, document, note)
    check_xml(exchange, operation, report.finder(exchange, label, "response"))


def check_rest(exchange, service, report):
    """Checks the request alone: of these services the sandbox has none, and what others answer is not ours to judge."""
    name, labels = rest_xml.operation_of(exchange, model(service))
    operation = operation_of(exchange, service, name or exchange.method, report)
    if operation is None:
        return
    note = report.finder(exchange, f"{service}:{name}", "request")
    document = rest_xml.document_of(exchange, operation, labels, from_xml, note)
    if operation.input_shape is not None:
        Walker(note, True).check(operation.input_shape, document, "")
        second_opinion(operation.input_shape, document, note)


def check_xml(exchange, operation, note):
    try:
        root = ElementTree.fromstring(exchange.response_body or b"")
    except ElementTree.ParseError:
        note("", "the body is no XML")
        return
    tag = root.tag.split("}")[-1]
    parts = {child.tag.split("}")[-1]: child for child in root}
    if exchange.status >= 400:
        error = parts.get("Error")
        found = {child.tag.split("}")[-1]: child.text for child in error} if error is not None else {}
        codes = {shape.error_code for shape in operation.error_shapes} | COMMON_ERRORS
        if tag != "ErrorResponse" or found.keys() - {"Type", "Code", "Message"} or found.get("Code") not in codes:
            note("", "not an error of this operation")
        return
    if tag != f"{operation.name}Response":
        note("", f"`{tag}` is not `{operation.name}Response`")
    allowed = {"ResponseMetadata"}
    shape = operation.output_shape
    if shape is not None:
        wrapper = shape.serialization.get("resultWrapper", f"{operation.name}Result")
        allowed.add(wrapper)
        if wrapper not in parts:
            note(wrapper, "the result is missing")
        else:
            Walker(note, False).check(shape, from_xml(shape, parts[wrapper], "", note), "")
    for name in parts.keys() - allowed:
        note(name, "no such element in this answer")


def validate(exchanges):
    report = Report()
    for exchange in exchanges:
        check(exchange, report)
    return report.document()


if __name__ == "__main__":
    json.dump(validate([exchange for path in sys.argv[1:] for exchange in read(path)]), sys.stdout, indent=1)
