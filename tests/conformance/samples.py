"""Valid exchanges of every family, each with the deviations to plant: direction, what, where, which value.

In a text, "where" is a piece of it and the value is what stands there instead.

`"(removed)"` takes the member away. A family whose model requires nothing in an answer has no such plant there.
"""

UNKNOWN, TYPE, ENUM, REQUIRED, FORM = "unknown member", "wrong type", "bad enum", "missing required", "bad form"

SERVICE_ARN = "arn:aws:ecs:us-east-1:123456789012:service/default/idp"

AWS = [
    {
        "family": "ecs",
        "service": "ecs",
        "operation": "CreateService",
        "request": {
            "serviceName": "idp",
            "launchType": "FARGATE",
            "desiredCount": 1,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}},
        },
        "response": {
            "service": {
                "serviceArn": SERVICE_ARN,
                "launchType": "FARGATE",
                "createdAt": 1795000000.5,
                "runningCount": 1,
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            }
        },
        "plants": [
            ("request", UNKNOWN, ["serviceNme"], "idp"),
            ("request", TYPE, ["desiredCount"], "1"),
            ("request", ENUM, ["launchType"], "FARGTE"),
            ("request", REQUIRED, ["serviceName"], "(removed)"),
            ("request", REQUIRED, ["networkConfiguration", "awsvpcConfiguration", "subnets"], "(removed)"),
            ("response", UNKNOWN, ["service", "serviceAnr"], SERVICE_ARN),
            ("response", TYPE, ["service", "createdAt"], "2026-11-22T00:00:00Z"),
            ("response", TYPE, ["service", "runningCount"], True),
            ("response", ENUM, ["service", "launchType"], "FARGTE"),
            ("response", REQUIRED, ["service", "networkConfiguration", "awsvpcConfiguration", "subnets"], "(removed)"),
        ],
    },
    {
        "family": "ecs error",
        "service": "ecs",
        "operation": "UpdateService",
        "status": 400,
        "request": {"service": "idp"},
        "response": {"__type": "ServiceNotFoundException", "message": "Service not found."},
        "plants": [
            ("response", ENUM, ["__type"], "NoSuchServiceException"),
            ("response", UNKNOWN, ["reason"], "gone"),
            ("response", REQUIRED, ["__type"], "(removed)"),
        ],
    },
    {
        "family": "ecr",
        "service": "ecr",
        "operation": "CreateRepository",
        "request": {"repositoryName": "idp", "imageTagMutability": "MUTABLE"},
        "response": {
            "repository": {
                "repositoryName": "idp",
                "createdAt": 1795000000,
                "imageTagMutability": "MUTABLE",
                "encryptionConfiguration": {"encryptionType": "AES256"},
            }
        },
        "plants": [
            ("request", UNKNOWN, ["name"], "idp"),
            ("request", TYPE, ["repositoryName"], 1),
            ("request", FORM, ["repositoryName"], "Idp Repository"),
            ("request", ENUM, ["imageTagMutability"], "SOMETIMES"),
            ("request", REQUIRED, ["repositoryName"], "(removed)"),
            ("response", UNKNOWN, ["repository", "name"], "idp"),
            ("response", TYPE, ["repository", "createdAt"], "1795000000"),
            ("response", ENUM, ["repository", "imageTagMutability"], "SOMETIMES"),
            ("response", REQUIRED, ["repository", "encryptionConfiguration", "encryptionType"], "(removed)"),
        ],
    },
    {
        "family": "secretsmanager",
        "service": "secretsmanager",
        "operation": "PutSecretValue",
        "request": {"SecretId": "idp/database-url", "SecretString": "planted", "VersionStages": ["AWSCURRENT"]},
        "response": {"ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:idp-abcdef", "VersionStages": ["AWSCURRENT"]},
        "plants": [
            ("request", UNKNOWN, ["SecretName"], "idp"),
            ("request", TYPE, ["VersionStages"], "AWSCURRENT"),
            ("request", FORM, ["VersionStages"], []),
            ("request", REQUIRED, ["SecretId"], "(removed)"),
            ("response", UNKNOWN, ["Value"], 1),
            ("response", TYPE, ["VersionStages"], "AWSCURRENT"),
        ],
    },
    {
        "family": "apprunner",
        "service": "apprunner",
        "operation": "PauseService",
        "request": {"ServiceArn": "arn:aws:apprunner:us-east-1:123456789012:service/idp/8fe1e10304f84fd2b0df550fe98a71fa"},
        "response": {
            "OperationId": "17fe9f55-7e91-4097-b243-fcabbb69a4cf",
            "Service": {
                "ServiceName": "idp",
                "ServiceId": "8fe1e10304f84fd2b0df550fe98a71fa",
                "ServiceArn": "arn:aws:apprunner:us-east-1:123456789012:service/idp/8fe1e10304f84fd2b0df550fe98a71fa",
                "CreatedAt": 1795000000.5,
                "UpdatedAt": 1795000000.5,
                "Status": "OPERATION_IN_PROGRESS",
                "SourceConfiguration": {},
                "InstanceConfiguration": {"Cpu": "1024", "Memory": "2048"},
                "NetworkConfiguration": {},
                "AutoScalingConfigurationSummary": {"Status": "active"},
            },
        },
        "plants": [
            ("request", UNKNOWN, ["Service"], "idp"),
            ("request", TYPE, ["ServiceArn"], 1),
            ("request", FORM, ["ServiceArn"], "idp"),
            ("request", REQUIRED, ["ServiceArn"], "(removed)"),
            ("response", UNKNOWN, ["Service", "Url"], "idp"),
            ("response", TYPE, ["Service", "CreatedAt"], "today"),
            ("response", ENUM, ["Service", "Status"], "PAUSING"),
            ("response", REQUIRED, ["Service", "ServiceId"], "(removed)"),
        ],
    },
    {
        "family": "application-autoscaling",
        "service": "application-autoscaling",
        "operation": "RegisterScalableTarget",
        "request": {
            "ServiceNamespace": "ecs",
            "ResourceId": "service/default/idp",
            "ScalableDimension": "ecs:service:DesiredCount",
            "MinCapacity": 1,
            "MaxCapacity": 4,
        },
        "response": {"ScalableTargetARN": "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/0ec5"},
        "plants": [
            ("request", UNKNOWN, ["Tag"], "idp"),
            ("request", TYPE, ["MinCapacity"], "1"),
            ("request", ENUM, ["ScalableDimension"], "ecs:service:RunningCount"),
            ("request", REQUIRED, ["ResourceId"], "(removed)"),
            ("response", UNKNOWN, ["Arn"], "idp"),
            ("response", TYPE, ["ScalableTargetARN"], 1),
        ],
    },
    {
        "family": "route53",
        "service": "route53",
        "operation": "ChangeResourceRecordSets",
        "target": "/2013-04-01/hostedzone/Z0123456789/rrset",
        "request": (
            '<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Changes>'
            "<Change><Action>CREATE</Action><ResourceRecordSet><Name>idp.example.com.</Name><Type>A</Type><TTL>300</TTL>"
            "<ResourceRecords><ResourceRecord><Value>192.0.2.7</Value></ResourceRecord></ResourceRecords>"
            "</ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        ),
        "response": "",
        "plants": [
            ("request", UNKNOWN, "<TTL>300</TTL>", "<TTL>300</TTL><Weights>1</Weights>"),
            ("request", TYPE, "<TTL>300</TTL>", "<TTL>soon</TTL>"),
            ("request", FORM, "<Action>CREATE</Action>", "<Action>MAKE</Action>"),
            ("request", REQUIRED, "<Type>A</Type>", ""),
            ("request", FORM, "ChangeResourceRecordSetsRequest", "ChangeTagsForResourceRequest"),
        ],
    },
    {
        "family": "secretsmanager filters",
        "service": "secretsmanager",
        "operation": "ListSecrets",
        "request": {"Filters": [{"Key": "name", "Values": ["idp/"]}], "SortOrder": "asc"},
        "response": {"SecretList": [{"Name": "idp/database-url", "CreatedDate": 1795000000.0}]},
        "plants": [
            ("request", ENUM, ["SortOrder"], "up"),
            ("response", TYPE, ["SecretList", 0, "CreatedDate"], "today"),
        ],
    },
    {
        "family": "logs",
        "service": "logs",
        "operation": "CreateLogGroup",
        "request": {"logGroupName": "/deployer/idp", "logGroupClass": "STANDARD"},
        "response": None,
        "plants": [
            ("request", UNKNOWN, ["name"], "idp"),
            ("request", TYPE, ["logGroupName"], 1),
            ("request", ENUM, ["logGroupClass"], "COLD"),
            ("request", REQUIRED, ["logGroupName"], "(removed)"),
        ],
    },
    {
        "family": "logs answers",
        "service": "logs",
        "operation": "DescribeLogGroups",
        "request": {"logGroupNamePrefix": "/deployer"},
        "response": {"logGroups": [{"logGroupName": "/deployer/idp", "creationTime": 1795000000000, "logGroupClass": "STANDARD"}]},
        "plants": [
            ("response", UNKNOWN, ["logGroups", 0, "name"], "idp"),
            ("response", TYPE, ["logGroups", 0, "creationTime"], "today"),
            ("response", ENUM, ["logGroups", 0, "logGroupClass"], "COLD"),
        ],
    },
    {
        "family": "sts",
        "service": "sts",
        "request": "Action=GetCallerIdentity&Version=2011-06-15",
        "response": (
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
            "<Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
            "</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
            "</GetCallerIdentityResponse>"
        ),
        "plants": [
            ("request", UNKNOWN, "Version=2011-06-15", "Version=2011-06-15&Who=me"),
            ("request", ENUM, "Version=2011-06-15", "Version=2011-06-16"),
            ("request", REQUIRED, "&Version=2011-06-15", ""),
            ("response", UNKNOWN, "<UserId>AIDA</UserId>", "<User>AIDA</User>"),
            ("response", TYPE, "<GetCallerIdentityResult>", "<Result>"),
            ("response", REQUIRED, "GetCallerIdentityResult", "Result"),
        ],
    },
]

