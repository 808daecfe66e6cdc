"""Reads what `deployer` made with the vendors' own clients, and compares it with `deployer status --json`.

usage: readback.py STATUS_FILE CLUSTER JOB   prints {"compared": N, "readers": [...], "absent": [...],
"differences": [...]} as JSON. The clients find the clouds through the variables of `deployer sandbox env`.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import boto3
from google.cloud import run_v2
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport
from google.cloud.run_v2.services.revisions.transports import RevisionsRestTransport
from google.cloud.run_v2.services.services.transports import ServicesRestTransport
from google.oauth2.credentials import Credentials


def last(name):
    return name.rsplit("/", 1)[-1]


def secret_name(resource):
    """`NAME-SUFFIX` of an ARN, the id of a Google resource name."""
    return resource.split(":")[-1] if resource.startswith("arn:") else last(resource)


def expected(entry):
    """What status says, in the words that every reader's facts use."""
    serving, release = entry["serving"], entry["release"]
    wanted = serving["wanted"]
    facts = {
        "state": serving["state"]["state"],
        "revision": last(wanted),
        "traffic": {last(revision): share for revision, share in serving["traffic"]},
        "image": serving["images"][wanted],
        "released image": release["image"],
        "released revision": last(release["revision"]),
        "secret versions": {secret_name(pinned["secret"]): pinned["version"] for pinned in release["secrets"].values()},
        "url": serving["url"],
    }
    if serving["instances"]:
        facts["instances"] = list(serving["instances"])
    return facts


