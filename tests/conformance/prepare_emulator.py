"""Makes on an emulator what a manifest names: a cluster, a network, a zone and a load balancer. Prints ids as JSON."""

import json
import sys

import boto3

boto3.client("ecs").create_cluster(clusterName="default")
ec2 = boto3.client("ec2")
subnets = ec2.describe_subnets()["Subnets"][:2]
vpc = [{"Name": "vpc-id", "Values": [subnets[0]["VpcId"]]}]
group = ec2.describe_security_groups(Filters=vpc)["SecurityGroups"][0]["GroupId"]
boto3.client("route53").create_hosted_zone(Name="example.com", CallerReference="once")
ids = [subnet["SubnetId"] for subnet in subnets]
boto3.client("elbv2").create_load_balancer(Name="front", Subnets=ids, SecurityGroups=[group])
json.dump({"subnets": ids, "security_group": group}, sys.stdout)
