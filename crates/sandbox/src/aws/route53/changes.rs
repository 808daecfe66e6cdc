//! Change batches: made as a whole or not at all, pending until the name servers know them.

use std::sync::PoisonError;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::records::{RecordSet, Records, is_name};
use super::{Route53, Zone};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, random_hex, seconds, text};

/// Until every name server knows a change: "generally ... within 60 seconds" (API Reference,
/// "ChangeResourceRecordSets").
const PROPAGATION: Duration = Duration::from_secs(30);

/// "A request cannot contain more than 1,000 ResourceRecord elements. When the value of the Action
/// element is UPSERT, each ResourceRecord element is counted twice" (Developer Guide, "Quotas").
const MOST_RECORDS: usize = 1000;

impl Route53 {
    pub(super) fn change_records(&self, input: &Value) -> Result<Value, AwsError> {
        let batch = input.get("ChangeBatch").unwrap_or(&Value::Null);
        let changes = list(batch, "Changes")
            .iter()
            .map(|change| {
                let action = need(change, "Action");
                let set = change.get("ResourceRecordSet").unwrap_or(&Value::Null);
                RecordSet::read(set, action).map(|set| (action, set))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let id = self.with_zone(input, "HostedZoneId", |zone| {
            let (after, wrong) = changed(zone, &changes);
            if !wrong.is_empty() {
                // As the clients print it: one text in which every error of the batch stands.
                let message = format!("[{}]", wrong.join(", "));
                return Err(AwsError::new("InvalidChangeBatch", message));
            }
            zone.records = after;
            Ok(zone.id.clone())
        })?;
        let info = self.begin_change(&id, text(batch, "Comment"));
        Ok(json!({ "ChangeInfo": info }))
    }

    pub(super) fn get_change(&self, input: &Value) -> Result<Value, AwsError> {
        let id = need(input, "Id").trim_start_matches("/change/");
        let changes = self
            .inner
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match changes.get(id) {
            Some(info) => Ok(json!({ "ChangeInfo": info })),
            None => Err(AwsError::new(
                "NoSuchChange",
                format!("Could not find resource with ID: {id}"),
            )
            .with_status(StatusCode::NOT_FOUND)),
        }
    }

    /// Has the name servers answer later what the zone holds now. Returns the message `ChangeInfo`.
    pub(super) fn begin_change(&self, zone: &str, comment: Option<&str>) -> Value {
        let id = format!("C{}", random_hex(20).to_ascii_uppercase());
        let host = &self.inner.host;
        let mut info = json!({
            "Id": format!("/change/{id}"), "Status": "PENDING",
            "SubmittedAt": seconds(host.clock.now()),
        });
        if let Some(comment) = comment {
            info["Comment"] = json!(comment);
        }
        let lock = || {
            self.inner
                .changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        lock().insert(id.clone(), info.clone());
        let of = |zones: &[Zone]| {
            let found = zones.iter().find(|it| it.id == zone);
            found.map(|it| it.records.clone())
        };
        let records = of(&self.inner.zones.lock());
        let (service, zone, clock) = (self.clone(), zone.to_owned(), host.clock.clone());
        host.background.spawn(async move {
            clock.sleep(PROPAGATION).await;
            let mut zones = service.inner.zones.lock();
            let found = zones.iter_mut().find(|it| it.id == zone);
            if let (Some(found), Some(records)) = (found, records) {
                found.served = records;
            }
            drop(zones);
            let changes = service.inner.changes.lock();
            if let Some(info) = changes.unwrap_or_else(PoisonError::into_inner).get_mut(&id) {
                info["Status"] = json!("INSYNC");
            }
        });
        info
    }
}

/// What a zone's records are after a batch, and everything that is wrong with the batch. Changes
/// are looked at in their order: a CNAME does not come before what it conflicts with is deleted
/// (cookpad/roadworker#89).
fn changed(zone: &Zone, changes: &[(&str, RecordSet)]) -> (Records, Vec<String>) {
    let mut after = zone.records.clone();
    let mut wrong = Vec::new();
    let count = |(action, set): &(&str, RecordSet)| match *action {
        "UPSERT" => 2 * set.values().len(),
        _ => set.values().len(),
    };
    if changes.iter().map(count).sum::<usize>() > MOST_RECORDS {
        wrong.push(format!(
            "Number of records limit of {MOST_RECORDS} exceeded."
        ));
    }
    for (action, set) in changes {
        let found = match *action {
            "DELETE" => deletion(zone, &after, set),
            _ => addition(zone, &after, set, *action == "CREATE"),
        };
        match (found.is_empty(), *action) {
            (true, "DELETE") => after.remove(set),
            (true, _) => after.put(set.clone()),
            (false, _) => wrong.extend(found),
        }
    }
    (after, wrong)
}

/// A record set as refusals name it.
fn called(set: &RecordSet) -> String {
    let identifier = match set.identifier() {
        Some(identifier) => format!(", set-identifier='{identifier}'"),
        None => String::new(),
    };
    format!("[name='{}', type='{}'{identifier}]", set.name, set.kind)
}

/// What is wrong with a deletion. The words: hashicorp/terraform#18509, and the regular expression
/// in `cf-custom-resources/lib/custom-domain-app-runner.js` of aws/copilot-cli.
fn deletion(zone: &Zone, records: &Records, set: &RecordSet) -> Vec<String> {
    let tried = format!("Tried to delete resource record set {}", called(set));
    let Some(there) = records.same(set) else {
        return vec![format!("{tried} but it was not found")];
    };
    if !there.says(set) {
        return vec![format!(
            "{tried} but the values provided do not match the current values"
        )];
    }
    // From memory.
    match (set.name == zone.name, set.kind.as_str()) {
        (true, "SOA") => vec!["A HostedZone must contain exactly one SOA record.".to_owned()],
        (true, "NS") => {
            vec!["A HostedZone must contain at least one NS record for the zone itself.".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// What is wrong with a record set that is to be there. The words: aws/aws-sdk-java#1996,
/// cloudfoundry/bosh-bootloader#310, RJPearson94/terraform-aws-open-next#24,
/// widdix/node-route53-updater#3, harmony-one/harmony-ops#491 (of aliases, and that a batch's
/// errors come as one list).
fn addition(zone: &Zone, records: &Records, set: &RecordSet, is_new: bool) -> Vec<String> {
    let (name, kind, domain) = (&set.name, &set.kind, &zone.name);
    let mut wrong = Vec::new();
    if !zone.has(name) || !is_name(name) {
        wrong.push(format!(
            "RRSet with DNS name {name} is not permitted in zone {domain}"
        ));
        return wrong;
    }
    if is_new && records.same(set).is_some() {
        wrong.push(format!(
            "Tried to create resource record set {} but it already exists",
            called(set)
        ));
    }
    wrong.extend(set.wrong_values());
    let rrset = format!("RRSet of type {kind} with DNS name {name} is not permitted");
    let mut others = records.named(name).filter(|it| it.kind != *kind);
    if kind == "CNAME" && name == domain {
        wrong.push(format!("{rrset} at apex in zone {domain}"));
    } else if kind == "CNAME" && others.next().is_some() {
        wrong.push(format!(
            "{rrset} as it conflicts with other records with the same DNS name in zone {domain}"
        ));
    } else if kind != "CNAME" && others.any(|it| it.kind == "CNAME") {
        wrong.push(format!(
            "{rrset} because a conflicting RRSet of type CNAME with the same DNS name already \
             exists in zone {domain}"
        ));
    }
    let identifier = set.identifier();
    let mut alike = records.named(name).filter(|it| it.kind == *kind);
    if alike.any(|it| it.identifier().is_some() != identifier.is_some()) {
        let identifier = identifier.unwrap_or("null");
        wrong.push(format!(
            "RRSet with DNS name {name}, type {kind}, SetIdentifier {identifier} cannot be created \
             as other RRSets exist with the same name and type."
        ));
    }
    if let Some(target) = set.alias() {
        let tried = format!(
            "Tried to create an alias that targets {}, type {kind} in zone {}",
            target.name, target.zone
        );
        let is_own = target.zone == zone.id;
        if !target.is_within() || (is_own && !zone.has(&target.name)) {
            wrong.push(format!(
                "{tried}, but the alias target name does not lie within the target zone"
            ));
        }
        let is_missing = is_own && records.simple(&target.name, kind).is_none();
        if is_missing || target.is_elsewhere() {
            wrong.push(format!("{tried}, but that target was not found"));
        }
    }
    wrong
}
