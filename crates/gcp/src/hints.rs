//! What to type after a refusal that a newcomer meets: by the reason that Google names, or by its
//! words. Pure.

use google_cloud_gax::error::rpc::{Status, StatusDetails};

/// What to do where there may be no more of something.
pub(crate) const QUOTA_HINT: &str =
    "delete what is not needed, or ask for a higher quota (IAM & Admin, Quotas)";

/// What to do about a network that Google's own services cannot reach.
pub(crate) const PRIVATE_ACCESS: &str = "the network has no Private Services Access yet: `gcloud compute addresses create \
     google-managed-services --global --purpose VPC_PEERING --prefix-length 16 --network NETWORK`, then `gcloud services \
     vpc-peerings connect --service servicenetworking.googleapis.com --ranges google-managed-services --network NETWORK`";

/// What to do about credentials that are absent or refused.
pub(crate) const LOGIN_HINT: &str = "log in with `gcloud auth application-default login`, or set \
     GOOGLE_APPLICATION_CREDENTIALS to a credentials file";

/// The reason of a refusal for want of a billing account: "Billing account for project '...' is not
/// found. Billing must be enabled for activation of service(s) ... to proceed" (kyegomez/zeta#71
/// shows it whole).
pub(crate) const NO_BILLING: &str = "UREQ_PROJECT_BILLING_NOT_FOUND";

/// The command that says against which project a person's calls count.
const CHOOSE_QUOTA_PROJECT: &str = "gcloud auth application-default set-quota-project";

/// What to do about calls that count against another project, in which the API is off.
pub(crate) fn count_here(project: &str) -> String {
    format!(
        "the credentials count their calls against another project, where it is off: `{CHOOSE_QUOTA_PROJECT} {project}`"
    )
}

/// Which role has a permission that begins so.
const ROLES: [(&str, &str); 9] = [
    ("run.", "roles/run.admin"),
    ("artifactregistry.", "roles/artifactregistry.admin"),
    ("secretmanager.", "roles/secretmanager.admin"),
    ("cloudsql.", "roles/cloudsql.admin"),
    ("redis.", "roles/redis.admin"),
    ("dns.", "roles/dns.admin"),
    ("logging.", "roles/logging.viewer"),
    ("storage.", "roles/storage.objectUser"),
    ("serviceusage.", "roles/serviceusage.serviceUsageAdmin"),
];

/// What to do about a refusal.
pub(crate) fn of_status(status: &Status) -> Option<String> {
    let info = status.details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) => Some(info),
        _ => None,
    });
    let member = |name: &str| {
        info.and_then(|info| info.metadata.get(name))
            .map(String::as_str)
    };
    match info.map(|info| info.reason.as_str()) {
        Some("SERVICE_DISABLED") => {
            let consumer = member("consumer").unwrap_or_default();
            let project = consumer.strip_prefix("projects/").unwrap_or(consumer);
            let enable = switch_on([member("service")?], project);
            // Which project the target's is, is not known here.
            Some(format!(
                "{enable}; where that is not the target's project, the credentials count their calls against it: \
                 `{CHOOSE_QUOTA_PROJECT} PROJECT`"
            ))
        }
        Some("USER_PROJECT_DENIED") => Some(format!(
            "the credentials count their calls against a project that they may not use: grant \
             `roles/serviceusage.serviceUsageConsumer` there, or choose another one with `{CHOOSE_QUOTA_PROJECT} PROJECT`"
        )),
        Some(NO_BILLING) => Some(link_billing(member("project").unwrap_or("PROJECT"))),
        // Who may act as an account is told by its words.
        Some("IAM_PERMISSION_DENIED") => {
            of_words(&status.message).or_else(|| of_permission(member("permission")?))
        }
        _ => of_words(&status.message),
    }
}

/// The same for the reason of an older API, which names no permission.
pub(crate) fn of_reason(reason: &str) -> Option<String> {
    match reason {
        // Cloud SQL's own.
        "notAuthorized" => of_permission("cloudsql.instances.get"),
        // Cloud DNS's.
        "forbidden" => of_permission("dns.managedZones.list"),
        _ => None,
    }
}

/// What to do about a project without a billing account.
pub(crate) fn link_billing(project: &str) -> String {
    format!(
        "link a billing account: `gcloud billing projects link {project} --billing-account=ACCOUNT`, one of `gcloud billing \
         accounts list`"
    )
}

/// The words of a failure with what to do about it: where they are all that is told, as of
/// operations and conditions.
pub(crate) fn told(words: String) -> String {
    match of_words(&words) {
        Some(hint) => format!("{words} ({hint})"),
        None => words,
    }
}

