"""What the vendors' own clients say of managed databases and caches.

usage: managed.py APP-ENV   prints {"rds", "elasticache", "sql", "redis"} as JSON
"""

import json
import os
import sys

import boto3
from google.auth.credentials import AnonymousCredentials
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build


def rds(prefix):
    """The instance, and whether its parameters force TLS."""
    client = boto3.client("rds")
    (found,) = client.describe_db_instances(DBInstanceIdentifier=f"{prefix}-main")["DBInstances"]
    group = found["DBParameterGroups"][0]["DBParameterGroupName"]
    pages = client.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group)
    parameters = {it["ParameterName"]: it.get("ParameterValue") for page in pages for it in page["Parameters"]}
    return {
        "status": found["DBInstanceStatus"],
        "disk": found["AllocatedStorage"],
        "encrypted": found["StorageEncrypted"],
        "public": found["PubliclyAccessible"],
        "force_ssl": parameters.get("rds.force_ssl"),
    }


def elasticache(prefix):
    """The replication group."""
    client = boto3.client("elasticache")
    answer = client.describe_replication_groups(ReplicationGroupId=f"{prefix}-sessions")
    (found,) = answer["ReplicationGroups"]
    return {"tls": found["TransitEncryptionEnabled"], "auth": found["AuthTokenEnabled"]}


def google(api, version):
    """A client of a Google API, pointed at the sandbox."""
    token = os.environ.get("CLOUDSDK_AUTH_ACCESS_TOKEN")
    file = os.environ.get("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE")
    if not token and file:
        with open(file, encoding="utf-8") as content:
            token = content.read().strip()
    credentials = Credentials(token) if token else AnonymousCredentials()
    options = {"api_endpoint": os.environ["DEPLOYER_GCP_ENDPOINT"]}
    return build(api, version, credentials=credentials, client_options=options, static_discovery=True)


def sql(prefix):
    """The Cloud SQL instance."""
    instances = google("sqladmin", "v1").instances()
    found = instances.get(project="sandbox-project", instance=f"{prefix}-main").execute()
    settings = found["settings"]
    return {
        "state": found["state"],
        "disk": settings["dataDiskSizeGb"],
        "ssl": settings["ipConfiguration"]["sslMode"],
    }


def redis(prefix):
    """The Memorystore instance."""
    instances = google("redis", "v1").projects().locations().instances()
    name = f"projects/sandbox-project/locations/us-central1/instances/{prefix}-sessions"
    found = instances.get(name=name).execute()
    return {"tls": found["transitEncryptionMode"], "auth": found["authEnabled"]}


if __name__ == "__main__":
    wanted = sys.argv[1]
    print(json.dumps({"rds": rds(wanted), "elasticache": elasticache(wanted), "sql": sql(wanted), "redis": redis(wanted)}))
