//! The end of an apply: what serves, where, and the way back; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer_core::address::CloudName;

use crate::duration;
use crate::view::foreign;
use crate::view::plan::list;

/// A release that a run made.
#[derive(Clone, Debug)]
pub struct Served {
    pub cloud: CloudName,
    pub service: String,
    pub number: u64,
    /// Whether its roll-out was not waited for.
    pub detached: bool,
    /// Whether it failed its verification.
    pub rejected: bool,
    pub url: Option<String>,
}

/// More services than these are counted, and told one a line.
const NAMED: usize = 3;

/// What came of it, with an empty line before. `back` is the command that goes back, and where to.
pub fn render(
    (app, environment): (&str, &str),
    served: &[Served],
    back: Option<&str>,
    took: Duration,
    width: usize,
) -> String {
    let mut by_service: BTreeMap<&str, Vec<&Served>> = BTreeMap::new();
    for one in served {
        by_service.entry(&one.service).or_default().push(one);
    }
    let phrases: Vec<String> = by_service
        .iter()
        .map(|(service, on)| format!("{service} {}", phrase(on)))
        .collect();
    let many = by_service.len() > NAMED;
    let title = match many {
        true => format!(
            "{app} · {environment}: {} services have a new release",
            by_service.len()
        ),
        false => format!("{app} · {environment}: {}", phrases.join("; ")),
    };
    let took = duration::show(took);
    let used = title.chars().count() + took.chars().count();
    let gap = width.saturating_sub(used).max(2);
    let mut text = format!("\n{title}{:gap$}{took}\n", "");
    for ((service, on), phrase) in by_service.iter().zip(&phrases) {
        let mut urls: Vec<(CloudName, &String)> = on
            .iter()
            .filter_map(|one| Some((one.cloud, one.url.as_ref()?)))
            .collect();
        urls.sort_unstable();
        if many {
            let urls = urls.iter().map(|(_, url)| foreign::one_line(url));
            let urls: Vec<String> = urls.collect();
            let line = format!("  {phrase}  {}", urls.join("  "));
            text.push_str(&format!("{}\n", line.trim_end()));
            continue;
        }
        let name = if by_service.len() > 1 { service } else { "" };
        for (cloud, url) in urls {
            let label = format!("{cloud} {name}");
            let url = foreign::one_line(url);
            text.push_str(&format!("  {:<5} {url}\n", label.trim_end()));
        }
    }
    if let Some(back) = back {
        text.push_str(&format!("  back: {back}\n"));
    }
    text
}

/// `r3 serves on aws and gcp`, or what is different on each.
fn phrase(on: &[&Served]) -> String {
    let mut groups: Vec<((u64, &str), Vec<&str>)> = Vec::new();
    for one in on {
        let cloud = one.cloud.as_str();
        let how = match (one.detached, one.rejected) {
            (true, _) => "is rolling out",
            (false, true) => "failed its verification and serves",
            (false, false) => "serves",
        };
        let said = (one.number, how);
        match groups.iter_mut().find(|(it, _)| *it == said) {
            Some((_, clouds)) => clouds.push(cloud),
            None => groups.push((said, vec![cloud])),
        }
    }
    let words: Vec<String> = groups
        .iter()
        .map(|((number, how), clouds)| {
            let mut clouds = clouds.clone();
            clouds.sort_unstable();
            format!("r{number} {how} on {}", list(&clouds))
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(cloud: CloudName, service: &str, number: u64) -> Served {
        Served {
            cloud,
            service: service.into(),
            number,
            detached: false,
            rejected: false,
            url: (cloud == CloudName::Gcp).then(|| "https://web.a.run.app".into()),
        }
    }

    #[test]
    fn one_release_on_both_clouds_is_one_phrase() {
        let both = [
            served(CloudName::Gcp, "web", 3),
            served(CloudName::Aws, "web", 3),
        ];
        let back = Some("deployer rollback web    (to r2, image 1.0)");
        let took = Duration::from_secs(108);
        let text = render(("shop", "staging"), &both, back, took, 80);
        insta::assert_snapshot!(text, @r"
    shop · staging: web r3 serves on aws and gcp                               1m48s
      gcp   https://web.a.run.app
      back: deployer rollback web    (to r2, image 1.0)
    ");
    }

    #[test]
    fn what_failed_its_verification_is_never_said_to_serve_alone() {
        let mut both = [
            served(CloudName::Aws, "web", 3),
            served(CloudName::Gcp, "web", 3),
        ];
        both[0].rejected = true;
        let text = render(("shop", "staging"), &both, None, Duration::ZERO, 80);
        let says = "r3 failed its verification and serves on aws, r3 serves on gcp";
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn what_is_different_on_each_cloud_is_said_of_each() {
        let mut both = [
            served(CloudName::Aws, "web", 3),
            served(CloudName::Gcp, "web", 2),
        ];
        both[0].detached = true;
        let text = render(("shop", "staging"), &both, None, Duration::ZERO, 80);
        assert!(
            text.contains("web r3 is rolling out on aws, r2 serves on gcp"),
            "{text}"
        );
    }

    #[test]
    fn thirty_services_have_a_line_each() {
        let all: Vec<Served> = (0..30)
            .map(|it| Served {
                url: None,
                ..served(CloudName::Aws, &format!("svc-{it:02}"), 1)
            })
            .collect();
        let text = render(("mono", "staging"), &all, None, Duration::from_secs(24), 80);
        assert_eq!(text.lines().count(), 32, "{text}");
        assert!(text.contains("30 services have a new release"), "{text}");
    }
}
