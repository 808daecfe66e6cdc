//! `deployer run`: a command of a person's own, once, with the image, variables and secrets of what
//! serves.
//!
//! What it prints is shown as it comes; its exit code becomes this program's. Nothing of the
//! service changes, so no lock is taken: an apply that goes on meanwhile is not disturbed. Only
//! where an execution needs something that stays (a job on Cloud Run) the first one makes that
//! under the lock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deployer_core::capability::one_off::{self, Exited, OneOffs, Order};
use deployer_core::capability::{ImageRef, LogLine, RecordedRelease, Revision, SecretVersion};
use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::history::{History, same_revision};
use deployer_core::jobs::{self, End, Within};
use deployer_core::ledger::Release;
use deployer_core::node::Watch;
use deployer_core::ours::{Began, Certain, Noted};
use serde_json::json;
use uuid::Uuid;

use crate::again::Again;
use crate::args::{Global, RunArgs, Which};
use crate::choosing;
use crate::command::logs::tell_unread;
use crate::exit::Exit;
use crate::mask::Mask;
use crate::pins;
use crate::session::{Place, Session};
use crate::system::{Stop, StopWords};
use crate::tail::{Seen, Sorted};
use crate::view::{self, foreign};

/// Between two looks at what it prints.
const LOOK: Duration = Duration::from_secs(2);
/// What a program prints last can be read some seconds after its end: so long nothing more may come
/// until all is taken to be there. That is ours; agents send what they have gathered every few
/// seconds.
const QUIET: Duration = Duration::from_secs(6);
/// How long the last lines are waited for at most.
const LONGEST_QUIET: Duration = Duration::from_secs(30);
/// How many lines one look takes at most.
const AT_ONCE: usize = 100_000;
/// How long one that is to stop may take: ECS and Cloud Run kill what does not end by itself within
/// minutes.
const STOPPING: Duration = Duration::from_secs(5 * 60);
/// How far the clock of the cloud, by which its lines are stamped, may be behind this one.
const CLOCKS: Duration = Duration::from_secs(5 * 60);

const WORDS: StopWords = StopWords {
    first: "stopping it: the cloud is asked to, and its end is awaited (again to leave now)",
    second: "leaving now; whether it has stopped is not known",
};

/// What the command runs with.
struct With {
    revision: Revision,
    image: Option<ImageRef>,
    /// `None` where no release is known to be that revision.
    release: Option<Release>,
}

/// Runs a command once and ends as it does; with `--detach` leaves once it is started.
pub async fn run(global: &Global, mut session: Session, args: &RunArgs) -> Result<Exit> {
    one_target(global, &session, args)?;
    let keys = session.services(Some(&args.service))?;
    let stop = session.stop_saying(WORDS)?;
    let service = keys.first().map_or("", String::as_str);
    let (mut with, mut jobs) = prepared(&session, service, args).await?;
    if hold(global, &mut session, jobs.as_ref(), &stop).await? == Lock::Taken {
        session.reopen().await?;
        (with, jobs) = prepared(&session, service, args).await?;
    }
    let place = only(&session)?;
    let pinned = place.cloud.services();
    let pinned = pinned.pinned(&spec_of(place, service)?.name, &with.revision);
    let mut pinned = pinned.await?;
    pinned.extend(jobs.given());
    let mask = mask_of(place, &pinned, args.unmasked).await;
    if stop.requested() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "stopped before it was started",
        ));
    }
    let running = Running {
        global,
        session: &session,
        place,
        service,
        jobs: jobs.as_ref(),
        mask,
    };
    running.start(&with, args, &stop).await
}

/// What it runs with, and what runs it.
async fn prepared(
    session: &Session,
    service: &str,
    args: &RunArgs,
) -> Result<(With, Box<dyn OneOffs>)> {
    let place = only(session)?;
    let spec = spec_of(place, service)?;
    let runtime = place.cloud.services();
    runtime.must_be_of(&place.owner(), &spec.name).await?;
    let with = with(place, service, args.release.as_deref()).await?;
    let recorded = with.release.as_ref().map(|release| RecordedRelease {
        spec: release.spec.clone(),
        image: release.image.clone(),
        secrets: release.secrets.clone(),
    });
    let order = Order {
        revision: with.revision.clone(),
        recorded: recorded.map(Box::new),
        command: args.command.clone(),
        timeout: args.timeout,
    };
    let jobs = runtime.one_offs(&place.env, spec, order).await?;
    Ok((with, jobs))
}

