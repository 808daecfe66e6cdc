//! What a task definition says beyond the manifest: carried over into the next revision, and shown;
//! performs no IO.

use std::fmt::Debug;

use aws_sdk_ecs::types::{
    ContainerDefinition, LogConfiguration, LogDriver, PortMapping, TaskDefinition,
    TransportProtocol,
};
use deployer_core::fields::{Fields, KEPT};

/// The options of the log driver that are ours; others stay as they are.
pub(super) const LOG_OPTIONS: [&str; 3] =
    ["awslogs-group", "awslogs-region", "awslogs-stream-prefix"];

/// Adds a field for each of these members that says something.
macro_rules! members {
    ($fields:expr, $prefix:expr, $of:expr, [$($member:ident),* $(,)?]) => {
        $( note($fields, &format!("{}{}", $prefix, stringify!($member)), &$of.$member); )*
    };
}

/// The container of that name, or the only one.
pub(crate) fn container_of<'a>(
    definition: &'a TaskDefinition,
    name: &str,
) -> Option<&'a ContainerDefinition> {
    let containers = definition.container_definitions();
    let named = containers
        .iter()
        .find(|container| container.name() == Some(name));
    match containers {
        [only] => named.or(Some(only)),
        _ => named,
    }
}

/// The mapping of this port, or else the first.
pub(super) fn main_port(mappings: &[PortMapping], port: u16) -> Option<&PortMapping> {
    let mut mappings_of_it = mappings.iter();
    let found = mappings_of_it.find(|mapping| is_port(mapping, port));
    found.or_else(|| mappings.first())
}

pub(super) fn is_port(mapping: &PortMapping, port: u16) -> bool {
    let tcp = mapping
        .protocol()
        .is_none_or(|it| *it == TransportProtocol::Tcp);
    tcp && mapping.container_port() == Some(i32::from(port))
}

/// Describes everything that the manifest has no word for.
pub(super) fn describe(
    fields: &mut Fields,
    definition: &TaskDefinition,
    container: &str,
    port: u16,
) {
    members!(
        fields,
        KEPT,
        definition,
        [
            volumes,
            placement_constraints,
            pid_mode,
            ipc_mode,
            proxy_configuration,
            ephemeral_storage,
            enable_fault_injection,
        ]
    );
    let ours = container_of(definition, container);
    if let Some(ours) = ours {
        of_ours(fields, definition, ours, port);
    }
    let ours = ours.and_then(ContainerDefinition::name);
    let others = definition.container_definitions().iter();
    for other in others.filter(|other| other.name() != ours) {
        let prefix = format!("{KEPT}{}.", other.name().unwrap_or_default());
        members!(
            fields,
            prefix,
            other,
            [
                image,
                memory,
                port_mappings,
                essential,
                entry_point,
                command,
                environment,
                secrets,
                health_check,
                log_configuration,
            ]
        );
        unmodelled(fields, &prefix, other);
    }
}

fn of_ours(
    fields: &mut Fields,
    definition: &TaskDefinition,
    ours: &ContainerDefinition,
    port: u16,
) {
    unmodelled(fields, KEPT, ours);
    if ours.essential() == Some(false) {
        note(fields, &format!("{KEPT}essential"), &false);
    }
    // As much as the task has is what a container gets that has no limit of its own.
    let all = definition.memory();
    let memory = ours
        .memory()
        .filter(|own| Some(own.to_string().as_str()) != all);
    note(fields, &format!("{KEPT}memory"), &memory);
    let main = main_port(ours.port_mappings(), port);
    if let Some(main) = main {
        members!(
            fields,
            format!("{KEPT}port."),
            main,
            [name, app_protocol, container_port_range]
        );
    }
    let others = ours.port_mappings().iter();
    let others: Vec<_> = others
        .filter(|one| !main.is_some_and(|main| std::ptr::eq(main, *one)))
        .collect();
    note(fields, &format!("{KEPT}port_mappings"), &others);
    let logs = ours.log_configuration();
    if let Some(logs) = logs.filter(|logs| *logs.log_driver() == LogDriver::Awslogs) {
        of_logs(fields, logs);
    }
}

fn of_logs(fields: &mut Fields, logs: &LogConfiguration) {
    let options = logs.options().into_iter().flatten();
    for (key, value) in options.filter(|(key, _)| !LOG_OPTIONS.contains(&key.as_str())) {
        fields.set(format!("{KEPT}logs.{key}"), value);
    }
    members!(fields, format!("{KEPT}logs."), logs, [secret_options]);
}

/// The members of any container that the manifest has no word for.
fn unmodelled(fields: &mut Fields, prefix: &str, of: &ContainerDefinition) {
    if of.cpu() != 0 {
        fields.set(format!("{prefix}cpu"), of.cpu());
    }
    members!(
        fields,
        prefix,
        of,
        [
            repository_credentials,
            memory_reservation,
            links,
            restart_policy,
            environment_files,
            mount_points,
            volumes_from,
            linux_parameters,
            depends_on,
            start_timeout,
            stop_timeout,
            version_consistency,
            hostname,
            user,
            working_directory,
            disable_networking,
            privileged,
            readonly_root_filesystem,
            dns_servers,
            dns_search_domains,
            extra_hosts,
            docker_security_options,
            interactive,
            pseudo_terminal,
            docker_labels,
            ulimits,
            system_controls,
            resource_requirements,
            firelens_configuration,
            credential_specs,
        ]
    );
}

/// Adds a field, unless its value is none: nothing, `false`, or empty.
fn note(fields: &mut Fields, name: &str, value: &dyn Debug) {
    let text = plain(&format!("{value:?}"));
    if !matches!(text.as_str(), "" | "false" | "[]" | "{}" | "\"\"") {
        fields.set(name, text);
    }
}

