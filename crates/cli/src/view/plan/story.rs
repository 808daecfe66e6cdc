//! The plan as a story: what may hurt first, then each service, database and cache with its cause,
//! then what it comes to; pure.

use deployer_core::address::CloudName;
use deployer_core::node::{Action, Sort};
use deployer_core::plan::{Change, Plan};

use crate::again;
use crate::duration;

use crate::scene::{Held, Kind, Scene};
use crate::view::foreign;

use super::block::{Block, common_images, common_parts, merged};
use super::fields::{self, Family};
use super::group::{self, Doing, Thing, Told};
use super::how::{how, releases};
use super::lines::{among, cut, label, wrap};
use super::{BOLD, GREEN, Layout, RED, YELLOW, danger, details, sum, table};

/// Where what is said of a thing begins, in columns.
const INDENT: usize = 14;
/// Where the names of clouds begin.
const CLOUD: usize = 4;
/// More blocks than these are a table.
const MANY: usize = 40;
/// The longest name of a field that stands in a column of its own.
const WHAT: usize = 24;

/// The plan as text, or what it says of one thing.
pub fn render(plan: &Plan, scene: &Scene, only: Option<&str>, layout: Layout) -> String {
    let things = group::things(plan, scene);
    let shown = |name: &str| only.is_none_or(|only| only == name);
    let of_it: Vec<&Thing<'_>> = things.iter().filter(|it| shown(&it.name)).collect();
    let mut text = header(plan, scene, &things, layout);
    let dangers = danger::dangers(plan, scene, &of_it, layout.width);
    if !dangers.is_empty() {
        text.push('\n');
    }
    for (code, line) in dangers {
        text.push_str(&format!("{}\n", layout.paint(code, &line)));
    }
    let blocks = of_it.iter();
    let blocks = blocks.filter_map(|it| block(it, scene, layout.width));
    let (images, blocks) = common_images(common_parts(merged(blocks.collect())));
    let services = group::services(of_it.iter().copied());
    if blocks.len() > MANY && only.is_none() {
        text.push('\n');
        text.push_str(&table::render(&of_it, layout));
    }
    for (image, names) in images.iter().filter(|_| blocks.len() <= MANY) {
        text.push('\n');
        let phrase = format!("{image}: of {}", among(names, &services));
        for line in wrap(&phrase, layout.width.saturating_sub(2)) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    for block in blocks
        .iter()
        .filter(|_| blocks.len() <= MANY || only.is_some())
    {
        if blocks.len() <= 6 || block.body.len() > 1 {
            text.push('\n');
        }
        text.push_str(&print(block, &services, layout));
    }
    let still = unchanged(&of_it, &services);
    if !still.is_empty() && (!blocks.is_empty() || only.is_some()) {
        let phrase = format!("{}: no change", still.join(", "));
        text.push('\n');
        for line in wrap(&phrase, layout.width.saturating_sub(2)) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    for line in settling(plan) {
        text.push_str(&format!("\n{line}\n"));
    }
    let of_holds: Vec<&str> = scene
        .holds()
        .map(|(_, _, held)| held.note.as_str())
        .collect();
    for note in plan
        .notes
        .iter()
        .filter(|it| !of_holds.contains(&it.as_str()))
    {
        let note = foreign::words(&again::completed(note));
        text.push_str(&format!("\nnote: {note}\n"));
    }
    text.push('\n');
    text.push_str(&summary(plan, scene, &things, layout));
    if let Some(only) = only {
        text.push_str(&format!(
            "Shown: {only} alone; the plan is of everything.\n"
        ));
    }
    text
}

/// The sum, whose first line begins with `Plan:` or `No changes:`; the others stand below it.
fn summary(plan: &Plan, scene: &Scene, things: &[Thing<'_>], layout: Layout) -> String {
    const FIRST: &str = "Plan: ";
    let mut text = String::new();
    for line in sum::sum(plan, scene, things) {
        let (mut before, rest) = match line.strip_prefix(FIRST) {
            Some(rest) => (FIRST, rest),
            None if text.is_empty() => ("", line.as_str()),
            None => ("      ", line.as_str()),
        };
        let room = layout.width.saturating_sub(before.len());
        // Never broken or cut: it is to be pasted.
        if let Some(address) = rest.strip_prefix(sum::ALLOWED) {
            // What has no room goes on in the next line, as a shell reads it.
            let line = match rest.chars().count() <= room {
                true => rest.to_owned(),
                false => format!("{} \\\n{before}  {address}", sum::ALLOWED.trim_end()),
            };
            text.push_str(&format!("{before}{line}\n"));
            continue;
        }
        for line in wrap(rest, room) {
            text.push_str(&format!("{before}{line}\n"));
            before = "      ";
        }
    }
    text
}

fn header(plan: &Plan, scene: &Scene, things: &[Thing<'_>], layout: Layout) -> String {
    let mut title = format!("{} · {}", plan.app, plan.environment);
    if plan.targets.iter().any(|target| target.sandbox) {
        title.push_str(" · SANDBOX");
    }
    let is_there = |it: &Change| it.action == Action::NoOp && it.sort == Sort::Resource;
    let nothing = !plan.changes.is_empty()
        && scene.unread.is_empty()
        && !plan.changes.iter().any(is_there)
        && things
            .iter()
            .all(|it| it.action() == Action::Create || it.changes.is_empty());
    let right = match nothing {
        true => "nothing is there yet",
        false => details::common_reason(plan).unwrap_or_default(),
    };
    let used = title.chars().count() + right.chars().count();
    let gap = layout.width.saturating_sub(used).max(2);
    let mut text = layout.paint(BOLD, &title);
    if !right.is_empty() {
        text.push_str(&format!("{:gap$}{right}", ""));
    }
    text.push('\n');
    let targets: Vec<String> = plan
        .targets
        .iter()
        .map(|it| format!("{}  {} {}", it.cloud, it.account, it.region))
        .collect();
    let one = format!("  {}", targets.join("      "));
    match one.chars().count() <= layout.width {
        true => text.push_str(&format!("{one}\n")),
        false => {
            for target in targets {
                text.push_str(&format!("  {target}\n"));
            }
        }
    }
    text
}

/// What is said of one thing. `None` where nothing happens to it.
fn block(thing: &Thing<'_>, scene: &Scene, width: usize) -> Option<Block> {
    let mark = thing.action();
    if mark == Action::NoOp && !thing.is_held() {
        return None;
    }
    let mut body = Vec::new();
    for (clouds, held) in by_hold(thing) {
        body.extend(on_hold(&clouds, held, scene, width));
    }
    match (mark, thing.family) {
        (Action::NoOp, _) => {}
        (_, Family::Secret) => body.extend(secrets(thing, scene, width)),
        (Action::Create, _) => body.extend(new(thing, width)),
        _ => body.extend(changed(thing, width)),
    }
    Some(Block {
        mark,
        names: vec![thing.name.clone()],
        kind: thing.kind,
        body,
    })
}

fn by_hold<'a>(thing: &'a Thing<'_>) -> Vec<(Vec<CloudName>, &'a Held)> {
    let mut holds: Vec<(Vec<CloudName>, &Held)> = Vec::new();
    let sides = thing.group.into_iter().flat_map(|group| &group.sides);
    for (cloud, held) in sides.filter_map(|(cloud, side)| Some((*cloud, side.hold.as_ref()?))) {
        let same = |it: &&mut (Vec<CloudName>, &Held)| {
            let other = it.1;
            (other.from, other.to, &other.by) == (held.from, held.to, &held.by)
                && other.unfinished == held.unfinished
        };
        match holds.iter_mut().find(same) {
            Some((clouds, _)) => clouds.push(cloud),
            None => holds.push((vec![cloud], held)),
        }
    }
    holds
}

fn on_hold(clouds: &[CloudName], held: &Held, scene: &Scene, width: usize) -> Vec<String> {
    let ago = duration::since(held.since, scene.at);
    let by = foreign::one_line(&held.by);
    let on = label(clouds);
    let (from, to) = (held.from, held.to);
    let words = match held.unfinished {
        true => format!(
            "ON HOLD on {on}: the rollback of {by} from r{from} to r{to}, {ago} ago, did not come to its end; apply finishes it"
        ),
        false => format!(
            "ON HOLD on {on}: {by} went back from r{from} to r{to}, {ago} ago; the manifest still says r{from}"
        ),
    };
    let mut lines = wrap(&words, width.saturating_sub(INDENT));
    let go_on = again::completed("`deployer apply --release-hold`").replace('`', "");
    let before = match held.unfinished {
        true => "or:",
        false => "go on: change the image or the configuration, or",
    };
    lines.extend(wrap(before, width.saturating_sub(INDENT)));
    // Never broken: it is to be pasted.
    lines.push(go_on);
    lines
}

/// What the manifest says of something that is made, and what that is on each cloud.
fn new(thing: &Thing<'_>, width: usize) -> Vec<String> {
    let room = width.saturating_sub(INDENT);
    let clouds = thing.clouds();
    let mut lines = Vec::new();
    let says = by_words(&clouds, |cloud| {
        thing
            .side(cloud)
            .map(|it| it.says.clone())
            .unwrap_or_default()
    });
    for (on, said) in &says {
        for line in said {
            let line = foreign::one_line(line);
            match says.len() {
                1 => lines.extend(wrap(&line, room)),
                _ => lines.extend(wrap(&format!("{}: {line}", label(on)), room)),
            }
        }
    }
    let made = by_words(&clouds, |cloud| {
        let side = thing.side(cloud);
        match side.and_then(|it| it.size.clone()) {
            Some(size) => vec![size],
            None => thing.doing(cloud).acts,
        }
    });
    for (on, acts) in made {
        lines.extend(at_clouds(&on, &acts.join(" · "), "", width));
    }
    lines
}

/// What differs, and what is done about it on each cloud.
fn changed(thing: &Thing<'_>, width: usize) -> Vec<String> {
    let clouds = thing.clouds();
    let doings: Vec<(CloudName, Doing)> = clouds.iter().map(|it| (*it, thing.doing(*it))).collect();
    let everywhere = |told: &Told| doings.iter().all(|(_, it)| it.facts.contains(told));
    let common: Vec<&Told> = match doings.first() {
        Some((_, first)) => first.facts.iter().filter(|it| everywhere(it)).collect(),
        None => Vec::new(),
    };
    let longest = doings
        .iter()
        .flat_map(|(_, it)| &it.facts)
        .map(|it| it.fact.what.chars().count())
        .max();
    let column = longest.unwrap_or(0).min(WHAT);
    let room = width.saturating_sub(INDENT);
    let mut lines: Vec<String> = common.iter().map(|it| told(it, column, room)).collect();
    let mut grouped: Vec<(Vec<CloudName>, Vec<Told>, String, String)> = Vec::new();
    for (cloud, doing) in &doings {
        let own: Vec<Told> = doing
            .facts
            .iter()
            .filter(|it| !everywhere(it))
            .cloned()
            .collect();
        let (acts, right) = (acts(thing, *cloud, doing), releases(doing));
        let same = |it: &&mut (Vec<CloudName>, Vec<Told>, String, String)| {
            it.1 == own && it.2 == acts && it.3 == right
        };
        match grouped.iter_mut().find(same) {
            Some((clouds, ..)) => clouds.push(*cloud),
            None => grouped.push((vec![*cloud], own, acts, right)),
        }
    }
    for (clouds, own, acts, right) in grouped {
        let mut label = Some(clouds);
        for fact in own {
            let line = told(&fact, column, room);
            let on = label.take().unwrap_or_default();
            lines.extend(at_clouds(&on, &line, "", width));
        }
        let on = label.take().unwrap_or_default();
        lines.extend(at_clouds(&on, &acts, &right, width));
    }
    lines
}

/// What is done on one cloud, and what that may hurt.
fn acts(thing: &Thing<'_>, cloud: CloudName, doing: &Doing) -> String {
    let mut acts = doing.acts.join(" · ");
    if doing.is_new {
        acts = format!("create {acts}");
    }
    if thing.kind.is_some_and(|kind| kind != Kind::Service) {
        // The one node of which people speak goes without its name.
        let mut mains = thing
            .changed(cloud)
            .filter(|it| fields::is_store(&it.address));
        if let Some(main) = mains.next() {
            let word = fields::word(&main.address);
            acts = acts.replacen(&format!("update {word}"), "update in place", 1);
        }
    }
    for effect in &doing.effects {
        acts.push_str(&format!(" · {effect}"));
    }
    acts
}

/// Secrets are made and changed by number, and changed ones by name.
fn secrets(thing: &Thing<'_>, scene: &Scene, width: usize) -> Vec<String> {
    let words = by_words(&thing.clouds(), |cloud| {
        let mut parts = Vec::new();
        for (action, verb) in [
            (Action::Create, "made"),
            (Action::Update, "changed"),
            (Action::Replace, "replaced"),
            (Action::Delete, "DELETED"),
            (Action::Release, "left to themselves"),
        ] {
            let of: Vec<&Change> = thing
                .changed(cloud)
                .filter(|it| it.action == action)
                .collect();
            let mut names: Vec<String> = of
                .iter()
                .filter(|it| fields::word(&it.address) == "secret")
                .map(|it| {
                    let name = &it.address.name;
                    scene.secrets.get(name).unwrap_or(name).clone()
                })
                .collect();
            names.sort();
            if !names.is_empty() {
                parts.push(format!("{} {verb}: {}", names.len(), names.join(" ")));
            }
            let others = of.len() - names.len();
            if others > 0 {
                let what = match others {
                    1 => "right to read one".to_owned(),
                    others => format!("{others} rights to read them"),
                };
                parts.push(format!("{what} {verb}"));
            }
        }
        parts
    });
    let lines = words.into_iter().flat_map(|(clouds, parts)| {
        let text = foreign::one_line(&parts.join(" · "));
        at_clouds(&clouds, &text, "", width)
    });
    lines.collect()
}

/// What is said of clouds, those together of which the same is said.
fn by_words(
    clouds: &[CloudName],
    words: impl Fn(CloudName) -> Vec<String>,
) -> Vec<(Vec<CloudName>, Vec<String>)> {
    let mut all: Vec<(Vec<CloudName>, Vec<String>)> = Vec::new();
    for cloud in clouds {
        let words = words(*cloud);
        match all.iter_mut().find(|(_, same)| *same == words) {
            Some((clouds, _)) => clouds.push(*cloud),
            None => all.push((vec![*cloud], words)),
        }
    }
    all
}

/// What is said of clouds, their names before it. Such lines begin with a tab, which [`print`]
/// takes as the name's place.
fn at_clouds(clouds: &[CloudName], text: &str, right: &str, width: usize) -> Vec<String> {
    const RIGHT: usize = 34;
    let room = width.saturating_sub(INDENT);
    let length = text.chars().count();
    let rows = match right.is_empty() {
        true if length <= room => vec![text.to_owned()],
        true => wrap(text, room),
        false if length + 2 + right.chars().count() <= room => {
            let column = RIGHT.min(room.saturating_sub(right.chars().count()));
            vec![format!(
                "{text:<column$}{}{right}",
                if length >= column { "  " } else { "" }
            )]
        }
        false => wrap(&format!("{text}  {right}"), room),
    };
    let rows = rows.into_iter().enumerate();
    rows.map(|(at, row)| match at {
        0 if !clouds.is_empty() => format!("\t{}\t{row}", label(clouds)),
        _ => row,
    })
    .collect()
}

/// `LOG_LEVEL  info → debug`, and whose hand it was.
fn told(told: &Told, column: usize, room: usize) -> String {
    const HAND: &str = "  ANOTHER HAND, put back";
    let what = foreign::one_line(&cut(&told.fact.what, column.max(8)));
    let room = room.saturating_sub(column + 2);
    let room = match told.by_another_hand {
        true => room.saturating_sub(HAND.len()),
        false => room,
    };
    let how = how(&told.fact, room);
    let hand = if told.by_another_hand { HAND } else { "" };
    format!("{what:<column$}  {how}{hand}")
}

fn print(block: &Block, services: &[String], layout: Layout) -> String {
    let code = match block.mark {
        Action::Create => GREEN,
        Action::Replace | Action::Delete => RED,
        Action::NoOp | Action::Update | Action::Release => YELLOW,
    };
    let mark = super::details::mark(block.mark);
    let wide = mark.chars().count().max(1);
    let painted = layout.paint(code, mark);
    let name = foreign::one_line(&among(&block.names, services));
    let name = match block.kind {
        Some(kind) if kind != Kind::Service => {
            let plural = if block.names.len() > 1 { "s" } else { "" };
            format!("{name} ({}{plural})", kind.word())
        }
        Some(_) | None => name,
    };
    let head = format!("{painted} {name}");
    let used = wide + 1 + name.chars().count();
    let mut rows = block.body.iter();
    let first = block.body.first().filter(|it| !it.starts_with('\t'));
    let mut text = match first {
        Some(first) if used + 2 <= INDENT => {
            rows.next();
            format!("{head}{:1$}{first}\n", "", INDENT - used)
        }
        Some(_) | None => format!("{head}\n"),
    };
    for row in rows {
        let line = match row.strip_prefix('\t').and_then(|it| it.split_once('\t')) {
            Some((clouds, said)) => {
                let column = INDENT - CLOUD;
                format!("{:CLOUD$}{clouds:<column$}{said}", "")
            }
            None => format!("{:INDENT$}{row}", ""),
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What stays as it is, by name.
fn unchanged(things: &[&Thing<'_>], all: &[String]) -> Vec<String> {
    let still = things
        .iter()
        .filter(|it| it.action() == Action::NoOp && !it.is_held() && !it.changes.is_empty());
    let mut services: Vec<String> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for thing in still {
        match thing.kind {
            Some(Kind::Service) => services.push(thing.name.clone()),
            Some(kind) => others.push(format!("{} ({})", thing.name, kind.word())),
            None => {}
        }
    }
    if !services.is_empty() {
        others.insert(0, among(&services, all));
    }
    others
}

/// What does not differ and still settles.
fn settling(plan: &Plan) -> Vec<String> {
    let settling = plan.changes.iter().filter(|it| it.action == Action::NoOp);
    settling
        .filter_map(|change| {
            let why = foreign::words(change.settling.as_ref()?);
            let (cloud, name) = (change.address.cloud, &change.address.name);
            Some(format!("{name} on {cloud} still settles: {why}"))
        })
        .collect()
}
