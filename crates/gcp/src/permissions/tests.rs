//! The rows and the roles agree with each other.

use super::*;

fn all() -> BTreeSet<&'static str> {
    let needs = NEEDS.iter();
    needs.flat_map(Need::permissions).collect()
}

#[test]
fn every_kind_and_every_step_has_a_row_and_every_row_with_a_dot_is_one_of_them() {
    let rows = NEEDS.iter().map(|need| need.kind);
    let rows: BTreeSet<&str> = rows.filter(|kind| kind.contains('.')).collect();
    let kinds = crate::kinds::ALL.iter().map(|it| it.kind);
    let all: BTreeSet<&str> = kinds
        .chain(crate::kinds::GONE.iter().map(|(kind, _)| *kind))
        .collect();
    assert_eq!(all, rows);
}

#[test]
fn what_a_code_deployment_takes_is_part_of_the_whole() {
    let whole = permissions(&Feature::ALL);
    let only: BTreeSet<&str> = ONLY.iter().copied().collect();
    assert_eq!(only.len(), ONLY.len());
    assert!(only.is_subset(&whole), "{:?}", only.difference(&whole));
    assert!(
        !only
            .iter()
            .any(|it| it.contains("IamPolicy") || it.contains("secret"))
    );
}

#[test]
fn a_custom_role_has_only_what_a_project_can_grant() {
    let whole = permissions(&Feature::ALL);
    // Granted on a project, they would open every account and every bucket of it.
    assert!(!whole.contains("iam.serviceAccounts.actAs") && !whole.contains("storage.objects.get"));
    let role = custom_role("Deployer", &whole);
    assert!(
        role.starts_with("title: Deployer\nstage: GA\nincludedPermissions:\n- artifactregistry.")
    );
    assert_eq!(role.lines().count(), 3 + whole.len());
}

#[test]
fn a_role_that_holds_another_ones_permissions_stands_for_it() {
    let always = roles(&[Feature::Always]);
    assert!(always.contains(&(On::Project, "roles/run.admin")));
    assert!(!always.contains(&(On::Project, "roles/run.developer")));
    let migrations = roles(&[Feature::Migrations]);
    assert!(migrations.contains(&(On::Project, "roles/run.developer")));
}

#[test]
fn a_role_is_granted_on_the_thing_that_it_is_for() {
    let commands = roles(&Feature::ALL);
    let commands: Vec<String> = commands.iter().map(|(on, role)| on.grant(role)).collect();
    for (role, on) in [
        (
            "roles/iam.serviceAccountUser",
            "service-accounts add-iam-policy-binding RUNTIME_ACCOUNT",
        ),
        (
            "roles/storage.objectUser",
            "buckets add-iam-policy-binding gs://deployer-PROJECT-REGION",
        ),
    ] {
        let command = commands.iter().find(|it| it.ends_with(role)).unwrap();
        assert!(command.contains(on), "{command}");
    }
}

#[test]
fn methods_take_permissions_that_the_table_has() {
    let all = all();
    for method in [
        "run.projects.locations.services.patch",
        "dns.changes.create",
        // A zone that is named by its id is asked for by it.
        "dns.managedZones.get",
        "registry PUT manifest",
        "sql.operations.get",
    ] {
        for permission in permissions_of(method).unwrap() {
            assert!(all.contains(permission), "{method}: {permission}");
        }
    }
    assert_eq!(permissions_of("compute.instances.insert"), None);
}
