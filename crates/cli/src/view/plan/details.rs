//! A plan node by node: by cloud, with changed fields, reasons, counts, every default; pure.

use deployer_core::address::Target;
use deployer_core::fields::{FieldChange, FieldValue};
use deployer_core::node::{Action, Effect, Sort};
use deployer_core::plan::{Change, Plan};

use crate::again;
use crate::scene::Scene;
use crate::view::foreign;

use super::{BOLD, GREEN, Layout, PLAIN, RED, YELLOW, broken, fields, sum};

/// The mark of an action.
pub fn mark(action: Action) -> &'static str {
    match action {
        Action::NoOp => " ",
        Action::Create => "+",
        Action::Update => "~",
        Action::Replace => "-/+",
        Action::Delete => "-",
        Action::Release => ".",
    }
}

fn shade(action: Action) -> &'static str {
    match action {
        Action::NoOp => PLAIN,
        Action::Create => GREEN,
        Action::Update | Action::Release => YELLOW,
        Action::Replace | Action::Delete => RED,
    }
}

/// The plan as text. `headers` are the targets with their callers.
pub fn render(plan: &Plan, scene: &Scene, headers: &[(Target, String)], colour: bool) -> String {
    let layout = Layout { colour, width: 0 };
    let paint = |code: &str, text: &str| layout.paint(code, text);
    let mut text = format!("{} in environment {}\n", plan.app, plan.environment);
    let reason = common_reason(plan);
    if let Some(reason) = reason {
        text.push_str(&format!("{}\n", foreign::words(reason)));
    }
    for (cloud, why) in &scene.unread {
        text.push_str(&format!("NOT PLANNED {cloud}: {}\n", foreign::words(why)));
    }
    for (target, header) in headers {
        text.push_str(&format!("\n{}\n", paint(BOLD, header)));
        let mut unchanged = 0;
        for change in plan.of(target.cloud) {
            if change.action == Action::NoOp {
                unchanged += 1;
                if let Some(why) = &change.settling {
                    text.push_str(&format!(
                        "      {} still settles: {}\n",
                        change.address.name,
                        foreign::words(why)
                    ));
                }
                continue;
            }
            let reason = Some(change.reason.as_str()).filter(|it| reason != Some(*it));
            text.push_str(&node(change, reason, &paint));
        }
        if unchanged > 0 {
            text.push_str(&format!(
                "      {}\n",
                format_args!("{unchanged} unchanged")
            ));
        }
    }
    for note in &plan.notes {
        text.push_str(&format!(
            "\nnote: {}\n",
            foreign::words(&again::completed(note))
        ));
    }
    text.push_str(&format!("\n{}\n", summary(plan, scene)));
    text
}

/// The same for a terminal: a field that is wider goes on below itself, first where the new value
/// begins.
pub fn folded(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let said = line.trim_start();
        let indent = line.chars().count() - said.chars().count();
        let is_field = indent >= FIELD && !said.contains('\x1b');
        if !is_field || line.chars().count() <= width {
            out.push_str(&format!("{line}\n"));
            continue;
        }
        let parts: Vec<String> = match said.split_once(" -> ") {
            Some((old, new)) => vec![old.to_owned(), format!("-> {new}")],
            None => vec![said.to_owned()],
        };
        let room = width.saturating_sub(indent + 2).max(20);
        let lines = parts.iter().flat_map(|part| broken(part, room));
        for (row, line) in lines.enumerate() {
            let indent = if row == 0 { indent } else { indent + 2 };
            out.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }
    out
}

/// Where a node's fields begin, in columns.
const FIELD: usize = 10;

/// Why everything that is deleted goes, where a plan does nothing else and that is one reason: it
/// is said once.
pub(super) fn common_reason(plan: &Plan) -> Option<&str> {
    let mut changes = plan
        .changes
        .iter()
        .filter(|it| !matches!(it.action, Action::NoOp | Action::Release));
    let first = changes.next()?;
    let mut others = changes.peekable();
    let several = others.peek().is_some();
    let alike = others.all(|it| it.action == Action::Delete && it.reason == first.reason);
    (several && alike && first.action == Action::Delete).then_some(first.reason.as_str())
}

