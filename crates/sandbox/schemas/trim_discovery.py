#!/usr/bin/env python3
"""Trims Google's discovery documents to the methods and messages that the sandbox answers.

    python3 trim_discovery.py OUT_DIR

Needs the packages google-api-python-client (it carries every discovery document), google-cloud-run,
google-cloud-secret-manager, google-cloud-artifact-registry, google-cloud-service-usage and google-cloud-redis: discovery documents name enum values but not their numbers, and do not say
which scalars know presence; the protobuf descriptors do. No Python package has those of Cloud SQL and Cloud DNS:
they are read from the source of Google's crates google-cloud-sql-v1 and google-cloud-dns-v1 in cargo's registry.
"""

import importlib
import json
import os
import pathlib
import re
import sys
from types import SimpleNamespace

import googleapiclient

DOCUMENTS = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"

MODULES = [
    "google.cloud.run_v2",
    "google.cloud.secretmanager_v1",
    "google.cloud.artifactregistry_v1",
    "google.cloud.service_usage_v1",
    "google.cloud.redis_v1",
    "google.iam.v1.policy_pb2",
    "google.logging.type.log_severity_pb2",
]

SQL = (r"sql\.(instances\.(insert|get|list|patch|update|delete|listServerCas)|databases\.(insert|get|list|delete)"
       r"|users\.(insert|list|update|delete)|operations\.(get|list)|backupRuns\..*)")

# document, protobuf package (or `crate:` and one of Google's crates), prefix of schema names, methods kept (a pattern over the method id),
# messages that no method names but that travel as `Any`
APIS = [
    ("run.v2", "google.cloud.run.v2", "GoogleCloudRunV2",
     r"run\.projects\.locations\.(services\.(?!.*exportStatus).*|jobs\.(?!.*exportStatus).*|operations\..*)",
     ["Service", "Revision", "Job", "Execution"]),
    ("run.v1", "google.cloud.run.v1", "",
     r"run\.(namespaces\.(services|revisions|jobs|executions|tasks|configurations|routes)\.(get|list)"
     r"|projects\.locations\.(services|revisions)\.(get|list)"
     r"|(namespaces|projects\.locations)\.services\.replaceService"
     r"|projects\.locations\.operations\.wait"
     r"|projects\.locations\.(services|jobs)\..*IamP.*)",
     ["Service"]),
    ("secretmanager.v1", "google.cloud.secretmanager.v1", "",
     r"secretmanager\.projects\.secrets\.(?!.*otat).*", []),
    ("artifactregistry.v1", "google.devtools.artifactregistry.v1", "",
     r"artifactregistry\.projects\.locations\.(get|list|operations\.get"
     r"|repositories\.(create|delete|get|list|patch|getIamPolicy|setIamPolicy|testIamPermissions"
     r"|dockerImages\.(get|list)|packages\.(get|list|delete)|packages\.versions\.(get|list|delete)"
     r"|packages\.tags\.(get|list|create|delete)))",
     ["OperationMetadata"]),
    ("logging.v2", "google.logging.v2", "",
     r"logging\.entries\.(list|write)", []),
    ("serviceusage.v1", "google.api.serviceusage.v1", "GoogleApiServiceusageV1",
     r"serviceusage\.(services\.(get|list|batchGet|enable|batchEnable|disable)|operations\.get)",
     ["OperationMetadata", "!EnableServiceResponse", "!BatchEnableServicesResponse", "!DisableServiceResponse"]),
    ("cloudresourcemanager.v1", None, "", r"cloudresourcemanager\.projects\.(get|getIamPolicy|setIamPolicy|testIamPermissions)", []),
    ("cloudresourcemanager.v3", None, "", r"cloudresourcemanager\.projects\.(get|getIamPolicy|setIamPolicy|testIamPermissions)", []),
    ("sqladmin.v1", "crate:google-cloud-sql-v1", "", SQL, []),
    ("sqladmin.v1beta4", "crate:google-cloud-sql-v1", "", SQL, []),
    ("redis.v1", "google.cloud.redis.v1", "",
     r"redis\.projects\.locations\.(instances\.(create|get|list|patch|delete|getAuthString|failover|upgrade)|operations\..*)",
     ["Instance", "OperationMetadata"]),
    ("dns.v1", "crate:google-cloud-dns-v1", "",
     r"dns\.(changes\..*|managedZones\.(create|get|list|delete)|resourceRecordSets\..*)", []),
    ("storage.v1", None, "",
     r"storage\.(buckets\.(insert|get|list|patch|delete|getStorageLayout)|objects\.(insert|get|list|delete))", []),
]

