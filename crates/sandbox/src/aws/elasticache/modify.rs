//! ModifyReplicationGroup and the number of replicas: what takes effect at once, what is carried
//! out, what waits.

use serde_json::{Map, Value, json};

use super::rules::{
    Version, blank, check_availability, check_node_type, check_retention, check_security_groups,
    check_token,
};
use super::{Cache, ElastiCache, Group, NewTokens, invalid_combination};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, number, text, texts};

const NOT_HERE: [&str; 10] = [
    "ClusterMode",
    "Durability",
    "IpDiscovery",
    "LogDeliveryConfigurations",
    "NodeGroupId",
    "PrimaryClusterId",
    "RemoveUserGroups",
    "SnapshottingClusterId",
    "UserGroupIdsToAdd",
    "UserGroupIdsToRemove",
];

/// What takes effect with the answer.
const AT_ONCE: [&str; 3] = [
    "AutoMinorVersionUpgrade",
    "SnapshotRetentionLimit",
    "SnapshotWindow",
];

impl ElastiCache {
    pub(super) fn modify_group(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, group) = state.named(input)?;
        group.need_available("modify")?;
        check_values(group, input)?;
        let version = new_version(group, input)?;
        let tokens = group.new_tokens_of(input)?;
        let parameters = new_parameters(group, input, version)?;
        let (_, group) = state.named(input)?;
        let changes =
            parameters.is_some() || tokens.is_some() || group.is_changed_by(input, version);
        if !changes {
            // Terraform's provider takes this for success
            // (internal/service/elasticache/replication_group.go).
            return Err(invalid_combination("No modifications were requested"));
        }
        group.change_at_once(input);
        if let Some(name) = parameters {
            group.parameter_group = name;
        }
        group.accept(input, version, tokens);
        let (shown, unique) = (group.shown(), group.unique);
        drop(state);
        self.carry_out(id, unique);
        Ok(json!({ "ReplicationGroup": shown }))
    }

    pub(super) fn change_replicas(
        &self,
        input: &Value,
        operation: &str,
    ) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (id, group) = state.named(input)?;
        group.need_available("modify")?;
        if !flag(input, "ApplyImmediately") {
            return Err(invalid_combination("ApplyImmediately must be true."));
        }
        let nodes = 1 + number(input, "NewReplicaCount").ok_or_else(|| blank("NewReplicaCount"))?;
        let fits = match operation {
            "IncreaseReplicaCount" => nodes > group.nodes,
            _ => nodes < group.nodes,
        };
        if !fits {
            return Err(invalid_combination(format!(
                "NewReplicaCount does not fit {operation}: the replication group has {} replicas.",
                group.nodes - 1
            )));
        }
        let on = |name: &str| need(&group.value, name) == "enabled";
        check_availability(nodes, on("AutomaticFailover"), on("MultiAZ"))?;
        group.applying.insert("Nodes".into(), json!(nodes));
        let (shown, unique) = (group.shown(), group.unique);
        drop(state);
        self.carry_out(id, unique);
        Ok(json!({ "ReplicationGroup": shown }))
    }
}

fn check_values(group: &Group, input: &Value) -> Result<(), AwsError> {
    if let Some(name) = NOT_HERE.iter().find(|name| input.get(**name).is_some()) {
        return Err(invalid_combination(format!(
            "the sandbox cannot change a replication group's {name}"
        )));
    }
    check_transit(group, input)?;
    if let Some(class) = text(input, "CacheNodeType") {
        check_node_type(class)?;
    }
    if let Some(days) = number(input, "SnapshotRetentionLimit") {
        check_retention(days)?;
    }
    check_security_groups(&texts(input, "SecurityGroupIds"))?;
    let switch = |asked: &str, now: &str| {
        let asked = input.get(asked).and_then(Value::as_bool);
        asked.unwrap_or(need(&group.value, now) == "enabled")
    };
    check_availability(
        group.nodes,
        switch("AutomaticFailoverEnabled", "AutomaticFailover"),
        switch("MultiAZEnabled", "MultiAZ"),
    )
}

