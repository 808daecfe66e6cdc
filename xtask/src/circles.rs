//! No modules import each other in a circle, parents aside: who reads one file need not know the
//! others that it does not name. Nor do folders.
//!
//! What a file imports is read of its text: its `use` lines, and paths that begin with `crate`,
//! `super`, `self` or one of its own modules. A parent names its children and they name it, so
//! those two never count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module: the names on the way to it, from the crate's root.
type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is in the workspace").to_owned()
}

/// Every module of a folder of sources, with its text; tests are none of them.
fn modules(folder: &Path) -> BTreeMap<Module, String> {
    let (mut found, mut next) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = next.pop() {
        for entry in std::fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                next.push(path);
                continue;
            }
            let Some(name) = path.to_str().and_then(|it| it.strip_suffix(".rs")) else {
                continue;
            };
            let below = Path::new(name).strip_prefix(folder).expect("below");
            let mut names: Module = below
                .iter()
                .map(|it| it.to_string_lossy().into_owned())
                .collect();
            let last = names.last().map(String::as_str);
            if matches!(last, Some("mod" | "lib" | "main")) {
                names.pop();
            }
            let is_test = |it: &String| it == "tests" || it.ends_with("_tests");
            if !names.iter().any(is_test) {
                found.insert(names, std::fs::read_to_string(&path).expect("a file"));
            }
        }
    }
    found
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let until = text.find("#[cfg(test)]\nmod tests {");
    let lines = text[..until.unwrap_or(text.len())].lines();
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a tree of imports: `a::{b, c::{d, e as f}}` is `a::b`, `a::c::d`, `a::c::e`.
fn spread(tree: &str) -> Vec<Module> {
    let names = |path: &str| -> Module {
        let path = path.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(str::trim);
        names
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![names(tree)];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().expect("one at least").push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let below = parts.flat_map(|part| spread(part));
    let with = |path| [names(before), path].concat();
    below.map(with).collect()
}

/// The paths of the `use` items, and those that the rest of the code names.
fn paths(code: &str) -> Vec<Module> {
    let (mut found, mut item) = (Vec::new(), None::<String>);
    for line in code.lines() {
        let line = line.trim();
        let begins = line.strip_prefix("use ").or_else(|| {
            let (visibility, rest) = line.split_once(" use ")?;
            visibility.starts_with("pub").then_some(rest)
        });
        match (&mut item, begins) {
            (Some(item), _) => item.push_str(line),
            (None, Some(begun)) => item = Some(begun.to_owned()),
            (None, None) => found.extend(named(line)),
        }
        if let Some(whole) = item.take_if(|it| it.contains(';')) {
            found.extend(spread(whole.split(';').next().unwrap_or_default()));
        }
    }
    found
}

/// The paths in a line that begin with `crate`, `super` or `self`.
fn named(line: &str) -> Vec<Module> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = line.split(|letter| !is_part(letter));
    let begins = |word: &&str| {
        let mut beginnings = ["crate::", "super::", "self::"].iter();
        beginnings.any(|it| word.starts_with(it))
    };
    words.filter(begins).flat_map(spread).collect()
}

/// What each module imports of its own crate, parents and children aside.
fn imports(modules: &BTreeMap<Module, String>) -> Imports {
    let mut all = Imports::new();
    for (module, text) in modules {
        let paths = paths(&code(text));
        let mut imported = BTreeSet::new();
        for path in paths {
            let mut to = match path.first().map(String::as_str) {
                Some("crate") => path[1..].to_vec(),
                Some("super" | "self") => {
                    let up = path.iter().filter(|it| *it == "super").count();
                    let from = module.len().saturating_sub(up);
                    let mut to = module[..from].to_vec();
                    let down = path.iter().filter(|it| *it != "super" && *it != "self");
                    to.extend(down.cloned());
                    to
                }
                // A child of its own, or another crate's.
                _ => continue,
            };
            // The rest of it is something in that module.
            while !to.is_empty() && !modules.contains_key(&to) {
                to.pop();
            }
            if !module.starts_with(&to) && !to.starts_with(module) {
                imported.insert(to);
            }
        }
        all.insert(module.clone(), imported);
    }
    all
}

