"""Lists what the clouds still have of an app, by the vendors' own listings.

usage: leftovers.py APP   prints a list of names as JSON; what is scheduled for deletion is not listed
"""

import json
import os
import sys

import boto3
import requests


def on_aws():
    ecs = boto3.client("ecs")
    for page in ecs.get_paginator("list_services").paginate(cluster="default"):
        for arn in page["serviceArns"]:
            service = ecs.describe_services(cluster="default", services=[arn])["services"][0]
            if service["status"] == "ACTIVE":
                yield arn
    yield from (repository["repositoryArn"] for repository in boto3.client("ecr").describe_repositories()["repositories"])
    yield from (secret["ARN"] for secret in boto3.client("secretsmanager").list_secrets()["SecretList"])
    yield from (group["arn"] for group in boto3.client("logs").describe_log_groups()["logGroups"])


def on_gcp():
    with open(os.environ["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"], encoding="utf-8") as file:
        headers = {"authorization": f"Bearer {file.read().strip()}"}
    project = f"projects/{os.environ['CLOUDSDK_CORE_PROJECT']}"
    location = f"{project}/locations/{os.environ['CLOUDSDK_RUN_REGION']}"
    listings = {
        f"/v2/{location}/services": "services",
        f"/v2/{location}/jobs": "jobs",
        f"/v1/{project}/secrets": "secrets",
        f"/v1/{location}/repositories": "repositories",
    }
    for path, kind in listings.items():
        answer = requests.get(os.environ["DEPLOYER_GCP_ENDPOINT"] + path, headers=headers, timeout=20)
        answer.raise_for_status()
        yield from (item["name"] for item in answer.json().get(kind, []))


if __name__ == "__main__":
    app = sys.argv[1]
    names = [*on_aws(), *on_gcp()]
    json.dump([name for name in names if app in name], sys.stdout)
