//! `deployer verify`: asks the services themselves whether they are what they should be.

use deployer_core::capability::LetIn;
use deployer_core::error::Result;
use deployer_core::report::{Event, Reporter};
use deployer_verify::{Finding, Outcome, Overall};

use crate::args::{Global, VerifyArgs};
use crate::exit::Exit;
use crate::session::{Session, header};
use crate::verification::{self, Verified, Wanted};
use crate::view;

/// The tables tell everything at the end.
struct Quiet;

impl Reporter for Quiet {
    fn event(&self, _: &Event<'_>) {}
}

/// Examines every service asked for on every target at once.
pub async fn run(global: &Global, session: Session, args: &VerifyArgs) -> Result<Exit> {
    let wanted = Wanted {
        places: session.places.iter().collect(),
        services: session.services(args.service.as_deref())?,
        patience: args.patience,
        let_in: LetIn::Manifest,
        admission: args.patience,
        timeout: args.timeout,
    };
    let verified = verification::examine(&session, &wanted, &Quiet).await?;
    if global.json {
        let documents: Vec<_> = verified.iter().map(verification::document).collect();
        view::json(&documents);
    } else {
        show(&session, &verified);
    }
    let worst = match verified.iter().any(|one| one.overall() == Overall::Failed) {
        true => Exit::VerificationFailed,
        false => Exit::Success,
    };
    Ok(worst.max(session.failure()))
}

fn show(session: &Session, verified: &[Verified]) {
    for place in &session.places {
        let header = header(place.cloud.target(), &place.caller);
        for line in view::whole_or_wrapped(&header) {
            outln!("{line}");
        }
        for one in verified.iter().filter(|one| one.cloud == place.name()) {
            let at = match &one.address {
                Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
                Err(why) => why.clone(),
            };
            for line in view::whole_or_wrapped(&format!("{}  {at}", one.service)) {
                outln!("  {line}");
            }
            // That there is no address stands above, once for all that need one.
            let is_told = |it: &&Finding| match (&one.address, &it.outcome) {
                (Err(told), Outcome::Skipped(why)) => told.starts_with(why.as_str()),
                _ => false,
            };
            let findings = one.findings.iter().filter(|it| !is_told(it));
            let findings: Vec<Finding> = findings.cloned().collect();
            out!("{}", view::findings::render(&findings));
            outln!("  {}\n", one.counts());
        }
    }
    let all = verified.iter().map(Verified::overall);
    if !verified.is_empty() && all.clone().all(|overall| overall == Overall::Skipped) {
        outln!("No service could be asked: nothing is verified.");
    } else if all.clone().any(|overall| overall == Overall::Failed) {
        outln!("Verification failed.");
    }
}
