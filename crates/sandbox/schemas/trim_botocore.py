#!/usr/bin/env python3
"""Trims botocore's service models to the operations that the sandbox owns.

    pip install botocore && python3 crates/sandbox/schemas/trim_botocore.py

Writes schemas/aws/<service>.json beside this file. botocore is Apache-2.0 licensed, Copyright Amazon.com, Inc. or its
affiliates; see schemas/aws/NOTICE. Documentation is dropped; constraints, enums and required members are kept as they are.
"""

import json
import pathlib

import botocore
import botocore.session

OPERATIONS = {
    "apprunner": [
        "AssociateCustomDomain", "CreateAutoScalingConfiguration", "CreateService", "CreateVpcConnector", "DeleteAutoScalingConfiguration",
        "DeleteService", "DeleteVpcConnector", "DescribeAutoScalingConfiguration", "DescribeCustomDomains",
        "DescribeService", "DisassociateCustomDomain",
        "DescribeVpcConnector", "ListAutoScalingConfigurations", "ListOperations", "ListServices",
        "ListTagsForResource", "ListVpcConnectors", "PauseService",
        "ResumeService", "StartDeployment", "TagResource", "UntagResource", "UpdateDefaultAutoScalingConfiguration",
        "UpdateService",
    ],
    "application-autoscaling": [
        "DeleteScalingPolicy", "DeregisterScalableTarget", "DescribeScalableTargets",
        "DescribeScalingPolicies", "DescribeScheduledActions", "ListTagsForResource",
        "PutScalingPolicy", "PutScheduledAction", "RegisterScalableTarget", "TagResource", "UntagResource",
    ],
    "sts": ["AssumeRole", "GetCallerIdentity"],
    "ecs": [
        "CreateCluster", "CreateService", "DeleteCluster", "DeleteService", "DeregisterTaskDefinition",
        "DescribeClusters", "DescribeServiceDeployments", "DescribeServiceRevisions", "DescribeServices",
        "DescribeTaskDefinition", "DescribeTasks", "ExecuteCommand", "ListClusters", "ListServiceDeployments",
        "ListServices", "ListTagsForResource", "ListTaskDefinitions", "ListTasks",
        "RegisterTaskDefinition", "RunTask", "StopServiceDeployment", "StopTask", "TagResource", "UntagResource",
        "UpdateService",
    ],
    "ecr": [
        "BatchDeleteImage", "BatchGetImage", "CreateRepository",
        "DeleteRepository", "DescribeImages", "DescribeRepositories",
        "GetAuthorizationToken", "GetDownloadUrlForLayer", "ListImages",
        "ListTagsForResource", "PutImageTagMutability",
        "TagResource", "UntagResource",
    ],
    "secretsmanager": [
        "BatchGetSecretValue", "CreateSecret", "DeleteSecret", "DescribeSecret", "GetSecretValue",
        "ListSecretVersionIds", "ListSecrets", "PutSecretValue", "RestoreSecret", "TagResource",
        "UntagResource", "UpdateSecretVersionStage",
    ],
    "logs": [
        "CreateLogGroup", "CreateLogStream", "DeleteLogGroup", "DeleteRetentionPolicy",
        "DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "ListTagsForResource",
        "PutLogEvents", "PutRetentionPolicy", "TagResource",
        "UntagResource",
    ],
    "rds": [
        "AddTagsToResource", "CreateDBInstance", "CreateDBParameterGroup",
        "CreateDBSubnetGroup", "DeleteDBInstance", "DeleteDBParameterGroup",
        "DeleteDBSubnetGroup", "DescribeDBEngineVersions", "DescribeDBInstances", "DescribeDBParameterGroups", "DescribeDBParameters",
        "DescribeDBSnapshots", "DescribeDBSubnetGroups", "ListTagsForResource", "ModifyDBInstance",
        "ModifyDBParameterGroup", "ModifyDBSubnetGroup", "RebootDBInstance", "RemoveTagsFromResource",
        "StartDBInstance", "StopDBInstance",
    ],
    "resourcegroupstaggingapi": ["GetResources"],
    "route53": [
        "ChangeResourceRecordSets", "CreateHostedZone", "DeleteHostedZone", "GetChange", "GetHostedZone",
        "ListHostedZones", "ListHostedZonesByName", "ListResourceRecordSets",
    ],
    "elasticache": [
        "AddTagsToResource", "CreateCacheSubnetGroup", "CreateReplicationGroup",
        "DecreaseReplicaCount", "DeleteCacheSubnetGroup", "DeleteReplicationGroup",
        "DescribeCacheClusters",
        "DescribeCacheSubnetGroups", "DescribeReplicationGroups", "IncreaseReplicaCount",
        "ListTagsForResource", "ModifyCacheSubnetGroup", "ModifyReplicationGroup",
        "RemoveTagsFromResource",
    ],
}
# Enums that the service itself does not keep to. App Runner writes the status of an auto scaling configuration in lower
# case: the constants in `internal/service/apprunner/auto_scaling_configuration_version.go` of
# hashicorp/terraform-provider-aws, which waits for them. That of a custom domain, too: `custom_domain_association.go` there.
NOT_AS_MODELLED = {"apprunner": ["AutoScalingConfigurationStatus", "CustomDomainAssociationStatus"]}
METADATA = ["apiVersion", "jsonVersion", "protocol", "targetPrefix", "xmlNamespace"]
SHAPE = ["type", "required", "enum", "pattern", "min", "max", "document", "union", "flattened"]