/// The modules that reach each other: Tarjan's strongly connected components of two or more.
fn circles(imports: &Imports) -> BTreeSet<BTreeSet<String>> {
    #[derive(Default)]
    struct Walk<'a> {
        /// Of each module when it was met, and the earliest that it leads back to.
        met: BTreeMap<&'a Module, (usize, usize)>,
        open: Vec<&'a Module>,
        found: BTreeSet<BTreeSet<String>>,
    }
    fn visit<'a>(walk: &mut Walk<'a>, imports: &'a Imports, at: &'a Module) -> usize {
        let number = walk.met.len();
        walk.met.insert(at, (number, number));
        walk.open.push(at);
        let mut back = number;
        for to in imports.get(at).into_iter().flatten() {
            match walk.met.get(to) {
                None => back = back.min(visit(walk, imports, to)),
                Some((met, _)) if walk.open.contains(&to) => back = back.min(*met),
                Some(_) => {}
            }
        }
        if back == number {
            let from = walk.open.iter().position(|it| *it == at);
            let circle = walk.open.split_off(from.expect("it is open"));
            if circle.len() > 1 {
                let names = circle.into_iter().map(|it| it.join("::"));
                walk.found.insert(names.collect());
            }
        }
        back
    }
    let mut walk = Walk::default();
    for module in imports.keys() {
        if !walk.met.contains_key(module) {
            visit(&mut walk, imports, module);
        }
    }
    walk.found
}

/// The arrows within a circle, a line each.
fn arrows(imports: &Imports, circle: &BTreeSet<String>) -> String {
    let mut lines = String::new();
    for (from, to) in imports {
        let from = from.join("::");
        for to in to.iter().map(|it| it.join("::")) {
            if circle.contains(&from) && circle.contains(&to) {
                lines.push_str(&format!("  {from} -> {to}\n"));
            }
        }
    }
    lines
}

/// The circles of a crate, in words.
fn judged(name: &str, imports: &Imports) -> Vec<String> {
    let told = circles(imports).into_iter().map(|circle| {
        let what = "a circle: move what two need of each other into a module of its own";
        let names: Vec<&str> = circle.iter().map(String::as_str).collect();
        format!("{name}: {what}\n{names:?}\n{}", arrows(imports, &circle))
    });
    told.collect()
}

/// What each folder imports of the others: a module of the crate's root, with all below it.
fn between_folders(imports: &Imports) -> Imports {
    let folder = |module: &Module| -> Module { module.iter().take(1).cloned().collect() };
    let mut all = Imports::new();
    for (from, to) in imports.iter().filter(|(from, _)| !from.is_empty()) {
        let from = folder(from);
        let to = to.iter().filter(|it| !it.is_empty()).map(folder);
        let others = to.filter(|it| *it != from).collect::<Vec<_>>();
        all.entry(from).or_default().extend(others);
    }
    all
}

/// What the modules of every crate import, by the crate's name.
fn all() -> BTreeMap<String, Imports> {
    let crates = std::fs::read_dir(root().join("crates")).expect("a folder");
    let crates = crates.map(|it| it.expect("an entry"));
    let of = |it: std::fs::DirEntry| {
        let name = it.file_name().to_string_lossy().into_owned();
        (name, imports(&modules(&it.path().join("src"))))
    };
    crates.map(of).collect()
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let all = all();
    let wrong: Vec<String> = all.iter().flat_map(|(name, it)| judged(name, it)).collect();
    assert!(all.len() > 5 && wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_folders_import_each_other_in_a_circle() {
    let all = all();
    let between = all.iter().map(|(name, it)| (name, between_folders(it)));
    let wrong: Vec<String> = between.flat_map(|(name, it)| judged(name, &it)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn folders_are_in_a_circle_where_no_two_files_are() {
    let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let text = |at: &str, code: &str| (module(at), code.to_owned());
    let imports = imports(&BTreeMap::from([
        text("a", "mod b; mod c;"),
        text("a::b", "use crate::d::e::F;"),
        text("a::c", ""),
        text("d", "mod e; mod g;"),
        text("d::e", ""),
        text("d::g", "use crate::a::c::H;"),
    ]));
    assert_eq!(circles(&imports), BTreeSet::new());
    let names = ["a", "d"].map(str::to_owned);
    assert_eq!(
        circles(&between_folders(&imports)),
        BTreeSet::from([BTreeSet::from(names)])
    );
}

#[test]
fn a_circle_is_found_and_what_a_parent_has_of_its_children_is_none() {
    let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(at, code)| (module(at), (*code).to_owned()))
            .collect()
    };
    let round = text(&[
        ("a", "use crate::b::{self, c::{D, E as F}};"),
        ("b", "mod c;\npub(crate) use c::{\n    D,\n};"),
        ("b::c", "fn d() { super::super::g::h() }\n// use crate::b;"),
        (
            "g",
            "use crate::a::i;\n#[cfg(test)]\nmod tests {\nuse crate::b;\n}",
        ),
    ]);
    let found = circles(&imports(&round));
    let names = ["a", "b::c", "g"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from([BTreeSet::from(names)]));
    let straight = text(&[
        ("a", "use crate::b::c;"),
        ("b", "mod c; use crate::b::c::D;"),
        ("b::c", "use super::E;"),
    ]);
    assert_eq!(circles(&imports(&straight)), BTreeSet::new());
}
