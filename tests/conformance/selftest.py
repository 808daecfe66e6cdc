"""Plants deviations in valid exchanges, of every family and both directions, and says which were not found.

usage: selftest.py   prints {"planted": N, "missed": [...], "false_alarms": [...]} as JSON
"""

import base64
import copy
import json
import sys

import validate_aws
import validate_gcp
from recording import Exchange
from samples import AWS, GCP

REMOVED = object()


def exchange(side, sample):
    """The sample as the recorder would have written it."""
    headers = {"authorization": "Bearer planted", "content-type": "application/json"}
    answer = {"content-type": "application/json; charset=utf-8"}
    body = lambda part: b"" if part is None else part.encode() if isinstance(part, str) else json.dumps(part).encode()
    if side == "aws":
        service = sample["service"]
        credential = f"AKIDSELFTEST/20261122/us-east-1/{service}/aws4_request"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
        if validate_aws.model(service).protocol != "json":
            headers["content-type"] = "application/x-www-form-urlencoded"
        else:
            metadata = validate_aws.model(service).metadata
            headers["x-amz-target"] = f"{metadata['targetPrefix']}.{sample['operation']}"
            headers["content-type"] = answer["content-type"] = f"application/x-amz-json-{metadata['jsonVersion']}"
    document = {
        "number": 1,
        "method": sample.get("method", "POST"),
        "target": sample.get("target", "/"),
        "status": sample.get("status", 200),
        "request_headers": list(headers.items()),
        "response_headers": list(answer.items()),
        "request_body": base64.b64encode(body(sample["request"])).decode(),
        "response_body": base64.b64encode(body(sample["response"])).decode(),
    }
    return Exchange(document)


def planted(sample, direction, path, value):
    """The sample with one change: a member replaced, added or removed; in text, one piece for another."""
    changed = copy.deepcopy(sample)
    if isinstance(changed[direction], str):
        assert path in changed[direction], path
        changed[direction] = changed[direction].replace(path, value)
        return changed
    node = changed[direction]
    for step in path[:-1]:
        node = node[step]
    if value is REMOVED:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return changed


def run():
    missed, false_alarms, count = [], [], 0
    for side, samples, validate in (("aws", AWS, validate_aws.validate), ("gcp", GCP, validate_gcp.validate)):
        for sample in samples:
            deviations = validate([exchange(side, sample)])["deviations"]
            if deviations:
                false_alarms.append({"family": sample["family"], "deviations": deviations})
            for direction, what, path, value in sample["plants"]:
                value = REMOVED if value == "(removed)" else value
                found = validate([exchange(side, planted(sample, direction, path, value))])["deviations"]
                count += 1
                where = "response" if direction == "response" else "request"
                if not any(deviation["where"] == where for deviation in found):
                    missed.append({"family": sample["family"], "direction": direction, "planted": what})
    return {"planted": count, "missed": missed, "false_alarms": false_alarms}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=1)
