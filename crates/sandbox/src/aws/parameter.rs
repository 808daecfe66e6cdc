//! A parameter of an engine: what it may be, and when it takes effect.

/// One parameter as the service describes it.
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// `integer`, `boolean`, `string`, ...
    pub kind: &'static str,
    /// Ranges or words, as the service writes them; empty when anything goes.
    pub allowed: &'static str,
    /// Whether it can take effect without a restart.
    pub dynamic: bool,
    /// Whether customers may change it.
    pub modifiable: bool,
    /// Whether the real server is given what is set.
    pub reaches_server: bool,
    /// What it is for.
    pub description: &'static str,
    /// What the service sets; `None` leaves it to the engine.
    pub default: Option<&'static str>,
}

impl Parameter {
    /// Whether a value fits.
    pub fn allows(&self, value: &str) -> bool {
        // A formula such as `{DBInstanceClassMemory/32768}` is computed by the vendor.
        if self.allowed.is_empty() || (self.kind == "integer" && value.starts_with('{')) {
            return true;
        }
        let mut values = match self.kind {
            // Several of a list may be given.
            "list" => value.split(',').map(str::trim).collect(),
            _ => vec![value],
        };
        values.retain(|value| !value.is_empty());
        values.iter().all(|value| self.allows_one(value))
    }

    fn allows_one(&self, value: &str) -> bool {
        let number = value.parse::<i64>().ok();
        self.allowed.split(',').any(|choice| {
            // A range may begin below zero.
            let dash = choice
                .get(1..)
                .and_then(|rest| rest.find('-'))
                .map(|at| at + 1);
            let range = dash.and_then(|at| {
                Some((
                    choice[..at].parse::<i64>().ok()?,
                    choice[at + 1..].parse::<i64>().ok()?,
                ))
            });
            match (range, number) {
                (Some((low, high)), Some(number)) => (low..=high).contains(&number),
                _ => choice == value,
            }
        })
    }
}