/// TLS comes in two steps: "Setting TransitEncryptionMode to required is a two-step process that
/// requires you to first set the TransitEncryptionMode to preferred" (API reference), from engine
/// version 7.0.5 on (user guide, "Enabling in-transit encryption").
fn check_transit(group: &Group, input: &Value) -> Result<(), AwsError> {
    let is_on = group.flag("TransitEncryptionEnabled");
    let asked = input
        .get("TransitEncryptionEnabled")
        .and_then(Value::as_bool);
    let mode = text(input, "TransitEncryptionMode");
    let refuse = |words: &str| Err(invalid_combination(words));
    match (is_on, asked, mode) {
        (true, Some(false), _) => refuse("the sandbox cannot take TLS off a replication group"),
        // Whatever it is asked to be (aws-controllers-k8s/community#2536).
        (true, Some(true), _) if group.flag("AuthTokenEnabled") => refuse(
            "Modification of transit encryption is not supported for access control enabled clusters.",
        ),
        (true, _, _) | (false, None | Some(false), None) => Ok(()),
        (false, Some(true), Some("preferred")) => {
            let numbers = group.version.split('.').filter_map(|it| it.parse().ok());
            if numbers.collect::<Vec<u32>>() < vec![7, 0, 5] {
                return refuse(
                    "In-transit encryption can be enabled on a running group from engine version 7.0.5 on.",
                );
            }
            match &group.cache {
                Cache::Running(_) => refuse("the sandbox cannot give TLS to a server that runs"),
                Cache::Starting | Cache::Absent(_) => Ok(()),
            }
        }
        (false, _, _) => refuse(
            "TransitEncryptionMode must be set to preferred to enable in-transit encryption on an existing cluster.",
        ),
    }
}

/// The version that the group is to become.
fn new_version(group: &Group, input: &Value) -> Result<Option<Version>, AwsError> {
    let old = need(&group.value, "Engine");
    let engine = text(input, "Engine").unwrap_or(old).to_lowercase();
    if engine != old && !(old == "redis" && engine == "valkey") {
        return Err(invalid_combination(format!(
            "A replication group of {old} cannot become one of {engine}."
        )));
    }
    if text(input, "EngineVersion").is_none() && engine == old {
        return Ok(None);
    }
    let new = Version::choose(&engine, text(input, "EngineVersion"))?;
    new.check_upgrade(&group.version)?;
    Ok(Some(new).filter(|new| new.full != group.version || engine != old))
}

/// The parameter group that the group is to have; another family of versions has one of its own.
fn new_parameters(
    group: &Group,
    input: &Value,
    version: Option<Version>,
) -> Result<Option<String>, AwsError> {
    let old = Version::choose(need(&group.value, "Engine"), Some(&group.version))?;
    let name = version.unwrap_or(old).parameter_group(input)?;
    Ok(Some(name).filter(|name| *name != group.parameter_group))
}

impl Group {
    pub(super) fn need_available(&self, what: &str) -> Result<(), AwsError> {
        match self.status() {
            "available" => Ok(()),
            status => Err(AwsError::new(
                "InvalidReplicationGroupState",
                format!(
                    "Cannot {what} replication group {}: its status is {status}, not available.",
                    self.id()
                ),
            )),
        }
    }

    /// What the AUTH strings are to become. A rotation keeps the last one beside the new one.
    fn new_tokens_of(&self, input: &Value) -> Result<Option<NewTokens>, AwsError> {
        let token = text(input, "AuthToken");
        let strategy = text(input, "AuthTokenUpdateStrategy");
        if token.is_none() && strategy.is_none() {
            return Ok(None);
        }
        if !self.flag("TransitEncryptionEnabled") {
            return Err(invalid_combination(
                "AUTH token modification is only supported when encryption-in-transit is enabled.",
            ));
        }
        if !flag(input, "ApplyImmediately") {
            return Err(invalid_combination(
                "AUTH token modification requires ApplyImmediately to be true.",
            ));
        }
        if let Some(token) = token {
            check_token(token)?;
        }
        let coming = match &self.new_tokens {
            Some(new) => (&new.tokens[..], new.required),
            None => (&self.tokens[..], self.token_required),
        };
        let changed = |status, tokens: Vec<String>, required| {
            Some(NewTokens {
                status,
                tokens,
                required,
            })
        };
        match (strategy.unwrap_or("ROTATE"), token) {
            ("DELETE", None) => Ok(changed("SETTING", Vec::new(), false)),
            ("DELETE", Some(_)) => Err(invalid_combination(
                "AuthToken cannot be specified with the update strategy DELETE.",
            )),
            // What is so already is no modification.
            ("SET", Some(token)) if coming == (&[token.to_owned()][..], true) => Ok(None),
            ("ROTATE", Some(token)) if coming.0.last().is_some_and(|it| it == token) => Ok(None),
            // "SET - allowed only after ROTATE" (API reference).
            ("SET", Some(_)) if !self.rotated => Err(invalid_combination(
                "The AUTH token update strategy SET is allowed only after ROTATE.",
            )),
            ("SET", Some(token)) => Ok(changed("SETTING", vec![token.to_owned()], true)),
            ("ROTATE", Some(token)) => {
                let mut tokens: Vec<String> = self.tokens.last().cloned().into_iter().collect();
                tokens.retain(|it| it != token);
                tokens.push(token.to_owned());
                // A group without AUTH takes every client until the token is set.
                Ok(changed("ROTATING", tokens, self.token_required))
            }
            (other, _) => Err(invalid_combination(format!(
                "AuthToken must be specified with the update strategy {other}."
            ))),
        }
    }

