//! What takes time: coming up, changing, going away. Nothing is held while waiting.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Cache, ElastiCache, Group, NewTokens};
use crate::aws::json::seconds;
use crate::backing::{BackingError, Redis, RedisSpec, SignedBy};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Until the vendor begins with what it has accepted; the group says `available` meanwhile.
const BEGIN: Duration = Duration::from_secs(5);
const CREATE: Duration = minutes(6);
const CHANGE: Duration = minutes(5);
const CHANGE_TOKEN: Duration = minutes(1);
const DELETE: Duration = minutes(4);

impl ElastiCache {
    /// Takes a new group to `available`.
    pub(super) fn bring_up(&self, id: String, unique: Uuid) {
        let service = self.clone();
        self.inner.host.background.spawn(async move {
            let waiting = service.inner.host.clock.sleep(CREATE);
            let (started, ()) = tokio::join!(service.start_server(&id, unique), waiting);
            let (cache, status) = match started {
                Ok(redis) => (Cache::Running(redis), "available"),
                Err(BackingError::NotInstalled(why)) => (Cache::Absent(why), "available"),
                Err(BackingError::Machine(why)) => {
                    tracing::warn!(%id, %why, "a cache did not start");
                    (Cache::Absent(why), "create-failed")
                }
            };
            let server = match &cache {
                Cache::Running(redis) => Some(redis.clone()),
                Cache::Starting | Cache::Absent(_) => None,
            };
            let put = service.update(&id, unique, |it| {
                it.cache = cache;
                it.set_status(status);
            });
            if let (None, Some(redis)) = (put, server) {
                redis.remove().await;
            }
        });
    }

    async fn start_server(&self, id: &str, unique: Uuid) -> Result<Redis, BackingError> {
        let gone = || BackingError::Machine("the replication group is gone".into());
        let known = self.update(id, unique, |it| {
            let tls = it.flag("TransitEncryptionEnabled");
            (it.port, tls, it.tokens.clone())
        });
        let (port, tls, passwords) = known.ok_or_else(gone)?;
        let spec = RedisSpec {
            name: format!("elasticache/{id}"),
            port: u16::try_from(port).unwrap_or(6379),
            tls,
            signed_by: SignedBy::Public,
            passwords,
        };
        self.inner.host.backing.start_redis(spec).await
    }

    /// Carries out what was accepted, some time later.
    pub(super) fn carry_out(&self, id: String, unique: Uuid) {
        let service = self.clone();
        self.inner.host.background.spawn(async move {
            let clock = service.inner.host.clock.clone();
            clock.sleep(BEGIN).await;
            let Some(duration) = service.update(&id, unique, Group::begin_changes).flatten() else {
                return;
            };
            clock.sleep(duration).await;
            let todo = service.update(&id, unique, |it| (it.server(), it.new_tokens.clone()));
            let Some((server, tokens)) = todo else {
                return;
            };
            if let (Some(redis), Some(new)) = (&server, &tokens) {
                report(&id, redis.set_passwords(new.accepted()).await);
            }
            let now = seconds(clock.now());
            service.update(&id, unique, |it| it.end_changes(&now));
        });
    }

    /// Removes a group that says `deleting`, with its server.
    pub(super) fn take_down(&self, id: String, unique: Uuid) {
        let service = self.clone();
        self.inner.host.background.spawn(async move {
            service.inner.host.clock.sleep(DELETE).await;
            // The server first: who sees that the group is gone must find nobody at its address.
            let server = {
                let state = service.lock();
                let group = state.groups.get(&id).filter(|it| it.unique == unique);
                group.and_then(Group::server)
            };
            if let Some(redis) = server {
                redis.remove().await;
            }
            let mut state = service.lock();
            if state.groups.get(&id).is_some_and(|it| it.unique == unique) {
                state.groups.remove(&id);
            }
        });
    }

    /// Runs `act` on a group unless it is gone, replaced by another of its name, or on its way out.
    pub(super) fn update<T>(
        &self,
        id: &str,
        unique: Uuid,
        act: impl FnOnce(&mut Group) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let group = state.groups.get_mut(id)?;
        (group.unique == unique && group.status() != "deleting").then(|| act(group))
    }
}

impl NewTokens {
    /// What the server is told: while a token is not required, every client is taken.
    fn accepted(&self) -> &[String] {
        match self.required {
            true => &self.tokens,
            false => &[],
        }
    }
}

impl Group {
    fn server(&self) -> Option<Redis> {
        match &self.cache {
            Cache::Running(redis) => Some(redis.clone()),
            Cache::Starting | Cache::Absent(_) => None,
        }
    }

    /// The time that the accepted changes ask for.
    fn begin_changes(&mut self) -> Option<Duration> {
        if self.status() != "available" || (self.applying.is_empty() && self.new_tokens.is_none()) {
            return None;
        }
        self.set_status("modifying");
        Some(if self.applying.is_empty() {
            CHANGE_TOKEN
        } else {
            CHANGE
        })
    }

    /// Puts the changes into effect.
    fn end_changes(&mut self, now: &Value) {
        for (name, value) in std::mem::take(&mut self.applying) {
            match name.as_str() {
                "EngineVersion" => self.version = value.as_str().unwrap_or_default().to_owned(),
                "Nodes" => self.nodes = value.as_i64().unwrap_or(self.nodes),
                _ => self.value[name] = value,
            }
        }
        if let Some(new) = self.new_tokens.take() {
            self.value["AuthTokenEnabled"] = json!(!new.tokens.is_empty());
            self.value["AuthTokenLastModifiedDate"] = now.clone();
            self.tokens = new.tokens;
            self.token_required = new.required;
            self.rotated = new.status == "ROTATING";
        }
        self.set_status("available");
    }
}

fn report(id: &str, done: Result<(), BackingError>) {
    if let Err(error) = done {
        tracing::warn!(%id, %error, "a cache did not follow its replication group");
    }
}
