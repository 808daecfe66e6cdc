//! Who calls, and whether the project is theirs to see.

use deployer_core::capability::Caller;
use deployer_core::error::{Error, ErrorKind, Result};

use crate::error::{self, is_absent, is_denied, reason};
use crate::paths::short;
use crate::project::Project;

/// Asks for the project: proof of credentials that work, in the right one.
///
/// Errors: credentials, when there are none that Google takes or the project is not theirs to see;
/// unavailable.
pub(crate) async fn caller(project: &Project) -> Result<Caller> {
    let id = &project.target.account;
    let principal = project.principal.clone();
    let caller = |principal| Caller {
        account: id.clone(),
        principal,
    };
    let asked = project.clients.projects.reading().await.get_project();
    let asked = asked.set_name(project.names.project()).send();
    let (outcome, ()) = futures::join!(asked, project.apis.look(project));
    let refusal = match outcome {
        Ok(there) => {
            // `projects/NUMBER`. Whoever asked first has set it.
            let number = short(&there.name).to_owned();
            project.names.learn(id, &number);
            let _ = project.number.set(number);
            let _ = project.is_alone.set(there.parent.is_empty());
            return Ok(caller(principal));
        }
        Err(refusal) => refusal,
    };
    if is_denied(&refusal) {
        // Where the Resource Manager API is off, nothing is said about the project itself.
        if reason(&refusal) == Some("SERVICE_DISABLED") {
            return Ok(caller(format!("{principal} (project not checked)")));
        }
        if reason(&refusal) == Some("USER_PROJECT_DENIED") {
            let action = format!("{principal} may not count calls against the quota project");
            return Err(error::failed(refusal, &action));
        }
        // Google says the same of projects that do not exist and of other people's.
        return Err(Error::new(
            ErrorKind::Credentials,
            format!("{principal} may not see project `{id}`, if there is one"),
        )
        .hint(
            "check `project` in [targets.gcp], or grant resourcemanager.projects.get (part of roles/run.admin)",
        ));
    }
    if is_absent(&refusal) {
        return Err(Error::new(
            ErrorKind::Credentials,
            format!("project `{id}` does not exist, or not for {principal}"),
        )
        .hint("`project` in [targets.gcp] is the project's id, not its name or number"));
    }
    Err(error::failed(
        refusal,
        &format!("cannot check project `{id}`"),
    ))
}