FORMATS = {
    "int64": "int64", "uint64": "uint64", "int32": "int32", "uint32": "uint32", "double": "double",
    "float": "double", "byte": "bytes", "google-duration": "duration", "google-datetime": "timestamp",
    "google-fieldmask": "mask",
}


def messages(package):
    """Every message of a package by its concatenated name, as discovery documents spell nested ones."""
    if package.startswith("crate:"):
        return crate_messages(package.removeprefix("crate:"))
    found = {}

    def walk(message, prefix):
        name = prefix + message.name
        found[name] = message
        for nested in message.nested_types:
            walk(nested, name)

    for file in FILES:
        if file.package == package:
            for message in file.message_types_by_name.values():
                walk(message, "")
    return found


def crate_messages(crate):
    """The messages of one of Google's Rust crates, with what `trim_message` asks of a protobuf descriptor."""
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    source = max(home.glob(f"registry/src/*/{crate}-*/src/model.rs")).read_text()
    enums, module = {}, ""
    for block in re.split(r"\n(?=(?:pub mod|    impl|impl) )", source):
        if opened := re.match(r"pub mod (\w+)", block):
            module = opened[1] + "::"
        own = re.match(r"( *)impl (\w+) \{", block)
        if not own:
            continue
        pairs = lambda kind: dict(re.findall(r"Self::(\w+)\s*=>\s*(?:\{\s*)?std::option::Option::Some\(\s*%s\s*\)" % kind, block))
        numbers, names = pairs(r"(\d+)"), pairs(r'"(\w+)"')
        if numbers and names:
            values = [SimpleNamespace(name=name, number=int(numbers[variant])) for variant, name in names.items()]
            path = (module if own[1] else "") + own[2]
            enums[path] = SimpleNamespace(values=values, full_name=f"google.cloud.{crate.split('-')[2]}.v1.{own[2]}")
    found = {}
    for name, body in re.findall(r"^pub struct (\w+) \{\n(.*?)^\}", source, re.S | re.M):
        fields = {}
        for field, kind in re.findall(r"pub (?:r#)?(\w+):\s*(.*?),\n", body, re.S):
            inner = re.sub(r"\s|std::option::Option<|crate::model::|>", "", kind)
            message = re.search(r"^pub struct %s \{" % inner, source, re.M)
            fields[field] = SimpleNamespace(
                enum_type=enums.get(inner), message_type=message or None, containing_oneof=None,
                has_presence=kind.startswith("std::option::Option<"))
        found[name] = SimpleNamespace(fields_by_name=fields)
    return found


def every_enum():
    """Every enum of the loaded descriptors, for those whose message cannot be matched."""
    found = []

    def walk(message):
        found.extend(message.enum_types)
        for nested in message.nested_types:
            walk(nested)

    for file in FILES:
        found.extend(file.enum_types_by_name.values())
        for message in file.message_types_by_name.values():
            walk(message)
    return found


def snake(name):
    return re.sub(r"([A-Z])", lambda m: "_" + m.group(1).lower(), name)


def numbers(values, field):
    """The numbers of an enum's values: by the field's own descriptor, else by its set of names."""
    if field is not None and field.enum_type is not None:
        known = {v.name: v.number for v in field.enum_type.values}
        if set(values) & set(known):
            after = max(known.values()) + 1
            # A discovery document may be newer than the descriptors: later values come last.
            fresh = [v for v in values if v not in known]
            known.update({v: after + i for i, v in enumerate(fresh)})
            return {v: known[v] for v in values}, field.enum_type.full_name
    for enum in ENUMS:
        known = {v.name: v.number for v in enum.values}
        if set(values) <= set(known):
            return {v: known[v] for v in values}, enum.full_name
    return {v: i for i, v in enumerate(values)}, None


def trim_type(spec, field, refs):
    if "$ref" in spec:
        refs.add(spec["$ref"])
        return {"type": "message", "of": spec["$ref"]}
    kind = spec.get("type")
    if kind == "array":
        return {"list": True, **trim_type(spec["items"], field, refs)}
    if kind == "object":
        values = spec.get("additionalProperties")
        if values is None or values.get("type") == "any":
            return {"type": "any"}
        return {"type": "map", "of": trim_type(values, None, refs)}
    if "enum" in spec:
        values, full_name = numbers(spec["enum"], field)
        out = {"type": "enum", "values": values}
        if full_name:
            out["proto"] = full_name
        return out
    if kind == "boolean":
        return {"type": "bool"}
    if kind == "any":
        return {"type": "any"}
    return {"type": FORMATS.get(spec.get("format"), {"string": "string", "integer": "int32", "number": "double"}[kind])}


