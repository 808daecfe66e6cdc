//! Refusals on purpose, as each AWS service words them in its protocol; and the names of calls.

use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;

use super::error::{AwsError, Wire};
use super::{policy, rest_xml, schema};
use crate::call::{ApiCall, Effect};
use crate::verdict::{Fault, FaultKind};

/// A call of a service: the operation when its protocol names one, else what the request's line
/// tells.
pub fn call(service: &str, operation: Option<&str>, method: &Method, uri: &Uri) -> ApiCall {
    if let Some(operation) = operation {
        return ApiCall::aws(format!("{service}:{operation}"));
    }
    let model = schema::model(service).filter(|model| model.is_rest_xml());
    let told = model.and_then(|model| rest_xml::operation(model, method, uri.path()));
    let name = match told {
        Some(operation) => format!("{service}:{operation}"),
        None => policy::rest_action(service, method, uri),
    };
    let mut call = ApiCall::aws(name);
    if matches!(*method, Method::GET | Method::HEAD) {
        call.effect = Effect::Read;
    }
    call
}

/// The answer to a call that is refused on purpose.
pub fn refuse(fault: &Fault, account: &str, call: &ApiCall, wire: Wire) -> Response {
    let (service, operation) = call.name.split_once(':').unwrap_or((&call.name, ""));
    let error = match fault.kind {
        FaultKind::Throttled => throttled(service, wire),
        FaultKind::Unavailable | FaultKind::HungUp => unavailable(wire),
        FaultKind::Internal => internal(service, wire),
        FaultKind::Denied => denied(account, call, wire),
        FaultKind::QuotaExceeded => quota(service, operation),
        FaultKind::Settling => settling(service, operation, wire),
        FaultKind::Closed => closed(service),
    };
    error.respond(wire)
}

fn throttled(service: &str, wire: Wire) -> AwsError {
    match (service, wire) {
        ("ec2", _) => AwsError::new("RequestLimitExceeded", "Request limit exceeded.")
            .with_status(StatusCode::SERVICE_UNAVAILABLE),
        (_, Wire::S3) => AwsError::new("SlowDown", "Please reduce your request rate.")
            .with_status(StatusCode::SERVICE_UNAVAILABLE),
        (_, Wire::Query(_)) => AwsError::new("Throttling", "Rate exceeded"),
        (_, Wire::Rest) => AwsError::new("TooManyRequestsException", "Rate exceeded")
            .with_status(StatusCode::TOO_MANY_REQUESTS),
        ("tagging", _) => AwsError::new("ThrottledException", "Rate exceeded"),
        (_, Wire::Json | Wire::JsonCapital | Wire::Json10 | Wire::Ec2) => {
            AwsError::new("ThrottlingException", "Rate exceeded")
        }
    }
}

