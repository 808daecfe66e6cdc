//! Who may read a secret, as its policy says; pure.

use google_cloud_iam_v1::model::{Binding, Policy};

/// Holds `secretmanager.versions.access` and nothing else of use.
pub(super) const ROLE: &str = "roles/secretmanager.secretAccessor";
/// The roles that hold that permission too, wherever they are granted
/// (<https://cloud.google.com/secret-manager/docs/access-control>).
pub(super) const SUFFICE: [&str; 3] = [ROLE, "roles/secretmanager.admin", "roles/owner"];

/// Whether the policy gives `member` one of these roles, whatever else holds.
pub(super) fn has(policy: &Policy, roles: &[&str], member: &str) -> bool {
    policy.bindings.iter().any(|binding| {
        binding.condition.is_none()
            && roles.contains(&binding.role.as_str())
            && binding.members.iter().any(|there| there == member)
    })
}

/// Whether an access may come by what a policy names without telling whom: a group or a set of
/// accounts, or a role of somebody's own.
pub(super) fn may_hide(policy: &Policy, member: &str) -> bool {
    let is_many = |who: &String| {
        [
            "group:",
            "domain:",
            "principalSet:",
            "allAuthenticatedUsers",
            "allUsers",
        ]
        .iter()
        .any(|many| who.starts_with(many))
    };
    policy.bindings.iter().any(|binding| {
        let is_custom = !binding.role.starts_with("roles/");
        let tells = SUFFICE.contains(&binding.role.as_str());
        let members = binding.members.iter();
        members
            .filter(|_| is_custom || tells)
            .any(|it| is_many(it) || is_custom && it == member)
    })
}

/// The policy with `member` as accessor, or without; every other member, binding and condition
/// stays.
pub(super) fn changed(mut policy: Policy, member: &str, wanted: bool) -> Policy {
    let is_ours = |binding: &Binding| binding.role == ROLE && binding.condition.is_none();
    for binding in policy.bindings.iter_mut().filter(|it| is_ours(it)) {
        binding.members.retain(|there| there != member);
    }
    if wanted {
        match policy.bindings.iter_mut().find(|it| is_ours(it)) {
            Some(binding) => binding.members.push(member.to_owned()),
            None => {
                let binding = Binding::new().set_role(ROLE).set_members([member]);
                policy.bindings.push(binding);
            }
        }
    }
    policy.bindings.retain(|it| !it.members.is_empty());
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "serviceAccount:app@p.iam.gserviceaccount.com";

    fn policy() -> Policy {
        let mut conditional = Binding::new().set_role(ROLE).set_members([US]);
        conditional.condition = Some(Default::default());
        Policy::new().set_etag("BwX").set_version(3).set_bindings([
            conditional,
            Binding::new()
                .set_role(ROLE)
                .set_members(["user:ada@example.com"]),
            Binding::new()
                .set_role("roles/secretmanager.viewer")
                .set_members([US]),
        ])
    }

    #[test]
    fn granting_and_taking_away_leaves_every_other_member_binding_and_condition_alone() {
        assert!(!has(&policy(), &[ROLE], US));
        let granted = changed(policy(), US, true);
        assert!(has(&granted, &[ROLE], US));
        assert_eq!(granted.bindings[1].members, ["user:ada@example.com", US]);
        assert_eq!((&granted.etag, granted.version), (&policy().etag, 3));
        assert_eq!(changed(granted, US, false), policy());
    }

    #[test]
    fn a_group_or_a_custom_role_may_let_an_account_in_and_a_role_of_something_else_does_not() {
        let of = |role: &str, member: &str| {
            Policy::new().set_bindings([Binding::new().set_role(role).set_members([member])])
        };
        for (role, member) in [
            (ROLE, "group:apps@example.com"),
            ("roles/owner", "principalSet://goog/group/apps"),
            ("projects/p/roles/secretReader", US),
            (
                "organizations/1/roles/secretReader",
                "group:apps@example.com",
            ),
        ] {
            assert!(may_hide(&of(role, member), US), "{role} {member}");
        }
        for (role, member) in [
            ("roles/run.admin", "group:apps@example.com"),
            (
                "projects/p/roles/other",
                "serviceAccount:other@p.iam.gserviceaccount.com",
            ),
            ("roles/owner", "user:ada@example.com"),
        ] {
            assert!(!may_hide(&of(role, member), US), "{role} {member}");
        }
    }

    #[test]
    fn taking_away_the_only_member_leaves_no_empty_binding() {
        let granted = changed(Policy::new(), US, true);
        assert_eq!(granted.bindings.len(), 1);
        assert!(changed(granted, US, false).bindings.is_empty());
    }
}
