"""Reads what the recorder wrote, and collects what deviates. Never repeats a value: it may be a secret."""

import base64
import json
from urllib.parse import parse_qsl, unquote, urlsplit


class Exchange:
    """One request and its response."""

    def __init__(self, document):
        self.number = document["number"]
        self.method = document["method"]
        self.target = document["target"]
        parts = urlsplit(self.target)
        self.path = unquote(parts.path)
        self.query = parse_qsl(parts.query, keep_blank_values=True)
        self.status = document["status"]
        self.request_headers = Headers(document["request_headers"])
        self.response_headers = Headers(document["response_headers"])
        self.request_body = body(document["request_body"])
        self.response_body = body(document["response_body"])

    @property
    def is_image_transfer(self):
        """The OCI distribution API, which has a specification of its own and no vendor's schema."""
        words = self.path.strip("/").split("/")
        kinds = {"blobs", "manifests", "tags", "referrers"}
        return self.path == "/v2/" or (words[0] == "v2" and words[1] != "projects" and kinds & set(words))


class Headers:
    """Header fields by lower-case name; the last one wins."""

    def __init__(self, pairs):
        self.fields = {name.lower(): value for name, value in pairs}

    def get(self, name, default=""):
        return self.fields.get(name.lower(), default)


def body(encoded):
    return None if encoded is None else base64.b64decode(encoded)


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [Exchange(json.loads(line)) for line in lines if line.strip()]


class Report:
    """What was checked and what deviates."""

    def __init__(self):
        self.checked = {}
        self.passed_over = 0
        self.deviations = []

    def count(self, operation):
        self.checked[operation] = self.checked.get(operation, 0) + 1

    def finder(self, exchange, operation, where):
        """A function that notes a problem at a path inside this request or response."""

        def note(path, problem):
            self.deviations.append(
                {
                    "exchange": exchange.number,
                    "operation": operation,
                    "where": where,
                    "path": path,
                    "problem": problem,
                }
            )

        return note

    def document(self):
        return {
            "checked": self.checked,
            "passed_over": self.passed_over,
            "deviations": self.deviations,
        }


def kind(value):
    """The JSON type of a value, for messages that must not show the value."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def parse_json(raw, note):
    """The JSON document, `None` after noting that there is none."""
    try:
        return json.loads(raw)
    except (ValueError, TypeError):
        note("", "the body is no JSON")
        return None