/// One node; without a reason, where that stands above.
fn node(change: &Change, reason: Option<&str>, paint: &impl Fn(&str, &str) -> String) -> String {
    let mark = format!("{:>5}", mark(change.action));
    let what = match change.sort {
        Sort::Resource => "",
        Sort::Step => "run ",
    };
    let mut text = format!(
        "{} {what}{} {}\n",
        paint(shade(change.action), &mark),
        change.address.kind,
        change.address.name
    );
    if change.action != Action::Create || change.sort == Sort::Step {
        let warning = match change.effect {
            Effect::LosesData => Some("LOSES DATA"),
            Effect::Interrupts => Some("INTERRUPTS"),
            Effect::InPlace | Effect::Replace => None,
        };
        let reason = reason.map(|it| foreign::words(&again::completed(it)));
        let words: Vec<&str> = reason.as_deref().into_iter().chain(warning).collect();
        if !words.is_empty() {
            text.push_str(&format!("          {}\n", words.join(" - ")));
        }
    }
    for older in &change.replaces {
        let older = foreign::one_line(&older.name);
        text.push_str(&format!("          takes the place of {older}\n"));
    }
    if change.action == Action::Delete
        && let Some(leaves) = fields::leaves(&change.address)
    {
        let leaves = foreign::one_line(&leaves);
        text.push_str(&format!("          what is left: {leaves}\n"));
    }
    let drifted = |field: &&FieldChange| change.drift.iter().any(|it| it.field == field.field);
    let (theirs, ours): (Vec<_>, Vec<_>) = change.changes.iter().partition(drifted);
    for field in ours {
        text.push_str(&format!("          {}\n", line(field, change.action)));
    }
    if !theirs.is_empty() {
        let heading = "changed by another hand since the last apply:";
        text.push_str(&format!("          {}\n", paint(YELLOW, heading)));
    }
    for field in theirs {
        let left = change.drift.iter().find(|it| it.field == field.field);
        let left = left.and_then(|it| it.left.as_ref());
        // Put back as it was: the plain line says it all.
        let was = match left == field.new.as_ref() {
            true => String::new(),
            false => format!(" (the last apply left {})", show(left)),
        };
        text.push_str(&format!(
            "            {}{was}\n",
            line(field, change.action)
        ));
    }
    text
}

fn show(value: Option<&FieldValue>) -> String {
    match value {
        None => "(none)".into(),
        Some(FieldValue::Known(text)) => foreign::value(text),
        Some(later @ FieldValue::AfterApply { .. }) => later.to_string(),
    }
}

fn line(change: &FieldChange, action: Action) -> String {
    match action {
        Action::Create => {
            let field = foreign::one_line(&change.field);
            format!("{field}: {}", show(change.new.as_ref()))
        }
        Action::NoOp | Action::Update | Action::Replace | Action::Delete | Action::Release => {
            let (old, new) = match (&change.old, &change.new) {
                (Some(FieldValue::Known(old)), Some(FieldValue::Known(new))) => {
                    foreign::values(old, new)
                }
                (old, new) => (show(old.as_ref()), show(new.as_ref())),
            };
            format!("{}: {old} -> {new}", foreign::one_line(&change.field))
        }
    }
}