def command(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def aws_facts(service, definition, images, versions):
    """Facts from the four answers, which the CLI and boto3 give in the same form."""
    container = definition["containerDefinitions"][0]
    rollouts = service["deployments"]
    done = [rollout for rollout in rollouts if rollout["rolloutState"] == "COMPLETED"]
    # `...:secret:NAME-SUFFIX:KEY:STAGE:VERSION`, as ECS takes it.
    pinned = [secret["valueFrom"].split(":") for secret in container["secrets"]]
    digest = container["image"].rpartition("@")[2]
    return {
        "state": "ready" if len(rollouts) == 1 and done else "in progress",
        "revision": last(service["taskDefinition"]),
        "traffic": {last(rollout["taskDefinition"]): 100 for rollout in done},
        "image": container["image"],
        "released image": container["image"] if digest in images else "not in the repository",
        "released revision": last(done[0]["taskDefinition"]) if done else None,
        "secret versions": {parts[6]: parts[9] for parts in pinned if versions(":".join(parts[:7])) == parts[9]},
        "instances": [service["desiredCount"], service["runningCount"]],
    }


def current(answer):
    return next(it["VersionId"] for it in answer["Versions"] if "AWSCURRENT" in it.get("VersionStages", []))


def repository_of(definition):
    return definition["containerDefinitions"][0]["image"].partition("@")[0].partition("/")[2]


def with_aws_cli(entry, cluster, _):
    aws = lambda *words: command("aws", *words, "--output", "json")
    service = aws("ecs", "describe-services", "--cluster", cluster, "--services", entry["name"])["services"][0]
    definition = aws("ecs", "describe-task-definition", "--task-definition", service["taskDefinition"])["taskDefinition"]
    images = aws("ecr", "describe-images", "--repository-name", repository_of(definition))["imageDetails"]
    versions = lambda arn: current(aws("secretsmanager", "list-secret-version-ids", "--secret-id", arn))
    return aws_facts(service, definition, {image["imageDigest"] for image in images}, versions)


def with_boto3(entry, cluster, _):
    ecs, ecr, secrets = (boto3.client(name) for name in ("ecs", "ecr", "secretsmanager"))
    service = ecs.describe_services(cluster=cluster, services=[entry["name"]])["services"][0]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    images = ecr.describe_images(repositoryName=repository_of(definition))["imageDetails"]
    versions = lambda arn: current(secrets.list_secret_version_ids(SecretId=arn))
    return aws_facts(service, definition, {image["imageDigest"] for image in images}, versions)


def gcloud(*words):
    return command("gcloud", *words, "--format=json")


def with_gcloud(entry, _, job):
    region = f"--region={os.environ['CLOUDSDK_RUN_REGION']}"
    service = gcloud("run", "services", "describe", entry["name"], region)
    status = service["status"]
    revision = gcloud("run", "revisions", "describe", status["latestReadyRevisionName"], region)
    migration = gcloud("run", "jobs", "describe", job, region)
    known = {item["metadata"]["name"] for item in gcloud("run", "revisions", "list", f"--service={entry['name']}", region)}
    container = revision["spec"]["containers"][0]
    ran = migration["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["image"]
    ready = next(it["status"] for it in status["conditions"] if it["type"] == "Ready")
    secrets = {last(secret["name"]) for secret in gcloud("secrets", "list")}
    pinned = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {}).get("secretKeyRef")
        if source and last(source["name"]) in secrets:
            versions = gcloud("secrets", "versions", "list", last(source["name"]))
            enabled = {last(version["name"]) for version in versions if version["state"] == "ENABLED"}
            pinned[last(source["name"])] = source["key"] if source["key"] in enabled else "not enabled"
    return {
        "state": "ready" if ready == "True" else "in progress",
        "revision": status["latestReadyRevisionName"],
        "traffic": {it["revisionName"]: it["percent"] for it in status["traffic"] if it.get("percent")},
        "image": container["image"],
        "released image": ran,
        "released revision": revision["metadata"]["name"] if revision["metadata"]["name"] in known else None,
        "secret versions": pinned,
        "url": status["url"],
    }


def with_run_client(entry, _, job):
    with open(os.environ["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"], encoding="utf-8") as file:
        credentials = Credentials(token=file.read().strip())
    host = urlsplit(os.environ["DEPLOYER_GCP_ENDPOINT"]).netloc
    transport = lambda kind: kind(host=host, url_scheme="http", credentials=credentials)
    target = entry["target"]
    location = f"projects/{target['account']}/locations/{target['region']}"
    services = run_v2.ServicesClient(transport=transport(ServicesRestTransport))
    revisions = run_v2.RevisionsClient(transport=transport(RevisionsRestTransport))
    jobs = run_v2.JobsClient(transport=transport(JobsRestTransport))
    service = services.get_service(name=f"{location}/services/{entry['name']}")
    revision = revisions.get_revision(name=service.latest_ready_revision)
    container = revision.containers[0]
    sources = (variable.value_source.secret_key_ref for variable in container.env)
    ready = service.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    return {
        "state": "ready" if ready and not service.reconciling else "in progress",
        "revision": last(service.latest_ready_revision),
        "traffic": {last(it.revision or service.latest_ready_revision): it.percent for it in service.traffic_statuses if it.percent},
        "image": container.image,
        "released image": jobs.get_job(name=f"{location}/jobs/{job}").template.template.containers[0].image,
        "released revision": last(revision.name),
        "secret versions": {last(source.secret): source.version for source in sources if source.secret},
        "url": service.uri,
    }


READERS = {
    "aws": {"aws": with_aws_cli, "boto3": with_boto3},
    "gcp": {"gcloud": with_gcloud, "google-cloud-run": with_run_client},
}


def compare(cloud, reader, facts, wanted):
    """The facts in which they differ; a reader need not know every fact."""
    for name, found in facts.items():
        if wanted.get(name) != found:
            yield {"cloud": cloud, "reader": reader, "fact": name, "status": wanted.get(name), "found": found}


def main(status_file, cluster, job):
    with open(status_file, encoding="utf-8") as file:
        entries = [entry for entry in json.load(file) if "service" in entry]
    work, absent = [], []
    for entry in entries:
        for reader, read in READERS[entry["cloud"]].items():
            if reader in ("aws", "gcloud") and shutil.which(reader) is None:
                absent.append(reader)
            else:
                work.append((entry, reader, read))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda it: it[2](it[0], cluster, job), work))
    compared, differences = 0, []
    for (entry, reader, _), facts in zip(work, found):
        wanted = expected(entry)
        compared += len(facts)
        differences.extend(compare(entry["cloud"], reader, facts, wanted))
    readers = [reader for _, reader, _ in work]
    json.dump({"compared": compared, "readers": readers, "absent": absent, "differences": differences}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
