//! `deployer forget`: takes our mark off one thing and leaves it; nobody deletes or changes it from
//! then on.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::Address;
use deployer_core::error::{Error, Result};
use deployer_core::graph::Graph;
use deployer_core::ledger::Inventory;
use deployer_core::plan::{self, Orphan, Prepared};

use crate::args::{ForgetArgs, Global};
use crate::command::plan as planning;
use crate::exit::Exit;
use crate::outcome;
use crate::run::{self, Journals, Manner};
use crate::scene::Scene;
use crate::session::{Place, Session};
use crate::system::Stop;
use crate::{inventory, lost, stopped, work};

/// Finds it in the inventory, shows what is done, asks, does it.
pub async fn run(global: &Global, mut session: Session, args: &ForgetArgs) -> Result<Exit> {
    let stop = session.stop()?;
    let locks = session.lock("forget", &stop).await?;
    let result = locked(global, &mut session, args, &stop).await;
    locks.finish(result).await
}

async fn locked(
    global: &Global,
    session: &mut Session,
    args: &ForgetArgs,
    stop: &Stop,
) -> Result<Exit> {
    session.leave_unreadable(global).await?;
    session.leave_other_ledgers(global).await?;
    let session = &*session;
    stopped::tell(global, session).await?;
    let (place, address) = find(session, &args.address).await?;
    let prepared = prepare(session, place, &address).await?;
    let problem = {
        let how = planning::How::text(planning::shown(true));
        let scene = Scene::default();
        planning::show(global, session, &prepared, &scene, how).unwrap_or(Exit::Success)
    };
    if !global.json {
        say_what_follows(session, place, &address).await?;
    }
    run::confirm(args.yes, &format!("Forget {address}?"))?;
    let began = session.clock.now();
    let journals = Journals::begin(session, "forget").await?;
    let means = (stop, global.json);
    let (verdicts, mut unwritten) =
        run::carry_out(session, &prepared, &journals, &(), Manner::THOROUGH, means).await;
    let outcomes = run::outcomes(&verdicts, &BTreeSet::new());
    journals.end(&outcomes, &mut unwritten).await;
    outcome::tell(session, &prepared, &verdicts, began, global.json);
    let exit = run::report(&verdicts, &outcomes, &BTreeSet::new(), stop, global.json).max(problem);
    Ok(exit.max(unwritten.report(global.json)))
}

/// Where the address stands: in an inventory, or where that is not whole, by its mark.
///
/// Errors: input, with the addresses that there are, when it is nowhere.
async fn find<'a>(session: &'a Session, wanted: &str) -> Result<(&'a Place, Address)> {
    let mut known = Vec::new();
    for place in &session.places {
        let inventory = place.ledger.inventory().await?;
        let mut addresses: Vec<Address> = inventory.items.keys().cloned().collect();
        if !inventory.whole {
            let (nothing, none) = (Graph::new(), Inventory::default());
            let marked = lost::find_marked(place, &nothing, &[], &none).await?;
            let marked = marked.orphans.iter().map(|it| it.node.address());
            addresses.extend(
                marked
                    .filter(|it| !inventory.items.contains_key(it))
                    .cloned(),
            );
        }
        for address in addresses {
            if address.to_string() == wanted {
                return Ok((place, address));
            }
            known.push(address.to_string());
        }
    }
    let environment = &session.loaded.environment;
    let message = format!("nothing of environment {environment} has the address `{wanted}`");
    let hint = match known.is_empty() {
        true => "there is nothing of this environment".to_owned(),
        false => format!("it has:\n{}", known.join("\n")),
    };
    Err(Error::input(message).hint(hint))
}

async fn prepare(session: &Session, place: &Place, address: &Address) -> Result<Prepared> {
    let known = inventory::known(place).await?;
    let past = known.past(address);
    let orphan = Orphan {
        node: place.existing(address, &past)?,
        needs: BTreeSet::new(),
        used_by: BTreeSet::new(),
        released: Some("it is forgotten: our mark is taken off and it stays".into()),
    };
    let subject = work::subject(session, Vec::new(), BTreeMap::new());
    Ok(plan::prepare(subject, Graph::new(), vec![orphan]).await)
}

/// What the next commands make of it, and what it needs that stays ours.
async fn say_what_follows(session: &Session, place: &Place, address: &Address) -> Result<()> {
    let environment = &session.loaded.environment;
    sayln!(
        "\nnote: while the manifest of {environment} has it, `apply` refuses to touch it: take it out there, or take it \
         back with `adopt = true`"
    );
    let inventory = place.ledger.inventory().await?;
    let needs = inventory.items.get(address).map(|item| &item.needs);
    let needs = needs.into_iter().flatten();
    let ours: Vec<String> = needs
        .filter(|need| inventory.items.contains_key(need))
        .map(Address::to_string)
        .collect();
    if !ours.is_empty() {
        let ours = ours.join(", ");
        sayln!(
            "note: it needs {ours}, which stay with {environment}: forget them too if it is to keep them"
        );
    }
    Ok(())
}