/// `Plan: 3 to create, 1 to update.` or that there is nothing to do.
pub(super) fn summary(plan: &Plan, scene: &Scene) -> String {
    if plan.is_empty() {
        if scene.holds().next().is_some() || !scene.unread.is_empty() {
            return sum::sum(plan, scene, &[]).concat();
        }
        return match plan.changes.is_empty() {
            // What is left alone stands in a note: it is no node of the plan.
            true if !plan.notes.is_empty() => {
                "No changes: everything else is as it is to be.".into()
            }
            true => "No changes: nothing of this environment is there.".into(),
            false => sum::unchanged(scene),
        };
    }
    let counts = plan.counts();
    let parts: Vec<String> = [
        (counts.create, "to create or run"),
        (counts.update, "to update"),
        (counts.replace, "to replace"),
        (counts.delete, "to delete"),
        (counts.release, "to release"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let losses = sum::losses(plan, usize::MAX).into_iter();
    let losses = losses.map(|it| format!("\n      {it}")).collect::<String>();
    let wants = match losses.is_empty() {
        true => "",
        false => " What loses data wants:",
    };
    let whole = match scene.unread.is_empty() {
        true => "",
        false => "INCOMPLETE: ",
    };
    format!("Plan: {whole}{}.{wants}{losses}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use deployer_core::address::{Address, CloudName};
    use deployer_core::fields::Fields;

    use super::*;

    #[test]
    fn a_field_that_is_wider_than_the_terminal_goes_on_below_itself() {
        let old = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-staging:1";
        let new = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-staging:3";
        let text = format!("    ~ ecs.service x\n          task_definition: {old} -> {new}\n");
        for width in [40, 60, 80, 120] {
            let folded = folded(&text, width);
            assert!(
                folded.lines().all(|it| it.chars().count() <= width),
                "{folded}"
            );
            let squeezed: String = folded.split_whitespace().collect();
            assert!(squeezed.contains(old) && squeezed.contains(new), "{folded}");
        }
        assert_eq!(folded(&text, 200), text);
    }

    #[test]
    fn a_change_that_interrupts_or_loses_data_says_so() {
        let target = Target {
            cloud: CloudName::Aws,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            sandbox: true,
        };
        let shown = |effect| {
            let change = Change {
                drift: Vec::new(),
                address: Address::new(&target, "rds.instance", "main"),
                sort: Sort::Resource,
                action: Action::Update,
                reason: "it differs".into(),
                changes: Vec::new(),
                effect,
                settling: None,
                needs: Vec::new(),
                replaces: Vec::new(),
            };
            let reason = Some(change.reason.as_str());
            node(&change, reason, &|_, text: &str| text.to_owned())
        };
        assert!(shown(Effect::Interrupts).contains("it differs - INTERRUPTS"));
        assert!(shown(Effect::LosesData).contains("it differs - LOSES DATA"));
        assert!(!shown(Effect::InPlace).contains(" - "));
    }

    #[test]
    fn a_replacement_that_creates_first_is_one_node_with_what_differs() {
        let target = Target {
            cloud: CloudName::Aws,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            sandbox: true,
        };
        let kind = "app_runner.scaling";
        let (mut old, mut new) = (Fields::new(), Fields::new());
        old.set("max", 2);
        new.set("max", 3);
        let change = Change {
            drift: Vec::new(),
            address: Address::new(&target, kind, "idp-1a2b3c4d"),
            sort: Sort::Resource,
            action: Action::Replace,
            reason: "made first; the old one goes when nothing uses it".into(),
            changes: old.changes_to(&new),
            effect: Effect::Replace,
            settling: None,
            needs: Vec::new(),
            replaces: vec![Address::new(&target, kind, "idp-0f0e0d0c")],
        };
        let reason = Some(change.reason.as_str());
        let shown = node(&change, reason, &|_, text: &str| text.to_owned());
        insta::assert_snapshot!(shown, @r"
          -/+ app_runner.scaling idp-1a2b3c4d
                  made first; the old one goes when nothing uses it
                  takes the place of idp-0f0e0d0c
                  max: 2 -> 3
        ");
    }

    #[test]
    fn a_plan_reads_well_without_colour() {
        let target = Target {
            cloud: CloudName::Aws,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            sandbox: true,
        };
        let known = Address::new(&target, "secretsmanager.secret", "/a/b/c");
        let mut old = Fields::new();
        old.set("cpu", 256);
        let mut new = Fields::new();
        new.set("cpu", 512);
        new.set_value("secret.X", FieldValue::AfterApply { known_after: known });
        let change = |kind: &str, action, changes| Change {
            drift: Vec::new(),
            address: Address::new(&target, kind, "idp"),
            sort: Sort::Resource,
            action,
            reason: "it differs from the manifest".into(),
            changes,
            effect: Effect::InPlace,
            settling: None,
            needs: Vec::new(),
            replaces: Vec::new(),
        };
        let plan = Plan {
            app: "idp".into(),
            environment: "staging".into(),
            targets: vec![target.clone()],
            changes: vec![
                change("ecr.repository", Action::NoOp, Vec::new()),
                change("ecs.task-definition", Action::Update, old.changes_to(&new)),
                change("logs.group", Action::Delete, Vec::new()),
                Change {
                    reason: "idp was there before deployer: our mark is taken off and it stays"
                        .into(),
                    ..change("ecs.service", Action::Release, Vec::new())
                },
            ],
            notes: Vec::new(),
            fingerprint: String::new(),
        };
        let header = format!("{target}");
        insta::assert_snapshot!(render(&plan, &Scene::default(), &[(target, header)], false), @r"
        idp in environment staging

        aws 123456789012 us-east-1 SANDBOX
            ~ ecs.task-definition idp
                  it differs from the manifest
                  cpu: 256 -> 512
                  secret.X: (none) -> (known after apply)
            - logs.group idp
                  it differs from the manifest
            . ecs.service idp
                  idp was there before deployer: our mark is taken off and it stays
              1 unchanged

        Plan: 1 to update, 1 to delete, 1 to release.
        ");
    }
}
