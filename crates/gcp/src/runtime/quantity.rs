//! CPU and memory as Kubernetes spells them; pure.

use deployer_core::spec::{MebiBytes, MilliCpu};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A CPU quantity as it is sent.
pub(crate) fn cpu_text(cpu: MilliCpu) -> String {
    if cpu.0.is_multiple_of(1000) {
        (cpu.0 / 1000).to_string()
    } else {
        format!("{}m", cpu.0)
    }
}

/// A memory quantity as it is sent.
pub(crate) fn memory_text(memory: MebiBytes) -> String {
    format!("{}Mi", memory.0)
}

/// `1`, `0.5`, `500m`. `None` when it cannot be read.
fn cpu(text: &str) -> Option<MilliCpu> {
    let milli = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok(),
        None => text.parse::<f64>().ok().map(|cpus| cpus * 1000.0),
    };
    let milli = milli.filter(|milli| *milli >= 0.0);
    milli.map(|milli| MilliCpu(milli.round() as u32))
}

/// `512Mi`, `1Gi`, `500M`, bytes: in MiB. `None` when it cannot be read.
fn memory(text: &str) -> Option<f64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" => 1.0,
        "k" => 1e3,
        "Ki" => 1024.0,
        "M" => 1e6,
        "Mi" => MEBIBYTE,
        "G" => 1e9,
        "Gi" => 1024.0 * MEBIBYTE,
        _ => return None,
    };
    let number = number.parse::<f64>().ok()?;
    Some(number * unit / MEBIBYTE)
}

/// A CPU quantity for people. What cannot be read is shown as it is.
pub(crate) fn read_cpu(text: &str) -> String {
    cpu(text).map_or_else(|| text.to_owned(), |cpu| cpu.to_string())
}

/// A memory quantity for people. What cannot be read is shown as it is.
pub(crate) fn read_memory(text: &str) -> String {
    match memory(text) {
        Some(mebibytes) if mebibytes.fract() == 0.0 => MebiBytes(mebibytes as u32).to_string(),
        _ => text.to_owned(),
    }
}

/// That much CPU, or the least where it is less. What cannot be read stays.
pub(crate) fn cpu_of_at_least(text: &str, least: MilliCpu) -> String {
    match cpu(text) {
        Some(asked) if asked < least => cpu_text(least),
        Some(_) | None => text.to_owned(),
    }
}

/// The same of memory.
pub(crate) fn memory_of_at_least(text: &str, least: MebiBytes) -> String {
    match memory(text) {
        Some(asked) if asked < f64::from(least.0) => memory_text(least),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_equal_however_they_are_spelt() {
        for text in ["1", "1000m", "1.0"] {
            assert_eq!(read_cpu(text), "1 vCPU");
        }
        assert_eq!(read_cpu("0.5"), read_cpu("500m"));
        for text in ["512Mi", "0.5Gi", "536870912", "524288Ki"] {
            assert_eq!(read_memory(text), "512 MiB");
        }
        assert_eq!(read_memory("500M"), "500M");
        assert_eq!(read_memory("lots"), "lots");
    }

    #[test]
    fn less_than_the_least_is_raised_and_more_stays_as_it_is_spelt() {
        let cpu = |text| cpu_of_at_least(text, MilliCpu(1000));
        assert_eq!([cpu("0.5"), cpu("2.0"), cpu("x")], ["1", "2.0", "x"]);
        let memory = |text| memory_of_at_least(text, MebiBytes(512));
        assert_eq!([memory("500M"), memory("1Gi")], ["512Mi", "1Gi"]);
    }
}