    /// What a member is, or is becoming.
    fn coming(&self, name: &str) -> &str {
        let applied = self.applying.get(name).and_then(Value::as_str);
        applied.unwrap_or_else(|| need(&self.value, name))
    }

    /// Whether a call asks for anything that is not so, nor is on its way.
    fn is_changed_by(&self, input: &Value, version: Option<Version>) -> bool {
        let differs = |name: &str, now: &str| {
            let asked = text(input, name);
            asked.is_some_and(|asked| asked != self.coming(now))
        };
        let version = version.filter(|new| self.coming("EngineVersion") != new.full);
        let given = |name: &&str| input.get(*name).is_some_and(|it| *it != self.value[*name]);
        let groups = texts(input, "SecurityGroupIds");
        let window = text(input, "PreferredMaintenanceWindow");
        version.is_some()
            || AT_ONCE.iter().any(given)
            || differs("ReplicationGroupDescription", "Description")
            || differs("CacheNodeType", "CacheNodeType")
            || differs("TransitEncryptionMode", "TransitEncryptionMode")
            || window.is_some_and(|window| window != self.maintenance_window)
            || !groups.is_empty() && groups != self.security_groups
            || self.switched(input).next().is_some()
            || flag(input, "ApplyImmediately") && !self.pending.is_empty()
    }

    /// Fail-over and zones, as far as they are to be other than they are.
    fn switched(&self, input: &Value) -> impl Iterator<Item = (&'static str, &'static str)> {
        let switches = [
            ("AutomaticFailoverEnabled", "AutomaticFailover"),
            ("MultiAZEnabled", "MultiAZ"),
        ];
        switches.into_iter().filter_map(|(name, called)| {
            let on = input.get(name).and_then(Value::as_bool)?;
            let word = if on { "enabled" } else { "disabled" };
            (word != self.coming(called)).then_some((called, word))
        })
    }

    fn change_at_once(&mut self, input: &Value) {
        for name in AT_ONCE {
            if let Some(value) = input.get(name) {
                self.value[name] = value.clone();
            }
        }
        if let Some(description) = text(input, "ReplicationGroupDescription") {
            self.value["Description"] = json!(description);
        }
        if let Some(window) = text(input, "PreferredMaintenanceWindow") {
            self.maintenance_window = window.to_owned();
        }
        let groups = texts(input, "SecurityGroupIds");
        if !groups.is_empty() {
            self.security_groups = groups;
        }
    }

    /// Notes what takes time.
    fn accept(&mut self, input: &Value, version: Option<Version>, tokens: Option<NewTokens>) {
        let mut asked = Map::new();
        if let Some(class) =
            text(input, "CacheNodeType").filter(|it| *it != need(&self.value, "CacheNodeType"))
        {
            asked.insert("CacheNodeType".into(), json!(class));
        }
        if let Some(version) = version {
            asked.insert("EngineVersion".into(), json!(version.full));
            if let Some(engine) = text(input, "Engine") {
                asked.insert("Engine".into(), json!(engine.to_lowercase()));
            }
        }
        for (called, word) in self.switched(input) {
            asked.insert(called.into(), json!(word));
        }
        let mode = text(input, "TransitEncryptionMode");
        if let Some(mode) = mode.filter(|it| *it != need(&self.value, "TransitEncryptionMode")) {
            asked.insert("TransitEncryptionMode".into(), json!(mode));
            asked.insert("TransitEncryptionEnabled".into(), json!(true));
        }
        match flag(input, "ApplyImmediately") {
            true => {
                self.applying.append(&mut self.pending);
                self.applying.append(&mut asked);
            }
            false => self.pending.append(&mut asked),
        }
        if tokens.is_some() {
            self.new_tokens = tokens;
        }
    }
}
