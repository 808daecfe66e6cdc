"""Runs a command in a task of a service by ECS Exec, as AWS's own client asks for it.

usage: execute.py SERVICE COMMAND   prints {"url", "token"} of its session as JSON
"""

import json
import sys
import time

import boto3

service, command = sys.argv[1:]
ecs = boto3.client("ecs")
(arn,) = ecs.list_tasks(serviceName=service, desiredStatus="RUNNING")["taskArns"]
(task,) = ecs.describe_tasks(tasks=[arn])["tasks"]
for _ in range(200):
    try:
        answer = ecs.execute_command(
            task=arn, container=task["containers"][0]["name"], command=command, interactive=True
        )
        break
    except ecs.exceptions.TargetNotConnectedException:
        time.sleep(0.1)
else:
    sys.exit(f"the agent of {arn} never connected")
print(json.dumps({"url": answer["session"]["streamUrl"], "token": answer["session"]["tokenValue"]}))
