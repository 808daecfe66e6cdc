"""What another hand does to an app's things on an AWS emulator, by boto3: marks them, and looks for its marks.

usage: foreign_tags.py PREFIX write KEY VALUE   marks everything; prints {kind: [names]} as JSON
       foreign_tags.py PREFIX read KEY VALUE    prints {kind: [names]} of what bears the mark
       PREFIX is APP-ENV
"""

import json
import sys

import boto3

CLUSTER = "default"


def listed(tags):
    """Tags of either spelling as pairs."""
    return {tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value")) for tag in tags}


class Things:
    """An app's things of every kind: how each is found, tagged and read."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.ecs, self.ecr, self.logs = (boto3.client(it) for it in ("ecs", "ecr", "logs"))
        self.rds, self.cache = boto3.client("rds"), boto3.client("elasticache")
        self.secrets = boto3.client("secretsmanager")

    def ours(self, found):
        return [(name, arn) for name, arn in found if self.prefix in name.replace("/", "-")]

    def services(self):
        arns = self.ecs.list_services(cluster=CLUSTER)["serviceArns"]
        return self.ours((arn.rsplit("/", 1)[1], arn) for arn in arns)

    def repositories(self):
        return self.ours((it["repositoryName"], it["repositoryArn"]) for it in self.ecr.describe_repositories()["repositories"])

    def groups(self):
        # Tagging wants the ARN without the star that describing answers with.
        return self.ours((it["logGroupName"], it["arn"].removesuffix(":*")) for it in self.logs.describe_log_groups()["logGroups"])

    def kept(self):
        return self.ours((it["Name"], it["ARN"]) for it in self.secrets.list_secrets()["SecretList"])

    def databases(self):
        return [
            *self.ours((it["DBInstanceIdentifier"], it["DBInstanceArn"]) for it in self.rds.describe_db_instances()["DBInstances"]),
            *self.ours((it["DBSubnetGroupName"], it["DBSubnetGroupArn"]) for it in self.rds.describe_db_subnet_groups()["DBSubnetGroups"]),
            *self.ours((it["DBParameterGroupName"], it["DBParameterGroupArn"]) for it in self.rds.describe_db_parameter_groups()["DBParameterGroups"]),
        ]

    def caches(self):
        found = self.cache.describe_replication_groups()["ReplicationGroups"]
        groups = self.cache.describe_cache_subnet_groups()["CacheSubnetGroups"]
        return [
            *self.ours((it["ReplicationGroupId"], it["ARN"]) for it in found),
            *self.ours((it["CacheSubnetGroupName"], it["ARN"]) for it in groups),
        ]

    def kinds(self):
        """kind: (things, mark, read)"""
        pair = lambda key, value: [{"Key": key, "Value": value}]
        return {
            "services": (
                self.services,
                lambda arn, key, value: self.ecs.tag_resource(resourceArn=arn, tags=[{"key": key, "value": value}]),
                lambda arn: self.ecs.list_tags_for_resource(resourceArn=arn)["tags"],
            ),
            "repositories": (
                self.repositories,
                lambda arn, key, value: self.ecr.tag_resource(resourceArn=arn, tags=pair(key, value)),
                lambda arn: self.ecr.list_tags_for_resource(resourceArn=arn)["tags"],
            ),
            "log groups": (
                self.groups,
                lambda arn, key, value: self.logs.tag_resource(resourceArn=arn, tags={key: value}),
                lambda arn: [{"Key": k, "Value": v} for k, v in self.logs.list_tags_for_resource(resourceArn=arn)["tags"].items()],
            ),
            "secrets": (
                self.kept,
                lambda arn, key, value: self.secrets.tag_resource(SecretId=arn, Tags=pair(key, value)),
                lambda arn: self.secrets.describe_secret(SecretId=arn).get("Tags", []),
            ),
            "databases": (
                self.databases,
                lambda arn, key, value: self.rds.add_tags_to_resource(ResourceName=arn, Tags=pair(key, value)),
                lambda arn: self.rds.list_tags_for_resource(ResourceName=arn)["TagList"],
            ),
            "caches": (
                self.caches,
                lambda arn, key, value: self.cache.add_tags_to_resource(ResourceName=arn, Tags=pair(key, value)),
                lambda arn: self.cache.list_tags_for_resource(ResourceName=arn)["TagList"],
            ),
        }


def main(prefix, action, key, value):
    report = {}
    for kind, (things, mark, read) in Things(prefix).kinds().items():
        found = things()
        if action == "write":
            for _, arn in found:
                mark(arn, key, value)
        report[kind] = sorted(name for name, arn in found if listed(read(arn)).get(key) == value)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
