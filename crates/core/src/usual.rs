//! How long things usually take, as the journals of earlier runs tell, and what a plan comes to;
//! pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::{Address, CloudName};
use crate::journal::{Entry, Event};
use crate::node::Action;
use crate::plan::{Change, Plan};

/// How long nodes took the last time, each itself and any of its kind.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    nodes: BTreeMap<(Address, Action), Duration>,
    kinds: BTreeMap<(CloudName, String, Action), Duration>,
}

impl Usual {
    /// Learns from a run what was ready in it. What is known already stays: the newest run comes
    /// first.
    pub fn learn(&mut self, entries: &[Entry]) {
        let mut begun = BTreeMap::new();
        let mut longest: BTreeMap<(CloudName, String, Action), Duration> = BTreeMap::new();
        for entry in entries {
            match &entry.event {
                Event::Started {
                    address, action, ..
                } => {
                    begun.insert(address, (*action, entry.at));
                }
                Event::Ready { address } => {
                    let Some((action, at)) = begun.remove(address) else {
                        continue;
                    };
                    let took = entry.at.duration_since(at).try_into().unwrap_or_default();
                    let node = (address.clone(), action);
                    self.nodes.entry(node).or_insert(took);
                    let kind = (address.cloud, address.kind.clone(), action);
                    let of_kind = longest.entry(kind).or_default();
                    *of_kind = took.max(*of_kind);
                }
                Event::Failed { address, .. }
                | Event::Undoing { address, .. }
                | Event::Undone { address, .. }
                | Event::NotUndone { address, .. } => {
                    begun.remove(address);
                }
                Event::Landed { .. } | Event::Ended { .. } => {}
            }
        }
        for (kind, took) in longest {
            self.kinds.entry(kind).or_insert(took);
        }
    }

    /// How long this took the last time: the node itself, or the slowest of its kind. `None` where
    /// no run that was learnt from did it.
    pub fn of(&self, address: &Address, action: Action) -> Option<Duration> {
        let node = self.nodes.get(&(address.clone(), action));
        let kind = (address.cloud, address.kind.clone(), action);
        node.or_else(|| self.kinds.get(&kind)).copied()
    }
}

