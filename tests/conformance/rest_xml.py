"""Reads requests of AWS's REST-XML protocol, which Route 53 speaks: method and path name the operation; path, query and
body carry its input."""

import re
import xml.etree.ElementTree as ElementTree


def operation_of(exchange, model):
    """The operation's name and what its path carries; `(None, {})` when the service has none there."""
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = re.escape(http["requestUri"].partition("?")[0].rstrip("/"))
        found = re.fullmatch(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", path), exchange.path.rstrip("/"))
        if found and http["method"] == exchange.method:
            return name, found.groupdict()
    return None, {}


def document_of(exchange, operation, labels, from_xml, note):
    """The input by its names on the wire; what has no place in it is noted."""
    shape = operation.input_shape
    document = dict(labels)
    if shape is None:
        return document
    asked = {}
    for name, member in shape.members.items():
        if member.serialization.get("location") == "querystring":
            asked[member.serialization.get("name", name)] = member
    for key, text in exchange.query:
        if key not in asked:
            note(key, f"{operation.name} has no such parameter")
        else:
            document[key] = int(text) if asked[key].type_name in ("integer", "long") and text.isdigit() else text
    if exchange.request_body:
        try:
            root = ElementTree.fromstring(exchange.request_body)
        except ElementTree.ParseError:
            note("", "the body is no XML")
            return document
        if root.tag.split("}")[-1] != shape.serialization.get("name", root.tag.split("}")[-1]):
            note("", "another operation's body")
        document |= from_xml(shape, root, "", note)
    return document
