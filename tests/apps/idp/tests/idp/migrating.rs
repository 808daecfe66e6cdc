//! Migrating: once, in order, from several processes at a time.

use std::thread;

use crate::database::Database;
use crate::process::{migrate, release};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_migrations_at_once_apply_each_file_once() {
    let test = "four_migrations_at_once_apply_each_file_once";
    let Some(database) = Database::create(test).await else {
        return;
    };
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let url = database.url.clone();
            thread::spawn(move || migrate(&release("1.0.0"), &url))
        })
        .collect();
    for run in runs {
        let output = run.join().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    assert_eq!(
        database.number("SELECT count(*) FROM migration_runs").await,
        4
    );
    assert_eq!(
        database
            .number("SELECT sum(applied) FROM migration_runs")
            .await,
        2
    );
    assert_eq!(
        database
            .number("SELECT count(*) FROM schema_migrations")
            .await,
        2
    );
}

#[tokio::test]
async fn a_later_release_adds_only_what_is_new_and_an_older_one_adds_nothing() {
    let test = "a_later_release_adds_only_what_is_new_and_an_older_one_adds_nothing";
    let Some(database) = Database::create(test).await else {
        return;
    };
    for (version, applied) in [("1.0.0", 2), ("2.0.0", 1), ("1.0.0", 0)] {
        assert!(migrate(&release(version), &database.url).status.success());
        let last = "SELECT applied::bigint FROM migration_runs ORDER BY id DESC LIMIT 1";
        assert_eq!(database.number(last).await, applied, "{version}");
    }
}

#[tokio::test]
async fn changed_history_is_refused() {
    let test = "changed_history_is_refused";
    let Some(database) = Database::create(test).await else {
        return;
    };
    assert!(migrate(&release("1.0.0"), &database.url).status.success());

    let changed = tempfile::tempdir().unwrap();
    let migrations = changed.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::copy(
        release("1.0.0").join("release.json"),
        changed.path().join("release.json"),
    )
    .unwrap();
    std::fs::write(
        migrations.join("0001_clients.sql"),
        "CREATE TABLE others ()",
    )
    .unwrap();
    let output = migrate(changed.path(), &database.url);
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("`0001_clients` was changed"), "{said}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind_and_is_counted() {
    let test = "a_migration_that_fails_leaves_nothing_behind_and_is_counted";
    let Some(database) = Database::create(test).await else {
        return;
    };
    let broken = tempfile::tempdir().unwrap();
    let migrations = broken.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::write(
        broken.path().join("release.json"),
        r#"{ "version": "9", "fault": null }"#,
    )
    .unwrap();
    let sql = "CREATE TABLE half (); SELECT no_such_function()";
    std::fs::write(migrations.join("0001_broken.sql"), sql).unwrap();
    assert_eq!(
        migrate(broken.path(), &database.url).status.code(),
        Some(65)
    );
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'half'";
    assert_eq!(database.number(tables).await, 0);
    assert_eq!(
        database.number("SELECT count(*) FROM migration_runs").await,
        1
    );
}