/// A value as Rust shows it for debugging, without what only says that it is there: `Some(`, and
/// members that are `None`.
fn plain(shown: &str) -> String {
    let (mut out, mut open, mut rest) = (String::new(), Vec::new(), shown);
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("Some(") {
            open.push(false);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("None") {
            // With the member's name, which stands before it.
            let member = |c: char| c.is_alphanumeric() || c == '_';
            let named = out.trim_end_matches(": ").trim_end_matches(member).len();
            out.truncate(named);
            rest = after.strip_prefix(", ").unwrap_or(after);
        } else if first == '"' {
            let end = end_of_string(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            let closes = first == ')' && open.pop() == Some(false);
            if first == '(' {
                open.push(true);
            }
            if !closes {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    let out = out.replace(",  }", " }").replace(", }", " }");
    sorted_maps(&out)
}

/// Where the quoted text at the start of this ends.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Maps come in any order, and another one each time: their entries are put in one.
fn sorted_maps(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => end_of_string(rest),
            '{' => {
                if let Some((mut entries, after)) = entries_of(rest) {
                    entries.sort_unstable();
                    out.push_str(&format!("{{{}}}", entries.join(", ")));
                    rest = after;
                    continue;
                }
                1
            }
            _ => first.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// The entries of the map of quoted text at the start of this, and what follows it.
/// Returns `None` when none is there.
fn entries_of(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut rest = text.strip_prefix('{')?;
    let mut entries = Vec::new();
    loop {
        let key = rest.starts_with('"').then(|| end_of_string(rest))?;
        let value = rest[key..].strip_prefix(": ")?;
        let value_ends = value.starts_with('"').then(|| end_of_string(value))?;
        let end = key + ": ".len() + value_ends;
        entries.push(&rest[..end]);
        rest = &rest[end..];
        if let Some(after) = rest.strip_prefix('}') {
            return Some((entries, after));
        }
        rest = rest.strip_prefix(", ")?;
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{
        ApplicationProtocol, EphemeralStorage, PortMapping, Ulimit, UlimitName,
    };

    use super::*;

    /// The members that an empty value of a type shows, in its own words.
    fn names(shown: &str) -> Vec<&str> {
        let inside = shown.split_once("{ ").expect("members").1;
        let inside = inside.trim_end_matches(" }");
        let members = inside.split(", ").map(|it| it.split(": ").next());
        members.flatten().collect()
    }

    /// What is said of nothing, what the manifest says, and what is carried over: that is all.
    #[track_caller]
    fn check_all_are_known(shown: &str, known: &[&str]) {
        let source = include_str!("kept.rs");
        let listed = |name: &str| source.contains(&format!(" {name},\n"));
        let forgotten: Vec<&str> = names(shown)
            .into_iter()
            .filter(|name| !known.contains(name) && !listed(name))
            .collect();
        assert_eq!(forgotten, Vec::<&str>::new(), "shown by nobody");
    }

    #[test]
    fn every_member_that_ecs_has_is_either_the_manifests_or_shown() {
        let container = format!("{:?}", ContainerDefinition::builder().build());
        check_all_are_known(&container, &["name", "cpu"]);
        let definition = format!("{:?}", TaskDefinition::builder().build());
        let by_the_manifest = [
            "container_definitions",
            "family",
            "task_role_arn",
            "execution_role_arn",
            "network_mode",
            "runtime_platform",
            "requires_compatibilities",
            "cpu",
            "memory",
        ];
        let by_ecs = [
            "task_definition_arn",
            "revision",
            "status",
            "requires_attributes",
            "compatibilities",
            "registered_at",
            "deregistered_at",
            "delete_requested_at",
            "registered_by",
            // Amazon Elastic Inference is no more.
            "inference_accelerators",
        ];
        check_all_are_known(&definition, &[&by_the_manifest[..], &by_ecs].concat());
    }

    #[test]
    fn what_is_there_is_shown_as_it_is_and_what_is_not_is_not() {
        let ulimit = Ulimit::builder()
            .name(UlimitName::Nofile)
            .soft_limit(1)
            .hard_limit(2)
            .build()
            .expect("complete");
        let port = PortMapping::builder()
            .container_port(8080)
            .name("web")
            .app_protocol(ApplicationProtocol::Http2)
            .build();
        let container = ContainerDefinition::builder()
            .name("app")
            .port_mappings(port)
            .ulimits(ulimit)
            .docker_labels("b", "2")
            .docker_labels("a", "1, \"x\"")
            .readonly_root_filesystem(true)
            .interactive(false)
            .build();
        let sidecar = ContainerDefinition::builder()
            .name("agent")
            .image("agent:7")
            .build();
        let definition = TaskDefinition::builder()
            .container_definitions(container)
            .container_definitions(sidecar)
            .ephemeral_storage(EphemeralStorage::builder().size_in_gib(100).build())
            .build();
        let mut fields = Fields::new();
        describe(&mut fields, &definition, "app", 8080);
        let shown: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "kept.agent.image = \"agent:7\"",
                "kept.docker_labels = {\"a\": \"1, \\\"x\\\"\", \"b\": \"2\"}",
                "kept.ephemeral_storage = EphemeralStorage { size_in_gib: 100 }",
                "kept.port.app_protocol = Http2",
                "kept.port.name = \"web\"",
                "kept.readonly_root_filesystem = true",
                "kept.ulimits = [Ulimit { name: Nofile, soft_limit: 1, hard_limit: 2 }]",
            ]
        );
    }
}
