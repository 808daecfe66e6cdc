"""Checks recorded Google traffic, both directions: Run and Secret Manager against Google's protobuf
descriptors, everything against the discovery documents.

usage: validate_gcp.py RECORDING...   prints {"checked", "passed_over", "deviations"} as JSON
"""

import json
import sys

from google.rpc import code_pb2

import discovery
import protobuf
from recording import Report, kind, parse_json, read

METHODS = discovery.load()
RULES = protobuf.load()

# The APIs whose errors have the shape from before google.rpc.
LEGACY = ("sqladmin.", "dns.")

# The APIs whose messages and HTTP rules Google's Python clients carry.
WITH_PROTOBUF = ("run.v2", "secretmanager.v1")


def check(exchange, report):
    """Checks one exchange."""
    if exchange.is_image_transfer:
        report.passed_over += 1
        return
    method = discovery.find(METHODS, exchange.method, exchange.path)
    if method is None:
        note = report.finder(exchange, f"{exchange.method} {exchange.path}", "request")
        note("", "no method of any API has this path")
        return
    report.count(method.id)
    rule = protobuf.find(RULES, exchange.method, exchange.path) if method.api in WITH_PROTOBUF else None
    check_request(exchange, method, rule, report.finder(exchange, method.id, "request"))
    check_response(exchange, method, rule, report.finder(exchange, method.id, "response"))


def check_request(exchange, method, rule, note):
    if not exchange.request_headers.get("authorization").startswith("Bearer "):
        note("authorization", "no bearer token")
    body = None
    if exchange.request_body:
        if exchange.request_headers.get("content-type").split(";")[0] != "application/json":
            note("content-type", "not `application/json`")
        body = parse_json(exchange.request_body, note)
        if body is None:
            return
    if rule is None:
        discovery.check_parameters(method, exchange, note)
        if method.api in WITH_PROTOBUF:
            note("", "the client library has no RPC with this path")
    else:
        protobuf.check(rule.request, protobuf.request_document(rule, exchange, body or {}), note)
    if body is not None and method.request is None:
        if body != {}:
            note("", f"{method.id} takes no body")
    elif method.request is not None:
        mask = ",".join(value for name, value in exchange.query if name in ("updateMask", "update_mask"))
        fields = {camel_case(path.split(".")[0]) for path in mask.split(",") if path}
        walker = discovery.Walker(method, note, request=True, mask=fields)
        walker.check({"$ref": method.request}, body if body is not None else {}, "")


def camel_case(name):
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def check_response(exchange, method, rule, note):
    if exchange.response_headers.get("content-type").split(";")[0] != "application/json":
        note("content-type", "not `application/json`")
    body = parse_json(exchange.response_body, note)
    if body is None:
        return
    if exchange.status >= 400:
        check_error(exchange, method, body, note)
        return
    if rule is not None:
        protobuf.check(rule.response, body, note)
    if method.response is not None:
        discovery.Walker(method, note, request=False).check({"$ref": method.response}, body, "")


def check_error(exchange, method, body, note):
    """`{"error": {"code", "message", "status", "details"}}`, with the HTTP status as its code."""
    error = body.get("error") if isinstance(body, dict) and body.keys() == {"error"} else None
    if not isinstance(error, dict):
        note("", f"{kind(body)} where an error is expected")
        return
    for name in error.keys() - {"code", "message", "status", "details", "errors"}:
        note(f".error.{name}", "no such field")
    if error.get("code") != exchange.status:
        note(".error.code", "not the HTTP status")
    # The older APIs name a reason in `errors` and no code.
    is_legacy = method.api.startswith(LEGACY) and "status" not in error and error.get("errors")
    if not is_legacy and error.get("status") not in code_pb2.Code.keys():
        note(".error.status", "no name of google.rpc.Code")
    if not isinstance(error.get("message"), str):
        note(".error.message", "no words")
    status = {"message": error.get("message"), "details": error.get("details", [])}
    protobuf.check(protobuf.STATUS, status, note)


def validate(exchanges):
    report = Report()
    for exchange in exchanges:
        check(exchange, report)
    return report.document()


if __name__ == "__main__":
    json.dump(validate([exchange for path in sys.argv[1:] for exchange in read(path)]), sys.stdout, indent=1)