def trim_shape(shape):
    out = {key: shape[key] for key in SHAPE if key in shape}
    if "members" in shape:
        out["members"] = {name: member["shape"] for name, member in shape["members"].items()}
    for key in ("member", "key", "value"):
        if key in shape:
            out[key] = shape[key]["shape"]
    # REST protocols have some members in the path, the query or the headers, under names of their own.
    places = {name: [member["location"], member["locationName"]] for name, member in shape.get("members", {}).items()
              if "location" in member}
    if places:
        out["places"] = places
    # XML protocols name the members of a list, each list in its own way.
    if "locationName" in shape.get("member", {}):
        out["item"] = shape["member"]["locationName"]
    return out


def neighbours(shape):
    yield from (member["shape"] for member in shape.get("members", {}).values())
    yield from (shape[key]["shape"] for key in ("member", "key", "value") if key in shape)


def trim(model, names):
    shapes, operations, todo = {}, {}, []
    for name in names:
        operation = model["operations"][name]
        entry = {side: operation[side]["shape"] for side in ("input", "output") if side in operation}
        if "resultWrapper" in operation.get("output", {}):
            entry["wrapper"] = operation["output"]["resultWrapper"]
        if model["metadata"]["protocol"].startswith("rest-"):
            http = operation["http"]
            entry["http"] = {"method": http["method"], "path": http["requestUri"], "status": http.get("responseCode", 200)}
        operations[name] = entry
        todo += [entry[side] for side in ("input", "output") if side in entry]
    while todo:
        name = todo.pop()
        if name not in shapes:
            shapes[name] = trim_shape(model["shapes"][name])
            todo += neighbours(model["shapes"][name])
    metadata = {key: model["metadata"][key] for key in METADATA if key in model["metadata"]}
    # REST services tell it with what they take.
    taken = (model["operations"][name].get("input", {}) for name in names)
    for uri in (one["xmlNamespace"]["uri"] for one in taken if "xmlNamespace" in one):
        metadata["xmlNamespace"] = uri
    # Of several protocols the one that the sandbox speaks, as every service did from the start.
    if "json" in model["metadata"].get("protocols", []):
        metadata["protocol"] = "json"
    return {"botocore": botocore.__version__, "metadata": metadata, "operations": operations, "shapes": shapes}


def main():
    loader = botocore.session.get_session().get_component("data_loader")
    folder = pathlib.Path(__file__).parent / "aws"
    folder.mkdir(exist_ok=True)
    for service, names in OPERATIONS.items():
        trimmed = trim(loader.load_service_model(service, "service-2"), names)
        for name in NOT_AS_MODELLED.get(service, []):
            del trimmed["shapes"][name]["enum"]
        text = json.dumps(trimmed, indent=0, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        (folder / f"{service}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