/// The chain of changes that takes longest, each after the one before it, with what each takes.
/// Empty where nothing is known of how long any takes.
pub fn longest(
    plan: &Plan,
    takes: impl Fn(&Change) -> Option<Duration>,
) -> Vec<(&Change, Duration)> {
    // Of each change: the whole chain that ends with it, its own part, and the one before.
    let mut chains: Vec<(Duration, Duration, Option<usize>)> = Vec::new();
    let mut at: BTreeMap<&Address, usize> = BTreeMap::new();
    for (index, change) in plan.changes.iter().enumerate() {
        let own = match change.action {
            Action::NoOp => Duration::ZERO,
            Action::Create
            | Action::Update
            | Action::Replace
            | Action::Delete
            | Action::Release => takes(change).unwrap_or_default(),
        };
        let needs = change.needs.iter().filter_map(|it| at.get(it).copied());
        let before = needs.max_by_key(|it| chains[*it].0);
        let earlier = before.map_or(Duration::ZERO, |it| chains[it].0);
        chains.push((earlier + own, own, before));
        at.insert(&change.address, index);
    }
    let ends = chains.iter().enumerate();
    let mut next = ends
        .filter(|(_, chain)| !chain.0.is_zero())
        .max_by_key(|(_, chain)| chain.0)
        .map(|(index, _)| index);
    let mut longest = Vec::new();
    while let Some(index) = next {
        let (_, own, before) = chains[index];
        if !own.is_zero() {
            longest.push((&plan.changes[index], own));
        }
        next = before;
    }
    longest.reverse();
    longest
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::address::Target;
    use crate::journal::FORMAT;
    use crate::node::{Effect, Sort};

    fn target() -> Target {
        Target {
            cloud: CloudName::Aws,
            account: "1".into(),
            region: "here".into(),
            sandbox: false,
        }
    }

    fn address(kind: &str, name: &str) -> Address {
        Address::new(&target(), kind, name)
    }

    fn entry(at: i64, event: Event) -> Entry {
        Entry {
            format: FORMAT,
            sequence: 1,
            at: Timestamp::from_second(at).unwrap(),
            event,
        }
    }

    fn started(at: i64, address: &Address, action: Action) -> Entry {
        let (address, token) = (address.clone(), String::new());
        entry(
            at,
            Event::Started {
                address,
                action,
                token,
            },
        )
    }

    fn ready(at: i64, address: &Address) -> Entry {
        let address = address.clone();
        entry(at, Event::Ready { address })
    }

    #[test]
    fn a_node_takes_what_it_took_last_and_else_what_the_slowest_of_its_kind_did() {
        let (main, other) = (
            address("rds.instance", "main"),
            address("rds.instance", "other"),
        );
        let newest = [
            started(0, &main, Action::Create),
            started(0, &other, Action::Create),
            ready(300, &other),
            ready(480, &main),
        ];
        let before = [started(0, &other, Action::Create), ready(900, &other)];
        let mut usual = Usual::default();
        usual.learn(&newest);
        usual.learn(&before);
        let of = |it: &Address, action| usual.of(it, action).map(|it| it.as_secs());
        assert_eq!(of(&other, Action::Create), Some(300));
        assert_eq!(
            of(&address("rds.instance", "new"), Action::Create),
            Some(480)
        );
        assert_eq!(of(&main, Action::Delete), None);
        assert_eq!(of(&address("sql.instance", "main"), Action::Create), None);
    }

    #[test]
    fn what_failed_or_did_not_end_teaches_nothing() {
        let main = address("rds.instance", "main");
        let failed = Event::Failed {
            address: main.clone(),
            why: "no".into(),
        };
        let mut usual = Usual::default();
        usual.learn(&[started(0, &main, Action::Create), entry(900, failed)]);
        usual.learn(&[started(0, &main, Action::Create)]);
        assert_eq!(usual.of(&main, Action::Create), None);
    }

    fn change(name: &str, needs: &[&str]) -> Change {
        let of = |name: &&str| address("kind", name);
        Change {
            address: of(&name),
            sort: Sort::Resource,
            action: Action::Create,
            reason: String::new(),
            changes: Vec::new(),
            effect: Effect::InPlace,
            settling: None,
            drift: Vec::new(),
            needs: needs.iter().map(of).collect(),
            replaces: Vec::new(),
        }
    }

    #[test]
    fn the_longest_chain_counts_each_wait_once_and_what_runs_beside_it_not_at_all() {
        let mut changes = vec![
            change("group", &[]),
            change("main", &["group"]),
            change("cache", &[]),
            change("url", &["main"]),
            change("web", &["url", "cache"]),
        ];
        let plan = |changes: Vec<Change>| Plan {
            app: String::new(),
            environment: String::new(),
            targets: vec![target()],
            changes,
            notes: Vec::new(),
            fingerprint: String::new(),
        };
        let takes = |change: &Change| match change.address.name.as_str() {
            "main" => Some(Duration::from_secs(480)),
            "cache" => Some(Duration::from_secs(420)),
            "web" => Some(Duration::from_secs(60)),
            _ => None,
        };
        let chain = |plan: &Plan| {
            let longest = longest(plan, takes).into_iter();
            let names = longest.map(|(change, took)| (change.address.name.clone(), took.as_secs()));
            names.collect::<Vec<_>>()
        };
        let expected = [("main".to_owned(), 480), ("web".to_owned(), 60)];
        assert_eq!(chain(&plan(changes.clone())), expected);
        // What is there already takes no time, and what comes after it still waits its turn.
        changes[1].action = Action::NoOp;
        let expected = [("cache".to_owned(), 420), ("web".to_owned(), 60)];
        assert_eq!(chain(&plan(changes)), expected);
        assert_eq!(longest(&plan(vec![change("group", &[])]), takes), []);
    }
}
