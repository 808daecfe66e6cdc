//! A kind that an earlier version knew by another name is the same thing: nothing is deleted and
//! made again.

use deployer_core::address::Address;
use deployer_core::engine::Journal;
use deployer_core::journal::Event;
use deployer_core::ledger::{Inventory, Ledger};
use deployer_core::moved::Moved;
use deployer_core::node::Action;

use crate::fake::bench::{Bench, MOVED};
use crate::fake::wanted::Wanted;
use crate::replacing::{threads, tune, tuned};

fn former(address: &Address) -> Address {
    MOVED.formerly(address).next().unwrap_or(address.clone())
}

/// The ledger as a version reads and writes it that knew the kind by its former name alone.
fn older(bench: &Bench) -> Ledger {
    bench.places[0].ledger.clone().moved(Moved::default())
}

/// Has everything stand in the ledger as that version wrote it.
async fn write_as_before(bench: &Bench) {
    let older = older(bench);
    let items = older.inventory().await.unwrap().items.into_iter();
    let items = items.map(|(address, mut item)| {
        item.needs = item.needs.iter().map(former).collect();
        (former(&address), item)
    });
    let whole = true;
    let items = items.collect();
    older
        .write_inventory(&Inventory { items, whole })
        .await
        .unwrap();
    let left = older.left().await.unwrap().into_iter();
    let left = left.map(|(address, fields)| (former(&address), fields));
    older.write_left(left.collect()).await.unwrap();
}

async fn kinds(ledger: &Ledger) -> Vec<String> {
    let items = ledger.inventory().await.unwrap().items;
    items.into_keys().map(|it| it.kind).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_written_by_a_former_name_is_the_same_thing() {
    let (bench, name) = tuned().await;
    let ledger = &bench.places[0].ledger;
    write_as_before(&bench).await;
    assert!(kinds(&older(&bench)).await.contains(&"fake.knobs".into()));
    assert!(kinds(ledger).await.contains(&"fake.tuning".into()));

    let prepared = bench.plan(&Wanted::first()).await;
    assert!(prepared.plan.is_empty(), "{:#?}", prepared.plan.changes);
    assert!(prepared.gone.is_empty() && prepared.orphans.is_empty());
    bench.apply_well(&Wanted::first()).await;
    assert!(bench.aws().world().tunings.contains_key(&name));
}

#[tokio::test(start_paused = true)]
async fn it_is_replaced_and_deleted_by_todays_name_and_comes_back_by_neither() {
    let (bench, name) = tuned().await;
    write_as_before(&bench).await;
    tune(&bench, threads(8));
    let prepared = bench.plan(&Wanted::first()).await;
    let mut changes = prepared.plan.changes.iter();
    let tuning = changes.find(|it| it.address.kind == "fake.tuning").unwrap();
    assert_eq!(tuning.action, Action::Replace);
    assert_eq!(tuning.replaces, [bench.address("fake.tuning", &name)]);
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(bench.aws().world().tunings.len(), 1);

    let prepared = bench.plan_destroy().await;
    bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    assert!(bench.aws().world().tunings.is_empty());
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(inventory.items.is_empty(), "{inventory:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_and_what_the_last_apply_left_read_as_of_today() {
    let (bench, name) = tuned().await;
    let address = bench.address("fake.tuning", &name);
    let run = older(&bench).begin_run(bench.header()).await.unwrap();
    let started = Event::Started {
        address: former(&address),
        action: Action::Create,
        token: String::new(),
    };
    run.write(started).await.unwrap();
    let left = [(former(&address), Default::default())];
    older(&bench).write_left(left.into()).await.unwrap();

    let ledger = &bench.places[0].ledger;
    let last = ledger.last_run().await.unwrap().unwrap();
    assert_eq!(last.entries[0].event.address(), Some(&address));
    assert!(ledger.left().await.unwrap().contains_key(&address));
}
