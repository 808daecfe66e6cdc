//! A new roll-out of what serves, once, because a person asks for it: with the same image and the
//! same configuration.

use serde::{Deserialize, Serialize};

use crate::fields::{FieldChange, Fields};

/// The field of a service's node that differs while the roll-out is due.
pub const FIELD: &str = "redeploy";

/// What the field is to be. Nothing that is there ever says it.
const ASKED_FOR: &str = "asked for";

/// Why a change is there that has no other field.
pub const REASON: &str = "a new roll-out of what serves was asked for";

/// A roll-out that was asked for. It stands in the header of the run that makes it, so that a later
/// run knows what became of it when that one is killed: as long as the cloud shows no newer
/// roll-out, the call was never made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeploy {
    /// The cloud's id of the newest roll-out when it was asked for: a deployment on ECS, an
    /// operation on App Runner, a revision on Cloud Run.
    pub after: String,
    /// The number of the last release then; 0 where there was none.
    pub release: u64,
}

impl Redeploy {
    /// Whether it is still to be made, as the newest roll-out says. `None` where there is none.
    pub fn is_due(&self, newest: Option<&str>) -> bool {
        newest == Some(self.after.as_str())
    }
}

/// Adds the field to what is wanted of a service as long as a roll-out is due.
pub fn describe(fields: &mut Fields, asked: Option<&Redeploy>, newest: Option<&str>) {
    if asked.is_some_and(|asked| asked.is_due(newest)) {
        fields.set(FIELD, ASKED_FOR);
    }
}

/// Whether a roll-out that was asked for is among these changes.
pub fn is_among(changes: &[FieldChange]) -> bool {
    changes.iter().any(|change| change.field == FIELD)
}

/// Whether it is all that these changes are.
pub fn is_all_of(changes: &[FieldChange]) -> bool {
    !changes.is_empty() && changes.iter().all(|change| change.field == FIELD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_out_is_due_until_the_cloud_shows_a_newer_one() {
        let asked = Redeploy {
            after: "ecs-svc/1".into(),
            release: 3,
        };
        let wanted = |newest| {
            let mut fields = Fields::new();
            describe(&mut fields, Some(&asked), newest);
            Fields::new().changes_to(&fields)
        };
        assert!(is_all_of(&wanted(Some("ecs-svc/1"))));
        // Somebody's newer one starts what serves anew as well.
        assert!(wanted(Some("ecs-svc/2")).is_empty());
        assert!(!is_among(&wanted(None)), "nothing is there to roll out");
    }
}
