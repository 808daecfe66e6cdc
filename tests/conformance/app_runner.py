"""Reads a service of App Runner's with the vendor's own clients, and compares it with `deployer status --json`.

usage: app_runner.py STATUS_FILE   prints {"compared": N, "absent": [...], "differences": [...]} as JSON. A service that
nobody has is `{"there": false}` for both.
"""

import json
import shutil
import subprocess
import sys

import boto3


def expected(entry):
    """What status says, in the words that both readers' facts use."""
    serving, release = entry["serving"], entry["release"]
    if serving is None:
        return {"there": False}
    return {
        "there": True,
        "state": serving["state"]["state"],
        "image": serving["images"][serving["wanted"]],
        "released image": release["image"],
        "secrets": sorted(pinned["secret"].split(":")[-1] for pinned in release["secrets"].values()),
    }


def facts(services, name, describe, operations, digests):
    """Facts from the answers, which the CLI and boto3 give in the same form."""
    found = [it["ServiceArn"] for it in services if it["ServiceName"] == name]
    if not found:
        return {"there": False}
    service = describe(found[0])
    image = service["SourceConfiguration"]["ImageRepository"]
    secrets = image["ImageConfiguration"].get("RuntimeEnvironmentSecrets", {})
    newest = operations(found[0])[0]
    done = service["Status"] == "RUNNING" and newest["Status"] == "SUCCEEDED"
    repository, _, digest = image["ImageIdentifier"].partition("@")
    held = digest in digests(repository.partition("/")[2])
    return {
        "there": True,
        "state": "ready" if done else newest["Status"],
        "image": image["ImageIdentifier"],
        "released image": image["ImageIdentifier"] if held else "not in the repository",
        # `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX`, with a key and a version perhaps.
        "secrets": sorted({arn.split(":")[6] for arn in secrets.values()}),
    }


def with_aws_cli(name):
    def aws(*words):
        done = subprocess.run(["aws", *words, "--output", "json"], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    return facts(
        aws("apprunner", "list-services")["ServiceSummaryList"],
        name,
        lambda arn: aws("apprunner", "describe-service", "--service-arn", arn)["Service"],
        lambda arn: aws("apprunner", "list-operations", "--service-arn", arn)["OperationSummaryList"],
        lambda repository: {
            it["imageDigest"] for it in aws("ecr", "describe-images", "--repository-name", repository)["imageDetails"]
        },
    )


def with_boto3(name):
    app_runner, ecr = boto3.client("apprunner"), boto3.client("ecr")
    return facts(
        app_runner.list_services()["ServiceSummaryList"],
        name,
        lambda arn: app_runner.describe_service(ServiceArn=arn)["Service"],
        lambda arn: app_runner.list_operations(ServiceArn=arn)["OperationSummaryList"],
        lambda repository: {it["imageDigest"] for it in ecr.describe_images(repositoryName=repository)["imageDetails"]},
    )


def main(status_file):
    with open(status_file, encoding="utf-8") as file:
        entries = [entry for entry in json.load(file) if "service" in entry]
    compared, absent, differences = 0, [], []
    for reader, read in {"aws": with_aws_cli, "boto3": with_boto3}.items():
        if reader == "aws" and shutil.which(reader) is None:
            absent.append(reader)
            continue
        for entry in entries:
            wanted, found = expected(entry), read(entry["name"])
            compared += len(found)
            for name in sorted(wanted.keys() | found.keys()):
                if wanted.get(name) != found.get(name):
                    one = {"reader": reader, "fact": name, "status": wanted.get(name), "found": found.get(name)}
                    differences.append(one)
    json.dump({"compared": compared, "absent": absent, "differences": differences}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