/// A command runs once, and so on one cloud.
fn one_target(global: &Global, session: &Session, args: &RunArgs) -> Result<()> {
    let targets = session.loaded.manifest.targets();
    if global.cloud != Which::All || targets.len() < 2 {
        return Ok(());
    }
    let commands = targets.iter().map(|cloud| {
        let again = Again::new(global, "run").with(&args.service).on(*cloud);
        format!("{again} -- ...")
    });
    let commands: Vec<String> = commands.collect();
    let message = "a command runs once, on one cloud, and the manifest has several";
    Err(Error::input(message).hint(format!("say which: {}", commands.join(", or "))))
}

fn only(session: &Session) -> Result<&Place> {
    let place = session.places.first();
    place.ok_or_else(|| Error::internal("no target is left to run it on"))
}

fn spec_of<'a>(place: &'a Place, service: &str) -> Result<&'a deployer_core::spec::ServiceSpec> {
    place.env.services.get(service).ok_or_else(|| {
        Error::input(format!(
            "there is no service `{service}` on {}",
            place.name()
        ))
    })
}

/// What the cloud says that serves, or the release that a person named.
async fn with(place: &Place, service: &str, release: Option<&str>) -> Result<With> {
    let releases = place.ledger.releases(service).await;
    if let Some(word) = release {
        let releases = releases?;
        let follows = pins::follows(place);
        let release = choosing::named(&History::new(&releases, &follows), word, place)?;
        return Ok(With {
            revision: release.revision.clone(),
            image: Some(release.image.clone()),
            release: Some(release),
        });
    }
    let spec = spec_of(place, service)?;
    let serving = place.serving(spec).await?;
    let serving = serving.ok_or_else(|| {
        let what = format!("nothing serves as `{service}` on {} yet", place.name());
        Error::new(ErrorKind::NotFound, what).hint("`deployer apply` makes it")
    })?;
    // While one takes over from another, what most requests meet.
    let most = serving.traffic.iter().max_by_key(|(_, share)| *share);
    let revision = most
        .map(|(revision, _)| revision)
        .or(serving.wanted.as_ref());
    let revision = revision.cloned().ok_or_else(|| {
        let what = format!("nothing serves as `{service}` on {}", place.name());
        Error::new(ErrorKind::NotFound, what).hint("name a release: `--release r3`")
    })?;
    // Without the ledger it runs all the same.
    let releases = releases.unwrap_or_default().into_iter().rev();
    let mut releases = releases.filter(|it| same_revision(&it.revision, &revision));
    Ok(With {
        image: serving.images.get(&revision.0).cloned(),
        release: releases.next(),
        revision,
    })
}

/// The values that are hidden in what it prints: those that are set now, and those that it is
/// given.
pub(super) async fn mask_of<'a>(
    place: &Place,
    pinned: impl IntoIterator<Item = (&'a String, &'a SecretVersion)>,
    unmasked: bool,
) -> Mask {
    if unmasked {
        return Mask::default();
    }
    let mask = Mask::of(place, pinned).await;
    if !mask.unread.is_empty() {
        tell_unread(place.name(), &mask);
    }
    mask
}

/// Whether the lock was held, and given back: from then on nothing calls that was opened before.
#[derive(PartialEq, Eq)]
enum Lock {
    NotTaken,
    Taken,
}

/// Makes what an execution needs and is used again by the next ones, unless it is there and the
/// inventory names it. Noted under the lock, before it is made.
async fn hold(
    global: &Global,
    session: &mut Session,
    jobs: &dyn OneOffs,
    stop: &Stop,
) -> Result<Lock> {
    let Some(address) = jobs.holder() else {
        return Ok(Lock::NotTaken);
    };
    let known = only(session)?.ledger.inventory().await?;
    let known = known.items.contains_key(&address);
    if jobs.has_holder().await? && known {
        return Ok(Lock::NotTaken);
    }
    session.leave_other_ledgers(global).await?;
    let locks = session.lock("run", stop).await?;
    // No run of its own: a rollback or an apply that was killed stays the last one, and is finished
    // by whoever types it again.
    let made = async {
        let ledger = &only(session)?.ledger;
        let noted = |certain| Noted {
            began: Began::Before,
            certain,
            ..Noted::default()
        };
        ledger.note_item(&address, &noted(Certain::NotYet)).await?;
        if !jobs.has_holder().await? {
            jobs.make_holder().await?;
        }
        ledger.note_item(&address, &noted(Certain::Now)).await
    };
    let made = made.await;
    let released = locks.release().await;
    made.and(released).map(|()| Lock::Taken)
}

/// Who asked it to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Nobody,
    Person,
    Time,
}

/// What it printed, as far as that came.
struct Printed {
    seen: Seen,
    sorted: Sorted,
}

struct Running<'a> {
    global: &'a Global,
    session: &'a Session,
    place: &'a Place,
    service: &'a str,
    jobs: &'a dyn OneOffs,
    mask: Mask,
}