fn unavailable(wire: Wire) -> AwsError {
    let code = match wire {
        Wire::Json | Wire::JsonCapital | Wire::Json10 | Wire::Rest => "ServiceUnavailableException",
        Wire::Query(_) | Wire::S3 => "ServiceUnavailable",
        Wire::Ec2 => "Unavailable",
    };
    let message = "The request has failed due to a temporary failure of the server.";
    AwsError::new(code, message).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

fn internal(service: &str, wire: Wire) -> AwsError {
    let message =
        "The request processing has failed because of an unknown error, exception or failure.";
    let (code, message) = match (service, wire) {
        ("ecs" | "ecr", _) => (
            "ServerException",
            "Service Unavailable. Please try again later.",
        ),
        ("secretsmanager", _) => (
            "InternalServiceError",
            "An error occurred on the server side.",
        ),
        ("tagging", _) => ("InternalServiceException", message),
        ("apprunner", _) => (
            "InternalServiceErrorException",
            "An unexpected service exception occurred.",
        ),
        (_, Wire::S3) => (
            "InternalError",
            "We encountered an internal error. Please try again.",
        ),
        (_, Wire::Ec2) => ("InternalError", "An internal error has occurred"),
        (_, Wire::Query(_)) => ("InternalFailure", message),
        (_, Wire::Json | Wire::JsonCapital | Wire::Json10 | Wire::Rest) => {
            ("InternalFailure", message)
        }
    };
    AwsError::new(code, message).with_status(StatusCode::INTERNAL_SERVER_ERROR)
}

fn denied(account: &str, call: &ApiCall, wire: Wire) -> AwsError {
    match wire {
        Wire::S3 => {
            AwsError::new("AccessDenied", "Access Denied").with_status(StatusCode::FORBIDDEN)
        }
        Wire::Ec2 => AwsError::new(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
        )
        .with_status(StatusCode::FORBIDDEN),
        Wire::Rest => AwsError::denied(account, &call.name, "*").with_status(StatusCode::FORBIDDEN),
        Wire::Json | Wire::JsonCapital | Wire::Json10 | Wire::Query(_) => {
            let named = call.name.split_once(':');
            let action = named.map(|(service, operation)| policy::action(service, operation));
            AwsError::denied(account, action.as_deref().unwrap_or(&call.name), "*")
        }
    }
}

/// "AWS App Runner is no longer open to new customers" (Developer Guide). What the API answers to
/// one is not published: the code is ours, and that the words are the guide's.
fn closed(service: &str) -> AwsError {
    let service = match service {
        "apprunner" => "AWS App Runner",
        other => other,
    };
    let message = format!("{service} is no longer open to new customers.");
    AwsError::new("AccessDeniedException", message)
}

/// The first: aws/containers-roadmap#2614; of a service-linked role that was made a moment ago. The
/// second: what RegisterTaskDefinition says of calls for one family at the same time.
fn settling(service: &str, operation: &str, wire: Wire) -> AwsError {
    match (service, operation) {
        ("ecs", "CreateService" | "RunTask") => AwsError::new(
            "InvalidParameterException",
            "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
        ),
        ("ecs", "RegisterTaskDefinition") => AwsError::new(
            "ClientException",
            "Too many concurrent attempts to create a new revision of the specified family.",
        ),
        // Of a role or a load balancer that was made a moment ago: what the Terraform provider
        // waits for (`serviceUpdate` in `internal/service/ecs/service.go` of
        // hashicorp/terraform-provider-aws).
        ("ecs", "UpdateService") => AwsError::new(
            "InvalidParameterException",
            "Unable to assume role and validate the specified targetGroupArn. Please verify that the ECS service role being passed has \
             the proper permissions.",
        ),
        // The words that the provider waits for in `internal/service/appautoscaling/policy.go`.
        ("application-autoscaling", "DescribeScalingPolicies" | "PutScalingPolicy") => {
            super::autoscaling::no_access()
        }
        ("application-autoscaling", "RegisterScalableTarget") => AwsError::new(
            "ConcurrentUpdateException",
            "You already have a pending update to an Auto Scaling resource.",
        ),
        // Of roles that were made a moment ago: what the provider waits for, and its twin for the
        // access role (pulumi/pulumi-aws#2411).
        ("apprunner", "CreateService") => {
            AwsError::new("InvalidRequestException", "Error in assuming access role")
        }
        ("apprunner", "UpdateService") => {
            AwsError::new("InvalidRequestException", "Error in assuming instance role")
        }
        // After the last service that used it was deleted (aws/apprunner-roadmap#161).
        ("apprunner", "DeleteVpcConnector") => AwsError::new(
            "InvalidRequestException",
            "Provided VPC connector arn is being used by other services.",
        ),
        // As the model of CloudWatch Logs has it; the provider waits for "try again".
        ("logs", _) => AwsError::new(
            "OperationAbortedException",
            "A conflicting operation is currently in progress against this resource. Please try again.",
        ),
        // Right after the protection was taken off, or before that is known everywhere.
        ("rds", "DeleteDBInstance") => AwsError::new(
            "InvalidParameterCombination",
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        ),
        ("rds", "ModifyDBInstance") => AwsError::new(
            "InvalidDBInstanceState",
            "Database instance is not in available state.",
        ),
        // "If Amazon Route 53 can't process a request before the next request arrives, it will
        // reject subsequent requests for the same hosted zone" (API Reference,
        // "ChangeResourceRecordSets").
        ("route53", "ChangeResourceRecordSets") => AwsError::new(
            "PriorRequestNotComplete",
            "The request was rejected because Route 53 was still processing a prior request.",
        ),
        // Right after RestoreSecret (hashicorp/terraform-provider-aws#18406, of what the service
        // knows late).
        ("secretsmanager", _) => AwsError::new(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        ),
        // First use in an account (aws/aws-cdk#13104, hashicorp/terraform-provider-aws#17083).
        ("rds", "CreateDBInstance") => AwsError::new(
            "InvalidParameterValue",
            "Unable to create the resource. Verify that you have permission to create service linked role. Otherwise wait and try \
             again later",
        ),
        // As its model names it.
        ("elasticache", "CreateReplicationGroup") => AwsError::new(
            "ServiceLinkedRoleNotFoundFault",
            "The service linked role for ElastiCache was not found.",
        ),
        _ => unavailable(wire),
    }
}

/// The models of RDS and ElastiCache name a quota for each kind of thing.
fn quota(service: &str, operation: &str) -> AwsError {
    let code = match (service, operation) {
        ("rds", "DeleteDBInstance") => "SnapshotQuotaExceeded",
        ("rds", "CreateDBSubnetGroup") => "DBSubnetGroupQuotaExceeded",
        ("rds", "CreateDBParameterGroup") => "DBParameterGroupQuotaExceeded",
        ("rds", "ModifyDBInstance") => "StorageQuotaExceeded",
        ("rds", _) => "InstanceQuotaExceeded",
        ("elasticache", "CreateCacheSubnetGroup") => "CacheSubnetGroupQuotaExceeded",
        ("elasticache", _) => "NodeQuotaForCustomerExceeded",
        ("apprunner", _) => "ServiceQuotaExceededException",
        ("ec2", _) => "ResourceCountExceeded",
        ("s3", _) => "TooManyBuckets",
        ("route53", _) => "LimitsExceeded",
        ("iam", _) => "LimitExceeded",
        _ => "LimitExceededException",
    };
    AwsError::new(code, "The limit for this resource has been exceeded.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(service: &str, line: (&str, &str), name: &str, effect: Effect) {
        let method = Method::from_bytes(line.0.as_bytes()).unwrap();
        let call = call(service, None, &method, &line.1.parse().unwrap());
        assert_eq!((call.name.as_str(), call.effect), (name, effect));
    }

    #[test]
    fn services_without_operations_on_the_wire_are_named_by_their_paths() {
        let rrset = "/2013-04-01/hostedzone/Z1/rrset/";
        check(
            "route53",
            ("POST", rrset),
            "route53:ChangeResourceRecordSets",
            Effect::Write,
        );
        check(
            "route53",
            ("GET", rrset),
            "route53:ListResourceRecordSets",
            Effect::Read,
        );
        check("s3", ("PUT", "/bucket/key"), "s3:PutObject", Effect::Write);
        check("s3", ("HEAD", "/bucket/key"), "s3:GetObject", Effect::Read);
        check(
            "lambda",
            ("GET", "/2015-03-31/functions"),
            "lambda:(REST)",
            Effect::Read,
        );
    }
}
