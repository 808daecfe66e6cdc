use super::*;

/// The text of every constant of this crate that is the name of a kind: `service.thing`.
fn kinds() -> BTreeSet<String> {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut kinds = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let constants = source.lines().filter_map(|line| {
                let (name, text) = line.trim().split_once(": &str = \"")?;
                let text = text.strip_suffix("\";")?;
                name.starts_with("pub(crate) const ").then_some(text)
            });
            kinds.extend(constants.filter(|text| is_kind(text)).map(str::to_owned));
        }
    }
    kinds
}

fn is_kind(text: &str) -> bool {
    let plain = |part: &str| {
        let mut chars = part.chars();
        !part.is_empty()
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    };
    text.split_once('.')
        .is_some_and(|(service, thing)| plain(service) && plain(thing))
}

fn all() -> BTreeSet<&'static str> {
    let needs = NEEDS.iter();
    needs
        .flat_map(|need| need.read.iter().chain(need.change))
        .copied()
        .collect()
}

#[test]
fn every_kind_has_a_row_and_every_row_with_a_dot_is_a_kind() {
    let rows = NEEDS.iter().map(|need| need.kind);
    let rows: BTreeSet<String> = rows
        .filter(|kind| kind.contains('.'))
        .map(str::to_owned)
        .collect();
    assert_eq!(kinds(), rows);
    assert!(rows.len() >= 14, "{rows:?}");
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
