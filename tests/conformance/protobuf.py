"""Run v2 and Secret Manager as protobuf: the RPCs' messages and HTTP rules, from Google's own Python clients."""

import importlib
import pkgutil
import re

import google.cloud.run_v2
import google.cloud.secretmanager_v1
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool, empty_pb2, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2

PACKAGES = (google.cloud.run_v2, google.cloud.secretmanager_v1)

# The methods that every service shares; their transports annotate no message.
MIXINS = {
    "GetOperation": (operations_pb2.GetOperationRequest, operations_pb2.Operation),
    "ListOperations": (operations_pb2.ListOperationsRequest, operations_pb2.ListOperationsResponse),
    "DeleteOperation": (operations_pb2.DeleteOperationRequest, empty_pb2.Empty),
    "GetLocation": (locations_pb2.GetLocationRequest, locations_pb2.Location),
    "ListLocations": (locations_pb2.ListLocationsRequest, locations_pb2.ListLocationsResponse),
    "WaitOperation": (operations_pb2.WaitOperationRequest, operations_pb2.Operation),
}

# Importing registers the messages that errors and operations carry inside `Any`.
REGISTERED = (error_details_pb2, policy_pb2, iam_policy_pb2)


class Rule:
    """One HTTP rule of one RPC."""

    def __init__(self, rpc, option, request, response):
        self.rpc = rpc
        self.http_method = option["method"].upper()
        self.body = option.get("body")
        self.request = request
        self.response = response
        self.fields = []
        parts = re.split(r"(\{[^}]*\})", option["uri"])
        self.pattern = re.compile("".join(self.part(part) for part in parts))
        self.literals = len(re.sub(r"\{[^=}]*=?|\}|\*", "", option["uri"]))

    def part(self, part):
        if not part.startswith("{"):
            return re.escape(part)
        name, _, form = part[1:-1].partition("=")
        self.fields.append(name)
        return "(" + re.escape(form or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/:]+") + ")"


def message_class(kind):
    """The protobuf class of a proto-plus class; a protobuf class as it is."""
    return kind.pb() if hasattr(kind, "pb") else kind


def load():
    """Every HTTP rule of every RPC."""
    rules = []
    for package in PACKAGES:
        services = importlib.import_module(f"{package.__name__}.services")
        for service in pkgutil.iter_modules(services.__path__):
            name = f"{services.__name__}.{service.name}.transports"
            rest = importlib.import_module(f"{name}.rest")
            base = importlib.import_module(f"{name}.rest_base")
            rules.extend(rules_of(rest, base))
    return rules


def rules_of(rest, base):
    transport = next(kind for key, kind in vars(rest).items() if key.endswith("RestTransport") and key[0] != "_")
    bases = next(kind for key, kind in vars(base).items() if key.startswith("_Base"))
    for key, kind in vars(bases).items():
        if not key.startswith("_Base"):
            continue
        rpc = key.removeprefix("_Base")
        if rpc in MIXINS:
            request, response = MIXINS[rpc]
        elif hasattr(kind, "_get_http_options"):
            accessor = getattr(transport, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower(), None)
            if accessor is None:
                continue
            request, response = accessor.fget.__annotations__["return"].__args__
        else:
            continue
        for option in kind._get_http_options():
            yield Rule(rpc, option, message_class(request), message_class(response))


def find(rules, http_method, path):
    """The rule with the most literal text that fits; `None` when no RPC has one."""
    fitting = [rule for rule in rules if rule.http_method == http_method and rule.pattern.fullmatch(path)]
    return max(fitting, key=lambda rule: rule.literals, default=None)


def from_query(descriptor, name, value):
    """A query parameter's text as the field's JSON value: booleans and numbers have no quotes there."""
    head, _, rest = name.partition(".")
    field = next((f for f in descriptor.fields if head in (f.name, f.json_name)), None)
    if field is None:
        return head, value
    if rest:
        key, inner = from_query(field.message_type, rest, value)
        return field.json_name, {key: inner}
    if field.type == field.TYPE_BOOL:
        return field.json_name, {"true": True, "false": False}.get(value, value)
    if field.type == field.TYPE_ENUM and re.fullmatch(r"-?\d+", value):
        return field.json_name, int(value)
    return field.json_name, value


def merge(document, key, value):
    if isinstance(value, dict) and isinstance(document.get(key), dict):
        for inner, item in value.items():
            merge(document[key], inner, item)
    elif key in document:
        document[key] = (document[key] if isinstance(document[key], list) else [document[key]]) + [value]
    else:
        document[key] = value


def request_document(rule, exchange, body):
    """The request message's JSON: the body, the path's fields and the query's, where the rule puts them."""
    document = {}
    if rule.body == "*":
        document.update(body if isinstance(body, dict) else {"body": body})
    elif rule.body:
        document[rule.body] = body
    for name, value in zip(rule.fields, rule.pattern.fullmatch(exchange.path).groups()):
        # `{service.name=...}` names a field inside the body: both must say the same.
        merge_path(document, name.split("."), value)
    for name, value in exchange.query:
        if name.split(";")[0] not in ("$alt", "alt", "$prettyPrint", "prettyPrint"):
            merge(document, *from_query(rule.request.DESCRIPTOR, name, value))
    return document


def merge_path(document, names, value):
    for name in names[:-1]:
        document = document.setdefault(name, {})
        if not isinstance(document, dict):
            return
    document.setdefault(names[-1], value)


def check(kind, document, note):
    """Notes why protobuf's own parser refuses the document as this message."""
    try:
        message = json_format.ParseDict(document, kind(), ignore_unknown_fields=False)
    except (json_format.ParseError, TypeError, ValueError) as error:
        note("", refusal(error))
        return
    for path, number in unknown_enums(message, ""):
        note(path, f"{number} is no value of this enumeration")


def refusal(error):
    """The parser's words up to where they would repeat the document's values."""
    words = str(error)
    return words.split(" at \"")[0] if "no field named" in words else re.sub(r"(['\"]).*?\1", "...", words)[:200]


def unknown_enums(message, path):
    """Numbers that proto3's open enumerations let pass although nobody declared them."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any" and message.type_url:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(message.TypeName())
        packed = message_factory.GetMessageClass(descriptor)()
        message.Unpack(packed)
        message = packed
    for field, value in message.ListFields():
        label = f"{path}.{field.json_name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from unknown_enums(value[key], f"{label}{{value}}")
            continue
        repeated = hasattr(value, "extend")
        for item in value if repeated else [value]:
            if field.enum_type is not None and item not in field.enum_type.values_by_number:
                yield label, item
            elif field.message_type is not None:
                yield from unknown_enums(item, label)


STATUS = status_pb2.Status
