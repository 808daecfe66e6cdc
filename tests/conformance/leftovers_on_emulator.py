"""Lists what an AWS emulator still has of an app, by boto3.

usage: leftovers_on_emulator.py PREFIX NAME   PREFIX is APP-ENV, NAME the service's name in the zone; prints lists as JSON
"""

import json
import sys

import boto3


def active_services(ecs):
    for arn in ecs.list_services(cluster="default")["serviceArns"]:
        service = ecs.describe_services(cluster="default", services=[arn])["services"][0]
        if service["status"] == "ACTIVE":
            yield service["serviceName"]


def records(route53, name):
    for zone in route53.list_hosted_zones()["HostedZones"]:
        for found in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
            if found["Name"].rstrip(".") == name:
                yield f"{found['Name']} {found['Type']}"


def left(prefix, name):
    rds, cache = boto3.client("rds"), boto3.client("elasticache")
    ours = lambda names: [it for it in names if prefix in it.replace("/", "-")]
    groups = cache.describe_replication_groups()["ReplicationGroups"]
    return {
        "services": ours(active_services(boto3.client("ecs"))),
        "secrets": ours(it["Name"] for it in boto3.client("secretsmanager").list_secrets()["SecretList"]),
        "repositories": ours(it["repositoryName"] for it in boto3.client("ecr").describe_repositories()["repositories"]),
        "logs": ours(it["logGroupName"] for it in boto3.client("logs").describe_log_groups()["logGroups"]),
        "databases": ours(it["DBInstanceIdentifier"] for it in rds.describe_db_instances()["DBInstances"]),
        "database groups": ours(it["DBSubnetGroupName"] for it in rds.describe_db_subnet_groups()["DBSubnetGroups"]),
        "parameter groups": ours(it["DBParameterGroupName"] for it in rds.describe_db_parameter_groups()["DBParameterGroups"]),
        "records": list(records(boto3.client("route53"), name)),
        "caches": [{"name": it["ReplicationGroupId"], "status": it["Status"]} for it in groups],
        "cache groups": ours(it["CacheSubnetGroupName"] for it in cache.describe_cache_subnet_groups()["CacheSubnetGroups"]),
        "final snapshots": len(rds.describe_db_snapshots(DBInstanceIdentifier=f"{prefix}-main")["DBSnapshots"]),
    }


if __name__ == "__main__":
    json.dump(left(*sys.argv[1:]), sys.stdout)
