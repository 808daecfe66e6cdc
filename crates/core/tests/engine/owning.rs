//! Whose things are: what was there before us is released with what it needs, and a record is ours
//! while it says what we wrote.

use deployer_core::node::Action;

use crate::fake::bench::Bench;
use crate::fake::wanted::Wanted;

#[tokio::test(start_paused = true)]
async fn what_was_there_before_us_is_released_with_what_it_needs_and_the_rest_is_deleted() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let ledger = &bench.places[0].ledger;
    let mut inventory = ledger.inventory().await.unwrap();
    let service = bench.address("fake.service", "idp");
    let item = inventory.items.get_mut(&service).expect("it is known");
    item.adopted = true;
    let needs = item.needs.clone();
    assert!(!needs.is_empty());
    ledger.write_inventory(&inventory).await.unwrap();

    let prepared = bench.plan_destroy().await;
    for change in &prepared.plan.changes {
        let stays = change.address == service || needs.contains(&change.address);
        let expected = if stays {
            Action::Release
        } else {
            Action::Delete
        };
        assert_eq!(change.action, expected, "{change:#?}");
    }
    let counts = prepared.plan.counts();
    assert_eq!(counts.release, needs.len() + 1);
    let verdicts = bench.carry_out(&prepared, Default::default()).await;
    let verdicts = verdicts.unwrap();
    assert!(
        verdicts.values().all(|verdict| verdict.succeeded()),
        "{verdicts:#?}"
    );
    {
        let world = bench.aws().world();
        assert!(world.services.contains_key("idp"));
        assert!(world.released.contains("idp"), "{:?}", world.released);
    }
    assert!(ledger.inventory().await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_another_hand_changed_is_neither_changed_nor_deleted() {
    let bench = Bench::one();
    let wanted = Wanted {
        record: Some("lb-1"),
        ..Wanted::first()
    };
    bench.apply_well(&wanted).await;
    // A change of our own is ours all the same.
    let moved = Wanted {
        record: Some("lb-2"),
        ..wanted
    };
    bench.apply_well(&moved).await;
    let name = "idp.example.com".to_owned();
    bench
        .aws()
        .world()
        .records
        .insert(name.clone(), "theirs".into());
    let prepared = bench.plan(&moved).await;
    let blocked: Vec<String> = prepared
        .blocked
        .iter()
        .map(|it| it.error.to_string())
        .collect();
    assert!(
        blocked.iter().any(|it| it.contains("it leads to theirs")),
        "{blocked:?}"
    );
    let prepared = bench.plan_destroy().await;
    let notes = prepared.plan.notes.join("\n");
    assert!(notes.contains("it leads to theirs"), "{notes}");
    let carried = bench.carry_out(&prepared, Default::default()).await;
    assert!(carried.is_some());
    assert_eq!(bench.aws().world().records[&name], "theirs");
}