fn of_permission(permission: &str) -> Option<String> {
    let role = ROLES
        .iter()
        .find(|(begins, _)| permission.starts_with(begins));
    role.map(|(_, role)| format!("grant the caller `{permission}`; `{role}` has it"))
}

/// The command that switches APIs on.
pub(crate) fn switch_on<'a>(apis: impl IntoIterator<Item = &'a str>, project: &str) -> String {
    let apis: Vec<&str> = apis.into_iter().collect();
    let project = match project {
        "" => String::new(),
        project => format!(" --project {project}"),
    };
    format!("`gcloud services enable {}{project}`", apis.join(" "))
}

/// What to do about a refusal that only its words tell apart, also in an operation or a condition.
pub(crate) fn of_words(words: &str) -> Option<String> {
    let says = words.to_lowercase();
    if says.contains("iam.serviceaccounts.actas") {
        // "Permission 'iam.serviceaccounts.actAs' denied on service account X (or it may not
        // exist)."
        let mut accounts = words.split(|c: char| c.is_whitespace() || "'\"(),".contains(c));
        let account = accounts.find(|word| word.contains(".gserviceaccount.com"));
        return Some(format!(
            "whoever deploys a service must be allowed to act as its account: `gcloud iam service-accounts \
             add-iam-policy-binding {} --role roles/iam.serviceAccountUser --member MEMBER`, MEMBER being the caller \
             (`user:...` or `serviceAccount:...`)",
            account.map_or("ACCOUNT", |word| word.trim_end_matches('.'))
        ));
    }
    if says.contains("org policy")
        || says.contains("organization policy")
        || says.contains("permitted customer")
        || says.contains("constraints/")
    {
        return Some(
            "a policy of the organization forbids it: ask its administrator to except the project, naming the constraint"
                .to_owned(),
        );
    }
    if says.contains("compute.networkuser") || says.contains("compute.subnetworks.use") {
        return Some(
            "the network is another project's (Shared VPC): in that project, grant `roles/compute.networkUser` on the \
             subnetwork to Cloud Run's agent, `service-PROJECT_NUMBER@serverless-robot-prod.iam.gserviceaccount.com`"
                .to_owned(),
        );
    }
    if says.contains("billing must be enabled") {
        return Some(link_billing("PROJECT"));
    }
    if says.contains("servicenetworking")
        || says.contains("service networking")
        || says.contains("private services access")
        // Memorystore's word.
        || says.contains("private service access")
        || says.contains("private service connection")
        || says.contains("private services connection")
        || says.contains("network_not_peered")
    {
        return Some(PRIVATE_ACCESS.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Code;
    use google_cloud_rpc::model::ErrorInfo;

    use super::*;

    fn hint(reason: &str, members: &[(&str, &str)], message: &str) -> String {
        let info = ErrorInfo::new().set_reason(reason);
        let info = info.set_metadata(
            members
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let status = Status::default()
            .set_code(Code::PermissionDenied)
            .set_message(message)
            .set_details([StatusDetails::ErrorInfo(info)]);
        of_status(&status).unwrap()
    }

    #[test]
    fn an_api_that_is_off_is_switched_on_in_the_right_project() {
        let members = [
            ("service", "run.googleapis.com"),
            ("consumer", "projects/42"),
        ];
        let hint = hint("SERVICE_DISABLED", &members, "off");
        let enable = "`gcloud services enable run.googleapis.com --project 42`; where";
        assert!(hint.starts_with(enable), "{hint}");
        assert!(hint.contains("set-quota-project PROJECT"), "{hint}");
    }

    #[test]
    fn a_missing_permission_names_the_role_that_has_it() {
        let members = [("permission", "cloudsql.instances.create")];
        let hint = hint("IAM_PERMISSION_DENIED", &members, "denied");
        assert!(hint.contains("roles/cloudsql.admin"), "{hint}");
    }

    #[test]
    fn refusals_that_only_words_tell_apart_have_their_own_way_out() {
        let act_as = "Permission 'iam.serviceaccounts.actAs' denied on service account \
                      app@p.iam.gserviceaccount.com (or it may not exist).";
        let hint = of_words(act_as).unwrap();
        assert!(
            hint.contains("binding app@p.iam.gserviceaccount.com --role"),
            "{hint}"
        );
        for (words, way) in [
            ("do not belong to a permitted customer", "administrator"),
            (
                "Required 'compute.subnetworks.use' permission",
                "compute.networkUser",
            ),
            (
                "network doesn't have at least 1 private services connection",
                "vpc-peerings",
            ),
            (
                "Google private service access is not enabled. Enable private service access and try again.",
                "vpc-peerings",
            ),
        ] {
            assert!(of_words(words).unwrap().contains(way), "{words}");
        }
        assert_eq!(of_words("memory is too small"), None);
    }
}
