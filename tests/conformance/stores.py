"""Reads databases, caches and names with the vendors' own clients, and compares them with `deployer status --json`.

usage: stores.py STATUS_FILE   prints {"compared": N, "readers": [...], "absent": [...], "differences": [...]} as JSON.
The clients find the clouds through the variables of `deployer sandbox env`, or the AWS ones of an emulator.
"""

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3

from managed import google
from readback import command, compare, gcloud, last


def expected(status):
    """What status says of one thing; what it does not know is left out."""
    return {fact: value for fact, value in status.items() if fact != "why" and value is not None}


def of_rds(instance):
    return {
        "state": "ready" if instance["DBInstanceStatus"] == "available" else "in_progress",
        "said": instance["DBInstanceStatus"],
        "version": instance["EngineVersion"],
        "class": instance["DBInstanceClass"],
        "storage_gib": instance["AllocatedStorage"],
        "endpoint": f"{instance['Endpoint']['Address']}:{instance['Endpoint']['Port']}",
    }


def of_elasticache(group, clusters):
    members = [cluster for cluster in clusters if cluster["CacheClusterId"] in group["MemberClusters"]]
    endpoint = group["NodeGroups"][0]["PrimaryEndpoint"]
    facts = {
        "state": "ready" if group["Status"] == "available" else "in_progress",
        "said": group["Status"],
        "class": group["CacheNodeType"],
        "endpoint": f"{endpoint['Address']}:{endpoint['Port']}",
    }
    # moto names members and describes none: nobody tells the version then.
    return facts | {"version": member["EngineVersion"] for member in members[:1]}


def of_route53(sets, record):
    found = [it for it in sets if it["Name"].rstrip(".") == record["name"] and it["Type"] in ("A", "AAAA", "CNAME")]
    if not found:
        return {"record": "none"}
    (found,) = found
    if "AliasTarget" in found:
        return {"type": found["Type"], "leads_to": [found["AliasTarget"]["DNSName"].rstrip(".")]}
    values = sorted(value["Value"] for value in found["ResourceRecords"])
    return {"type": found["Type"], "leads_to": values, "ttl": found["TTL"]}


def aws(*words):
    # Version 1 of the CLI ignores the variable where it knows a global endpoint, as for RDS.
    return command("aws", *words, "--output", "json", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"])


def with_aws_cli(kind, entry):
    if kind == "database":
        return of_rds(aws("rds", "describe-db-instances", "--db-instance-identifier", entry["name"])["DBInstances"][0])
    if kind == "cache":
        about = aws("elasticache", "describe-replication-groups", "--replication-group-id", entry["name"])
        group = about["ReplicationGroups"][0]
        return of_elasticache(group, aws("elasticache", "describe-cache-clusters")["CacheClusters"])
    record = entry["record"]
    zones = aws("route53", "list-hosted-zones-by-name", "--dns-name", record["zone"])["HostedZones"]
    sets = aws("route53", "list-resource-record-sets", "--hosted-zone-id", last(zones[0]["Id"]))["ResourceRecordSets"]
    return of_route53(sets, record)


def with_boto3(kind, entry):
    if kind == "database":
        client = boto3.client("rds")
        return of_rds(client.describe_db_instances(DBInstanceIdentifier=entry["name"])["DBInstances"][0])
    if kind == "cache":
        client = boto3.client("elasticache")
        group = client.describe_replication_groups(ReplicationGroupId=entry["name"])["ReplicationGroups"][0]
        return of_elasticache(group, client.describe_cache_clusters()["CacheClusters"])
    client, record = boto3.client("route53"), entry["record"]
    zone = client.list_hosted_zones_by_name(DNSName=record["zone"])["HostedZones"][0]
    return of_route53(client.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"], record)


def of_sql(instance):
    settings = instance["settings"]
    private = [it["ipAddress"] for it in instance["ipAddresses"] if it["type"] == "PRIVATE"]
    return {
        "state": "ready" if instance["state"] == "RUNNABLE" else "in_progress",
        "said": instance["state"],
        "version": instance["databaseVersion"].removeprefix("POSTGRES_"),
        "class": settings["tier"],
        "storage_gib": int(settings["dataDiskSizeGb"]),
        "endpoint": f"{private[0]}:5432",
    }


def of_redis(instance):
    return {
        "state": "ready" if instance["state"] == "READY" else "in_progress",
        "said": instance["state"],
        "version": instance["redisVersion"].removeprefix("REDIS_").replace("_", ".").lower(),
        "class": instance["tier"],
        "memory_gib": instance["memorySizeGb"],
        "endpoint": f"{instance['host']}:{instance['port']}",
    }


def of_cloud_dns(sets):
    (found,) = [it for it in sets if it["type"] in ("A", "AAAA", "CNAME")]
    return {"type": found["type"], "leads_to": sorted(found["rrdatas"]), "ttl": found["ttl"]}


def with_gcloud(kind, entry):
    if kind == "database":
        return of_sql(gcloud("sql", "instances", "describe", entry["name"]))
    if kind == "cache":
        return of_redis(gcloud("redis", "instances", "describe", entry["name"], f"--region={entry['target']['region']}"))
    record = entry["record"]
    return of_cloud_dns(gcloud("dns", "record-sets", "list", f"--zone={record['zone']}", f"--name={record['name']}."))


def with_google_api_client(kind, entry):
    project, region = entry["target"]["account"], entry["target"]["region"]
    if kind == "database":
        return of_sql(google("sqladmin", "v1").instances().get(project=project, instance=entry["name"]).execute())
    if kind == "cache":
        instances = google("redis", "v1").projects().locations().instances()
        return of_redis(instances.get(name=f"projects/{project}/locations/{region}/instances/{entry['name']}").execute())
    record = entry["record"]
    sets = google("dns", "v1").resourceRecordSets()
    answer = sets.list(project=project, managedZone=record["zone"], name=f"{record['name']}.").execute()
    return of_cloud_dns(answer["rrsets"])


READERS = {
    "aws": {"aws": with_aws_cli, "boto3": with_boto3},
    "gcp": {"gcloud": with_gcloud, "google-api-python-client": with_google_api_client},
}


def things(entries):
    """Every database, cache and name that status has: its kind, its entry, what status says of it."""
    for entry in entries:
        for kind in ("database", "cache"):
            if kind in entry:
                yield kind, entry, entry["status"]
        if entry.get("record"):
            yield "name", entry, entry["record"]["status"]


def main(status_file):
    with open(status_file, encoding="utf-8") as file:
        entries = json.load(file)
    work, absent = [], set()
    for kind, entry, status in things(entries):
        for reader, read in READERS[entry["cloud"]].items():
            if reader in ("aws", "gcloud") and shutil.which(reader) is None:
                absent.add(reader)
            else:
                work.append((kind, entry, status, reader, read))
    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        found = list(pool.map(lambda it: it[4](it[0], it[1]), work))
    compared, differences = 0, []
    for (kind, entry, status, reader, _), facts in zip(work, found):
        wanted = expected(status or {})
        # Both ways: neither may know what the other does not.
        facts = dict.fromkeys(wanted) | facts
        compared += len(facts)
        differences.extend(it | {"kind": kind} for it in compare(entry["cloud"], reader, facts, wanted))
    readers = sorted({f"{it[3]} {it[0]}" for it in work})
    report = {"compared": compared, "readers": readers, "absent": sorted(absent), "differences": differences}
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