def field_of(descriptor, name):
    """The field's descriptor; proto-plus adds a `_` to names that Python reserves."""
    return descriptor.fields_by_name.get(snake(name)) or descriptor.fields_by_name.get(snake(name) + "_")


def trim_message(schema, descriptor, refs):
    fields = {}
    for name, spec in schema.get("properties", {}).items():
        field = field_of(descriptor, name) if descriptor else None
        out = trim_type(spec, field, refs)
        if spec.get("readOnly"):
            out["readOnly"] = True
        if field is not None and field.has_presence and field.message_type is None:
            out["presence"] = True
        if field is not None and field.containing_oneof and len(field.containing_oneof.fields) > 1:
            out["oneof"] = field.containing_oneof.name
        fields[name] = out
    return fields


def trim(document, package, prefix, keep, roots):
    source = json.loads((DOCUMENTS / f"{document}.json").read_text())
    known = messages(package) if package else {}
    methods, wanted = [], set()

    def walk(resource):
        for method in resource.get("methods", {}).values():
            if re.fullmatch(keep, method["id"]):
                query = {}
                for name, spec in method.get("parameters", {}).items():
                    if spec["location"] == "query":
                        query[name] = {**({"list": True} if spec.get("repeated") else {}), **trim_type({k: v for k, v in spec.items() if k != "repeated"}, None, set())}
                out = {
                    "id": method["id"], "verb": method["httpMethod"],
                    "path": "/" + source.get("servicePath", "") + method.get("flatPath", method["path"]), "query": query,
                    "response": method.get("response", {"$ref": "Empty"})["$ref"],
                }
                if "request" in method:
                    out["request"] = method["request"]["$ref"]
                    wanted.add(out["request"])
                wanted.add(out["response"])
                methods.append(out)
        for inner in resource.get("resources", {}).values():
            walk(inner)

    walk(source)
    types = {}
    for root in roots:
        # A leading `!` marks a name without the document's prefix.
        schema = root[1:] if root.startswith("!") else prefix + root
        if schema in source["schemas"]:
            wanted.add(schema)
            types[f"{package}.{root.lstrip('!')}"] = schema
    done = {}
    while wanted - set(done):
        name = sorted(wanted - set(done))[0]
        bare = name[len(prefix):] if prefix and name.startswith(prefix) else name
        # A method that answers nothing answers a message without fields.
        done[name] = trim_message(source["schemas"].get(name, {}), known.get(bare), wanted)
    return {"api": document, "service": source["rootUrl"].split("/")[2], "revision": source["revision"],
            "types": types, "methods": sorted(methods, key=lambda m: (m["id"], m["path"])),
            "messages": dict(sorted(done.items()))}


def write(path, trimmed):
    """One line per method and field: a newer document makes a readable difference."""
    line = lambda value: json.dumps(value, separators=(", ", ": "))
    out = ["{"]
    for key in ("api", "service", "revision", "types"):
        out.append(f' "{key}": {line(trimmed[key])},')
    out.append(' "methods": [')
    out.append(",\n".join("  " + line(m) for m in trimmed["methods"]))
    out.append(' ],\n "messages": {')
    bodies = []
    for name, fields in trimmed["messages"].items():
        inner = ",\n".join(f'   "{k}": {line(v)}' for k, v in fields.items())
        bodies.append(f'  "{name}": {{\n{inner}\n  }}' if fields else f'  "{name}": {{}}')
    out.append(",\n".join(bodies))
    out.append(" }\n}\n")
    path.write_text("\n".join(out))


for module in MODULES:
    importlib.import_module(module)


def loaded_files():
    """The descriptors behind every imported module; proto-plus hides its own behind the message types."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "DESCRIPTOR", None)
        if hasattr(file, "message_types_by_name"):
            found[file.name] = file
        if name.startswith("google.cloud.") and ".types" in name:
            for value in vars(module).values():
                if hasattr(value, "pb"):
                    file = value.pb().DESCRIPTOR.file if value.__module__ == name else None
                    if file is not None:
                        found[file.name] = file
    return [found[name] for name in sorted(found)]


FILES = loaded_files()
ENUMS = every_enum()

if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    for api in APIS:
        write(target / f"{api[0]}.json", trim(*api))
