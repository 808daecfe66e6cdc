//! What answers in the place of containers where the disturbed command asks them.

use crate::in_process::stage::Stage;
use crate::web::Web;

/// What answers at the service's name and at its candidate's own.
pub struct Asked {
    _public: Web,
    _first: Web,
    second: Web,
}

const GREETING: &str = "/greeting";

impl Asked {
    /// From now on a check is asked of what serves on Cloud Run, and of a candidate for it.
    pub async fn set(stage: &Stage) -> Self {
        let (public, first, second) =
            tokio::join!(Web::serve(answer), Web::serve(answer), Web::serve(answer));
        let digest = stage.digest(2);
        let (of_first, of_second) = (first.answers(), second.answers());
        stage.behave(move |started| match started.digest == digest {
            true => of_second(started),
            false => of_first(started),
        });
        let overlay = format!(
            "[[services.idp.verify.checks]]\nname = \"greeting\"\npath = \"{GREETING}\"\n\n\
             [targets.gcp.services.idp]\nurl = \"http://{}\"\n",
            public.host()
        );
        stage.file("deployer.test.toml", &overlay);
        Self {
            _public: public,
            _first: first,
            second,
        }
    }

    /// Whether the second version was asked as a candidate, by an address of its own.
    pub fn has_candidate_been_asked(&self) -> bool {
        self.second.asked().iter().any(|path| path == GREETING)
    }
}

fn answer(path: &str) -> (u16, &'static str) {
    match path {
        "/health" => (200, "{}"),
        GREETING => (200, "good evening"),
        _ => (404, ""),
    }
}