SERVICE = "projects/p/locations/l/services/idp"

GCP = [
    {
        "family": "run",
        "target": "/v2/projects/p/locations/l/services?serviceId=idp&$alt=json;enum-encoding=int",
        "request": {
            "ingress": 1,
            "labels": {"team": "identity"},
            "template": {"containers": [{"image": "idp"}], "timeout": "30s", "maxInstanceRequestConcurrency": 80},
        },
        "response": {
            "name": "projects/p/locations/l/operations/o",
            "done": False,
            "metadata": {
                "@type": "type.googleapis.com/google.cloud.run.v2.Service",
                "name": SERVICE,
                "ingress": "INGRESS_TRAFFIC_ALL",
            },
        },
        "plants": [
            ("request", UNKNOWN, ["templat"], {}),
            ("request", UNKNOWN, ["template", "containers", 0, "img"], "idp"),
            ("request", TYPE, ["template", "maxInstanceRequestConcurrency"], "many"),
            ("request", TYPE, ["labels"], ["team"]),
            ("request", ENUM, ["ingress"], "INGRESS_SOME"),
            ("request", ENUM, ["ingress"], 77),
            ("request", REQUIRED, ["template"], "(removed)"),
            ("request", REQUIRED, ["template", "containers", 0, "image"], "(removed)"),
            ("response", UNKNOWN, ["finished"], False),
            ("response", UNKNOWN, ["metadata", "nme"], "idp"),
            ("response", TYPE, ["done"], "no"),
            ("response", ENUM, ["metadata", "ingress"], "INGRESS_SOME"),
            ("response", ENUM, ["metadata", "ingress"], 77),
            ("response", REQUIRED, ["metadata", "@type"], "(removed)"),
        ],
    },
    {
        "family": "run updates",
        "method": "PATCH",
        "target": "/v2/projects/p/locations/l/services/idp?updateMask=traffic",
        "request": {"traffic": [{"type": 2, "revision": "idp-00001-abc", "percent": 100}]},
        "response": {"name": "projects/p/locations/l/operations/o", "done": False},
        "plants": [
            ("request", ENUM, ["traffic", 0, "type"], 3),
            ("request", TYPE, ["traffic", 0, "percent"], "all"),
            ("target", REQUIRED, "updateMask=traffic", "updateMask=traffic,template"),
            ("target", REQUIRED, "?updateMask=traffic", ""),
        ],
    },
    {
        "family": "run revisions",
        "method": "GET",
        "target": "/v2/projects/p/locations/l/services/idp/revisions/idp-00001-abc",
        "request": None,
        "response": {
            "name": f"{SERVICE}/revisions/idp-00001-abc",
            "createTime": "2026-11-22T00:00:00.123Z",
            "conditions": [{"type": "Ready", "state": "CONDITION_SUCCEEDED"}],
        },
        "plants": [
            ("response", UNKNOWN, ["nme"], "idp"),
            ("response", TYPE, ["createTime"], 1795000000),
            ("response", FORM, ["createTime"], "yesterday"),
            ("response", ENUM, ["conditions", 0, "state"], "True"),
        ],
    },
    {
        "family": "secretmanager",
        "target": "/v1/projects/p/secrets?secretId=database-url",
        "request": {"replication": {"automatic": {}}, "labels": {"team": "identity"}},
        "response": {
            "name": "projects/1/secrets/database-url",
            "createTime": "2026-11-22T00:00:00Z",
            "replication": {"automatic": {}},
        },
        "plants": [
            ("request", UNKNOWN, ["replicas"], {}),
            ("request", TYPE, ["labels"], "identity"),
            ("request", FORM, ["replication"], {"automatic": {}, "userManaged": {}}),
            ("response", UNKNOWN, ["id"], "database-url"),
            ("response", TYPE, ["createTime"], 5),
        ],
    },
    {
        "family": "secretmanager versions",
        "target": "/v1/projects/p/secrets/s:addVersion",
        "request": {"payload": {"data": "cGxhbnRlZA==", "dataCrc32c": "12"}},
        "response": {"name": "projects/1/secrets/s/versions/1", "state": "ENABLED"},
        "plants": [
            ("request", REQUIRED, ["payload"], "(removed)"),
            ("request", TYPE, ["payload", "data"], 7),
            ("response", ENUM, ["state"], "ON"),
            ("response", ENUM, ["state"], 9),
        ],
    },
    {
        "family": "artifactregistry",
        "target": "/v1/projects/p/locations/l/repositories?repositoryId=idp",
        "request": {"format": "DOCKER", "labels": {"team": "identity"}},
        "response": {"name": "projects/p/locations/l/operations/o", "done": False},
        "plants": [
            ("request", UNKNOWN, ["fomat"], "DOCKER"),
            ("request", TYPE, ["labels"], "identity"),
            ("request", ENUM, ["format"], "DOKER"),
            ("request", UNKNOWN + " that only Google sets", ["createTime"], "2026-11-22T00:00:00Z"),
            ("response", UNKNOWN, ["finished"], False),
            ("response", TYPE, ["done"], "no"),
        ],
    },
    {
        "family": "artifactregistry repositories",
        "method": "GET",
        "target": "/v1/projects/p/locations/l/repositories/idp",
        "request": None,
        "response": {"name": "projects/p/locations/l/repositories/idp", "format": "DOCKER", "sizeBytes": "12"},
        "plants": [
            ("response", ENUM, ["format"], "DOKER"),
            ("response", TYPE, ["sizeBytes"], 12),
        ],
    },
    {
        "family": "logging",
        "target": "/v2/entries:list",
        "request": {"resourceNames": ["projects/p"], "filter": "severity>=ERROR", "pageSize": 10},
        "response": {
            "entries": [{"logName": "projects/p/logs/run", "severity": 500, "timestamp": "2026-11-22T00:00:00Z"}]
        },
        "plants": [
            ("request", UNKNOWN, ["resources"], []),
            ("request", TYPE, ["pageSize"], "ten"),
            ("request", REQUIRED, ["resourceNames"], "(removed)"),
            ("response", UNKNOWN, ["entries", 0, "message"], "x"),
            ("response", TYPE, ["entries"], {}),
            ("response", ENUM, ["entries", 0, "severity"], "BAD"),
            ("response", ENUM, ["entries", 0, "severity"], 7),
        ],
    },
    {
        "family": "iam",
        "target": "/v2/projects/p/locations/l/services/idp:setIamPolicy",
        "request": {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}], "etag": "BwY="}},
        "response": {"version": 1, "bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}], "etag": "BwY="},
        "plants": [
            ("request", UNKNOWN, ["policy", "bindings", 0, "member"], "allUsers"),
            ("request", TYPE, ["policy", "bindings", 0, "members"], "allUsers"),
            ("response", UNKNOWN, ["policy"], {}),
            ("response", TYPE, ["version"], "one"),
        ],
    },
    {
        "family": "cloudresourcemanager",
        "method": "GET",
        "target": "/v3/projects/p",
        "request": None,
        "response": {"name": "projects/1", "projectId": "p", "state": "ACTIVE", "createTime": "2026-11-22T00:00:00Z"},
        "plants": [
            ("response", UNKNOWN, ["projectNumbr"], "1"),
            ("response", TYPE, ["projectId"], 1),
            ("response", ENUM, ["state"], "AWAKE"),
        ],
    },
    {
        "family": "operations",
        "method": "GET",
        "target": "/v2/projects/p/locations/l/operations/o",
        "request": None,
        "response": {
            "name": "projects/p/locations/l/operations/o",
            "done": True,
            "error": {"code": 9, "message": "the revision is not ready"},
        },
        "plants": [
            ("response", UNKNOWN, ["error", "reason"], "x"),
            ("response", TYPE, ["error", "code"], "nine"),
            ("response", TYPE, ["done"], 1),
        ],
    },
    {
        "family": "errors",
        "method": "GET",
        "target": "/v2/projects/p/locations/l/services/idp",
        "status": 404,
        "request": None,
        "response": {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND", "details": []}},
        "plants": [
            ("response", UNKNOWN, ["error", "reason"], "x"),
            ("response", TYPE, ["error", "code"], "404"),
            ("response", ENUM, ["error", "status"], "GONE"),
            ("response", REQUIRED, ["error", "message"], "(removed)"),
        ],
    },
    {
        "family": "paths and parameters",
        "method": "GET",
        "target": "/v2/projects/p/locations/l/services?pageSize=5",
        "request": None,
        "response": {"services": []},
        "plants": [
            ("target", UNKNOWN + " path", "locations/l/services", "locations/l/servces"),
            ("target", UNKNOWN, "pageSize=5", "pageSise=5"),
            ("target", TYPE, "pageSize=5", "pageSize=five"),
        ],
    },
]