impl Running<'_> {
    async fn start(&self, with: &With, args: &RunArgs, stop: &Stop) -> Result<Exit> {
        let key = Uuid::new_v4().simple().to_string();
        let what = format!("the one-off of `{}`", self.service);
        let began = self.session.clock.now();
        let execution = one_off::start(self.jobs, &key, &what).await?;
        self.tell_started(with, &execution.id);
        if args.detach {
            self.tell_detached(&execution.id, args);
            return Ok(Exit::Success);
        }
        let mut printed = Printed {
            seen: Seen::from(began.checked_sub(CLOCKS).unwrap_or(began)),
            sorted: Sorted::default(),
        };
        let (cut, end) = self.follow(&execution.id, &what, stop, &mut printed).await;
        self.drain(&execution.id, &mut printed).await;
        let end = end.map_err(|error| self.unknown(&execution.id, error.kind()).because(error))?;
        self.conclude(&execution.id, cut, end).await
    }

    fn tell_started(&self, with: &With, id: &str) {
        let (cloud, service) = (self.place.name(), self.service);
        let release = with.release.as_ref().map(|release| release.number);
        if self.global.json {
            view::json_line(&json!({
                "event": "one_off_started", "cloud": cloud, "service": service,
                "release": release, "revision": with.revision, "image": with.image,
                "execution": id, "look": self.jobs.look_command(id),
                "logs": self.jobs.logs_command(id), "stop": self.jobs.stop_command(id),
            }));
        } else if !self.global.quiet {
            let release = release.map_or_else(|| with.revision.0.clone(), |it| format!("r{it}"));
            let (release, name) = (foreign::one_line(&release), self.jobs.name(id));
            sayln!("{cloud} {service} {release}: {name}");
        }
    }

    /// Its name to standard output, for scripts; what to type to standard error.
    fn tell_detached(&self, id: &str, args: &RunArgs) {
        if self.global.json {
            return;
        }
        outln!("{id}");
        noteln!("  look:  {}", self.jobs.look_command(id));
        noteln!("  lines: {}", self.jobs.logs_command(id));
        noteln!("  stop:  {}", self.jobs.stop_command(id));
        if !self.jobs.ends_by_itself() {
            let after = crate::duration::show(args.timeout);
            noteln!("nothing stops it after {after}: there it has no time of its own");
        }
    }

    /// Shows what it prints until it is over, by itself or because it was asked to stop.
    async fn follow(
        &self,
        id: &str,
        what: &str,
        stop: &Stop,
        printed: &mut Printed,
    ) -> (Cut, Result<Option<End>>) {
        let states = States::new(self.global);
        let mut cut = Cut::Nobody;
        let mut time = self.jobs.longest();
        loop {
            let ended = jobs::ended(self.jobs, id, Within::FromNow(time), what, &states);
            tokio::pin!(ended);
            let over = loop {
                tokio::select! {
                    over = &mut ended => break Some(over),
                    () = stop.requested_at_last(), if cut == Cut::Nobody => break None,
                    () = self.session.clock.pause(LOOK) => {}
                }
                self.look(id, printed).await;
            };
            let why = match over {
                None => {
                    cut = Cut::Person;
                    "deployer: a person stopped it"
                }
                Some(Err(error)) if error.kind() == ErrorKind::TimedOut && cut == Cut::Nobody => {
                    cut = Cut::Time;
                    "deployer: its time is over"
                }
                Some(over) => return (cut, over),
            };
            if let Err(error) = self.jobs.stop(id, why).await {
                return (cut, Err(error));
            }
            time = STOPPING;
        }
    }

    /// Looks once at what it prints, and shows what is due of it; whether there was anything new.
    /// Lines that cannot be read keep nothing from its end.
    async fn look(&self, id: &str, printed: &mut Printed) -> bool {
        let since = printed.seen.next_since();
        let now = self.session.clock.elapsed();
        let fresh = match self.jobs.lines(id, since, AT_ONCE).await {
            Ok(lines) => printed.seen.fresh(lines),
            Err(error) => {
                tracing::debug!(error = %error.chain().join(": "), "lines cannot be read");
                Vec::new()
            }
        };
        let any = !fresh.is_empty();
        printed.sorted.add(fresh, now);
        self.show(printed.sorted.due(now));
        any
    }

    fn show(&self, lines: Vec<LogLine>) {
        for line in lines {
            let text = self.mask.hide(&line.text);
            if self.global.json {
                view::json_line(&json!({
                    "event": "one_off_line", "cloud": self.place.name(), "service": self.service,
                    "at": line.at, "text": text,
                }));
            } else if view::is_read_by_people() {
                outln!("{}", foreign::one_line(&text));
            } else {
                // For whoever takes it on: as it is.
                outln!("{text}");
            }
        }
    }

    /// Shows what comes late.
    async fn drain(&self, id: &str, printed: &mut Printed) {
        let clock = &self.session.clock;
        let began = clock.elapsed();
        let mut last = began;
        loop {
            if self.look(id, printed).await {
                last = clock.elapsed();
            }
            let now = clock.elapsed();
            let quiet = now.saturating_sub(last) >= QUIET;
            if quiet || now.saturating_sub(began) >= LONGEST_QUIET {
                return self.show(printed.sorted.rest());
            }
            clock.pause(LOOK).await;
        }
    }

    /// How this program ends.
    async fn conclude(&self, id: &str, cut: Cut, end: Option<End>) -> Result<Exit> {
        let name = self.jobs.name(id);
        let exited = match &end {
            Some(End::Succeeded) => Exited::With(0),
            Some(End::Failed(_)) => {
                let exited = self.jobs.exited(id).await;
                exited.map_err(|error| self.unknown(id, error.kind()).because(error))?
            }
            Some(End::NeverRan(_)) | None => Exited::Untold,
        };
        let why = match &end {
            Some(End::Failed(why) | End::NeverRan(why)) => self.jobs.reasons(id, why.clone()).await,
            Some(End::Succeeded) | None => String::new(),
        };
        self.tell_ended(id, exited, &why);
        // It came to its own end before it was stopped, or nobody knows whether it did.
        let cut = match &end {
            Some(End::Succeeded) | None => Cut::Nobody,
            Some(End::Failed(_) | End::NeverRan(_)) => cut,
        };
        match cut {
            Cut::Person => {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    format!("{name} was stopped"),
                ));
            }
            Cut::Time => return Ok(self.out_of_time(&name)),
            Cut::Nobody => {}
        }
        match (end, exited) {
            (Some(End::Succeeded), _) => Ok(Exit::Success),
            (Some(End::Failed(_)), Exited::OutOfTime) => Ok(self.out_of_time(&name)),
            (Some(End::Failed(_)), Exited::With(code)) if code != 0 => {
                Ok(Exit::Program(u8::try_from(code).unwrap_or(u8::MAX)))
            }
            (Some(End::NeverRan(_)), _) => Err(self.failed(format!("{name} never ran"), why)),
            (Some(End::Failed(_)), _) => {
                Err(self.failed(format!("{name} did not end by itself"), why))
            }
            (None, _) => {
                let unknown = self.unknown(id, ErrorKind::NotFound);
                Err(unknown.because("the cloud does not know it"))
            }
        }
    }

    /// The error for one that was started, and of which nobody can say more; of the kind of what
    /// kept its end from being known.
    fn unknown(&self, id: &str, kind: ErrorKind) -> Error {
        let message = format!("how {} ended is not known", self.jobs.name(id));
        let (look, stop) = (self.jobs.look_command(id), self.jobs.stop_command(id));
        Error::new(kind, message).hint(format!(
            "it ran, and may run still: look before you start it again: `{look}`; `{stop}` stops it"
        ))
    }

    fn failed(&self, what: String, why: String) -> Error {
        let error = Error::new(ErrorKind::Failed, what);
        let error = match self.jobs.hint(std::slice::from_ref(&why)) {
            Some(hint) => error.hint(hint),
            None => error,
        };
        error.because(why)
    }

    fn out_of_time(&self, name: &str) -> Exit {
        let error = Error::new(ErrorKind::TimedOut, format!("{name} was stopped"))
            .because("its time was over")
            .hint("`--timeout` gives it more");
        view::error::print(&error, self.global.json);
        Exit::OutOfTime
    }

    fn tell_ended(&self, id: &str, exited: Exited, why: &str) {
        let code = match exited {
            Exited::With(code) => Some(code),
            Exited::OutOfTime | Exited::Untold => None,
        };
        if self.global.json {
            view::json_line(&json!({
                "event": "one_off_ended", "cloud": self.place.name(), "service": self.service,
                "execution": id, "program_exit_code": code,
                "why": Some(why).filter(|why| !why.is_empty()),
            }));
        } else if let Some(code) = code.filter(|code| *code != 0) {
            noteln!("{}: exit code {code}", self.jobs.name(id));
        }
    }
}

/// Says where it stands, each change once.
struct States<'a> {
    global: &'a Global,
    last: Mutex<String>,
}

impl<'a> States<'a> {
    fn new(global: &'a Global) -> Self {
        Self {
            global,
            last: Mutex::default(),
        }
    }
}

impl Watch for States<'_> {
    fn note(&self, line: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == line || self.global.json || self.global.quiet {
            return;
        }
        line.clone_into(&mut last);
        sayln!("{}", foreign::one_line(line));
    }
}
