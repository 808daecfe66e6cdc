//! What a plan is about by the manifest alone: names, and what is said of them. No ledger is asked.

use deployer_core::address::CloudName;
use deployer_core::spec::{CacheSpec, DatabaseSpec, EnvironmentSpec, ServiceSpec};
use deployer_manifest::catalogue;

use crate::facts::{self, ImageName};
use crate::scene::{Kind, Scene, Side};
use crate::session::Session;

/// The names alone of what a plan is about.
pub fn names(session: &Session) -> Scene {
    let mut scene = Scene::default();
    for place in &session.places {
        stores(&mut scene, &place.env, place.name());
        name_secrets(&mut scene, &place.env);
        for (key, spec) in &place.env.services {
            let side = Side {
                name: spec.name.clone(),
                ..Side::default()
            };
            scene.put(Kind::Service, key, place.name(), side);
        }
    }
    scene
}

pub(crate) fn name_secrets(scene: &mut Scene, env: &EnvironmentSpec) {
    let secrets = env.secrets.values();
    let named = secrets.map(|it| (it.name.clone(), it.key.clone()));
    scene.secrets.extend(named);
}

pub(crate) fn stores(scene: &mut Scene, env: &EnvironmentSpec, cloud: CloudName) {
    for database in env.databases.values() {
        let side = of_database(database, cloud);
        scene.put(Kind::Database, &database.key, cloud, side);
    }
    for cache in env.caches.values() {
        let side = of_cache(cache, cloud);
        scene.put(Kind::Cache, &cache.key, cloud, side);
    }
}

/// `image 1.0 (02dfa3628d5f), port 3000, 1 vCPU, 2 GiB, 1 instance`, and so on: what somebody
/// wrote, no default.
pub(crate) fn says(spec: &ServiceSpec, image: Option<ImageName>) -> Vec<String> {
    let said = |field: &str| !spec.unsaid.contains(field);
    let mut first = Vec::new();
    if let Some(image) = image {
        first.push(match &image.tag {
            Some(tag) => format!("image {tag} ({})", image.short()),
            None => format!("image {}", image.short()),
        });
    }
    first.push(format!("port {}", spec.port));
    if said("cpu") {
        first.push(spec.cpu.to_string());
    }
    if said("memory") {
        first.push(spec.memory.to_string());
    }
    if said("replicas") {
        let replicas = facts::replicas(spec.replicas);
        let word = if replicas == "1" {
            "instance"
        } else {
            "instances"
        };
        first.push(format!("{replicas} {word}"));
    }
    let mut lines = vec![first.join(", ")];
    let names = |word: &str, names: Vec<&String>| {
        let names = names.into_iter().map(String::as_str).collect::<Vec<_>>();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(" ")))
    };
    let variables = [
        names("env", spec.env.keys().collect()),
        names("secrets", spec.secrets.keys().collect()),
    ];
    let variables: Vec<String> = variables.into_iter().flatten().collect();
    if !variables.is_empty() {
        lines.push(variables.join(" · "));
    }
    if let Some(migrate) = &spec.migrate {
        lines.push(format!("migrates first: {}", migrate.program()));
    }
    if let Some(record) = &spec.record {
        lines.push(format!("name {}", record.name));
    }
    lines
}

fn zones(high_availability: bool) -> &'static str {
    match high_availability {
        true => "with a standby in another zone",
        false => "one zone",
    }
}

fn of_database(spec: &DatabaseSpec, cloud: CloudName) -> Side {
    let product = catalogue(cloud).database.product;
    let backups = match spec.backup_days {
        0 => "NO backups".to_owned(),
        1 => "daily backups for a day".to_owned(),
        days => format!("daily backups for {days} days"),
    };
    let size = format!(
        "{product} {}, {}",
        spec.class,
        zones(spec.high_availability)
    );
    Side {
        name: spec.name.clone(),
        says: vec![format!(
            "PostgreSQL {}, {} GiB, {backups}",
            spec.version, spec.storage_gib
        )],
        size: Some(size),
        ..Side::default()
    }
}

fn of_cache(spec: &CacheSpec, cloud: CloudName) -> Side {
    let product = catalogue(cloud).cache.product;
    let size = format!("{product} {}", spec.class);
    // Where sizes have no words.
    let size = size.trim_end();
    Side {
        name: spec.name.clone(),
        says: vec![format!("Redis {}, {} GiB", spec.version, spec.memory_gib)],
        size: Some(format!("{size}, {}", zones(spec.high_availability))),
        ..Side::default()
    }
}
