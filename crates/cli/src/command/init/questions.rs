//! Asks a person what nothing tells, and offers what was found.

use std::io::{BufRead, Write};

use deployer_core::capability::{Candidate, Findings};
use deployer_core::error::{Error, Result};

use super::InitArgs;
use super::draft::{self, AwsDraft, Draft, GcpDraft};
use super::offers;
use super::survey::Told;
use crate::args::Which;

/// Who answers, line by line.
pub struct Person<R>(pub R);

impl<R: BufRead> Person<R> {
    /// What decides which clouds are asked, and where.
    ///
    /// Errors: input, when an answer is none of those that there are.
    pub fn where_to(&mut self, draft: &mut Draft, args: &InitArgs) -> Result<()> {
        sayln!("An empty answer takes what is in brackets, or leaves it for later.\n");
        if args.app.is_none() {
            draft.app = self.ask("app", Some(&draft.app))?.unwrap_or_default();
        }
        // The global option of the same name has a value where nobody gives one.
        if args.cloud.iter().all(|cloud| *cloud == Which::All) {
            let clouds = self.ask("clouds (aws, gcp or both)", Some("both"))?;
            match clouds.as_deref().unwrap_or_default() {
                "aws" => draft.gcp = None,
                "gcp" => draft.aws = None,
                "both" => {}
                other => {
                    return Err(Error::input(format!(
                        "`{other}` is neither aws, gcp nor both"
                    )));
                }
            }
        }
        if let Some(aws) = &mut draft.aws {
            let usual = aws.region.take().unwrap_or_else(|| "us-east-1".to_owned());
            aws.region = match &args.aws_region {
                Some(region) => Some(region.clone()),
                None => self.ask("AWS region", Some(&usual))?,
            };
        }
        if let Some(gcp) = &mut draft.gcp {
            if args.project.is_none() {
                let usual = gcp.project.take();
                gcp.project = self.ask("Google Cloud project", usual.as_deref())?;
            }
            let usual = gcp
                .region
                .take()
                .unwrap_or_else(|| "us-central1".to_owned());
            gcp.region = match &args.gcp_region {
                Some(region) => Some(region.clone()),
                None => self.ask("Google Cloud region", Some(&usual))?,
            };
        }
        Ok(())
    }

    /// Everything else.
    ///
    /// Errors: input, when an answer is none of those that there are.
    pub fn the_rest(&mut self, draft: &mut Draft, args: &InitArgs, told: &Told) -> Result<()> {
        if draft.port.is_none() {
            let port = self.ask("the container's port", None)?;
            let read = port.map(|port| {
                let wrong = format!("`{port}` is not a port");
                port.parse().map_err(|_| Error::input(wrong))
            });
            draft.port = read.transpose()?;
        }
        let image = draft::archive(&draft.app);
        self.known(&mut draft.image, "image", Some(&image))?;
        let nothing = Findings::default();
        if let Some(aws) = &mut draft.aws {
            self.aws(aws, args, told.aws.as_ref().unwrap_or(&nothing))?;
        }
        let needs_network = draft.database || draft.cache;
        if let Some(gcp) = &mut draft.gcp {
            self.gcp(
                gcp,
                args,
                told.gcp.as_ref().unwrap_or(&nothing),
                needs_network,
            )?;
        }
        Ok(())
    }

    fn aws(&mut self, aws: &mut AwsDraft, args: &InitArgs, found: &Findings) -> Result<()> {
        offers::account(aws, found);
        self.known(&mut aws.account, "AWS account", None)?;
        // App Runner takes no new customers: whoever has nothing there is not asked.
        if args.runtime.is_none() && !found.access_roles.is_empty() {
            let runtime = self.ask("runtime (ecs or app-runner)", Some("ecs"))?;
            aws.app_runner = match runtime.as_deref().unwrap_or_default() {
                "ecs" => false,
                "app-runner" => true,
                other => {
                    return Err(Error::input(format!(
                        "`{other}` is neither ecs nor app-runner"
                    )));
                }
            };
        }
        if aws.app_runner {
            let role = "role with which App Runner pulls the image";
            self.chosen(&mut aws.access_role, role, &found.access_roles)?;
            return Ok(());
        }
        self.chosen(&mut aws.cluster, "ECS cluster", &found.clusters)?;
        self.subnets(aws, found)?;
        let role = "role that pulls the image and reads the secrets";
        self.chosen(&mut aws.execution_role, role, &found.execution_roles)?;
        aws.remarks.task_role = offers::others(aws.task_role.as_deref(), &found.identities);
        Ok(())
    }

    fn subnets(&mut self, aws: &mut AwsDraft, found: &Findings) -> Result<()> {
        if !aws.subnets.is_empty() {
            return Ok(());
        }
        let networks = &found.networks;
        let choices = networks.iter().map(|network| {
            let groups = match network.security_groups.is_empty() {
                true => String::new(),
                false => format!(", {}", network.security_groups.join(" ")),
            };
            format!(
                "{}{groups}  ({})",
                network.subnets.join(" "),
                offers::where_seen(network)
            )
        });
        let choices: Vec<String> = choices.collect();
        let question = "subnets of the tasks";
        match self.choose(question, "subnets parted by spaces", &choices)? {
            Answer::Choice(index) => offers::take_network(aws, &networks[index]),
            Answer::Words(words) => {
                let words = words.split([' ', ',']).map(str::to_owned);
                aws.subnets = words.filter(|subnet| !subnet.is_empty()).collect();
            }
            Answer::Nothing => {}
        }
        Ok(())
    }

    fn gcp(
        &mut self,
        gcp: &mut GcpDraft,
        args: &InitArgs,
        found: &Findings,
        needs_network: bool,
    ) -> Result<()> {
        gcp.remarks.service_account =
            offers::others(gcp.service_account.as_deref(), &found.identities);
        if needs_network && gcp.network.is_none() {
            let networks = &found.networks;
            let choices = networks.iter().map(|network| {
                let subnets = network.subnets.join(" ");
                let name = network.name.as_deref().unwrap_or_default();
                format!("{name} {subnets}  ({})", network.seen)
            });
            let choices: Vec<String> = choices.collect();
            match self.choose("network of the app", "a network's name", &choices)? {
                Answer::Choice(index) => offers::take_way(gcp, &networks[index]),
                Answer::Words(network) => gcp.network = Some(network),
                Answer::Nothing => {}
            }
        }
        if !args.public {
            let answer = self.ask("may everyone call it on Google Cloud? (y or n)", Some("n"))?;
            gcp.public = matches!(answer.as_deref(), Some("y" | "Y" | "yes"));
        }
        Ok(())
    }

    /// One of what was found, or what a person types.
    fn chosen(
        &mut self,
        value: &mut Option<String>,
        question: &str,
        found: &[Candidate],
    ) -> Result<()> {
        if value.is_some() {
            return Ok(());
        }
        let shown: Vec<String> = found
            .iter()
            .map(|it| format!("{}  ({})", it.name, it.seen))
            .collect();
        *value = match self.choose(question, "another name", &shown)? {
            Answer::Choice(index) => Some(found[index].name.clone()),
            Answer::Words(name) => Some(name),
            Answer::Nothing => None,
        };
        Ok(())
    }

    /// Shows choices with numbers; an empty answer takes the first, which stands in brackets.
    fn choose(&mut self, question: &str, instead: &str, choices: &[String]) -> Result<Answer> {
        if choices.is_empty() {
            let asked = match instead {
                "another name" => question.to_owned(),
                other => format!("{question} ({other})"),
            };
            return Ok(self
                .ask(&asked, None)?
                .map_or(Answer::Nothing, Answer::Words));
        }
        sayln!("{question}:");
        for (index, choice) in choices.iter().enumerate() {
            sayln!("  {}  {choice}", index + 1);
        }
        // What it is stands before where it was seen.
        let (first, _) = choices[0].split_once("  (").unwrap_or((&choices[0], ""));
        let asked = format!("which, or {instead} [1: {first}]");
        let answer = self.ask(&asked, None)?;
        let answer = answer.unwrap_or_else(|| "1".to_owned());
        match answer.parse::<usize>() {
            Ok(number) if (1..=choices.len()).contains(&number) => Ok(Answer::Choice(number - 1)),
            // No name that is asked for is a number alone.
            Ok(number) => Err(Error::input(format!(
                "there is no {number}; the choices are 1 to {}",
                choices.len()
            ))),
            Err(_) => Ok(Answer::Words(answer)),
        }
    }

    fn known(
        &mut self,
        value: &mut Option<String>,
        question: &str,
        usual: Option<&str>,
    ) -> Result<()> {
        if value.is_none() {
            *value = self.ask(question, usual)?;
        }
        Ok(())
    }

    fn ask(&mut self, question: &str, usual: Option<&str>) -> Result<Option<String>> {
        match usual {
            Some(usual) => say!("{question} [{usual}]: "),
            None => say!("{question}: "),
        }
        // A prompt that cannot be shown is answered by whoever types anyway.
        std::io::stderr().flush().unwrap_or_default();
        let mut answer = String::new();
        self.0
            .read_line(&mut answer)
            .map_err(|error| Error::input("cannot read the answer").because(error))?;
        let answer = answer.trim();
        let given = (!answer.is_empty()).then(|| answer.to_owned());
        Ok(given.or_else(|| usual.map(str::to_owned)))
    }
}

/// What a person said of choices.
enum Answer {
    /// One of them.
    Choice(usize),
    /// Something else.
    Words(String),
    /// Nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use deployer_core::capability::{Caller, Network};

    use super::*;
    use crate::args::AwsRuntimeArg;

    fn found() -> Findings {
        let network = |subnet: &str, seen: &str| Network {
            name: Some("vpc-1".into()),
            seen: seen.into(),
            runs_services: true,
            subnets: vec![subnet.into()],
            security_groups: vec!["sg-1".into()],
            public_address: None,
        };
        Findings {
            caller: Some(Caller {
                account: "123456789012".into(),
                principal: "ana".into(),
            }),
            clusters: vec![
                Candidate::new("main", "12 services"),
                Candidate::new("batch", "1 service"),
            ],
            networks: vec![
                network("subnet-1", "of 2 services"),
                network("subnet-2", "of service web"),
            ],
            execution_roles: vec![Candidate::new("execution", "of 3 services")],
            access_roles: vec![Candidate::new("service-role/pull", "of service old")],
            ..Findings::default()
        }
    }

    fn asked(answers: &str, told: &Told, args: &InitArgs) -> Result<Draft> {
        let mut draft = Draft {
            app: "shop".into(),
            port: Some(8080),
            aws: Some(AwsDraft {
                app_runner: args.runtime == Some(AwsRuntimeArg::AppRunner),
                ..AwsDraft::default()
            }),
            gcp: Some(GcpDraft::default()),
            ..Draft::default()
        };
        let mut person = Person(Cursor::new(answers.to_owned()));
        person.where_to(&mut draft, args)?;
        person.the_rest(&mut draft, args, told)?;
        Ok(draft)
    }

    fn told() -> Told {
        Told {
            aws: Some(found()),
            gcp: None,
        }
    }

    #[test]
    fn empty_answers_take_what_most_services_use() {
        let draft = asked("\naws\n", &told(), &InitArgs::default()).unwrap();
        assert!(draft.gcp.is_none());
        let aws = draft.aws.as_ref().unwrap();
        assert_eq!(aws.account.as_deref(), Some("123456789012"));
        assert_eq!(aws.cluster.as_deref(), Some("main"));
        assert_eq!(aws.subnets, ["subnet-1"]);
        assert_eq!(aws.security_groups, ["sg-1"]);
        assert_eq!(aws.execution_role.as_deref(), Some("execution"));
        assert_eq!(draft::write(&draft).missing, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_an_empty_answer_takes_stands_in_brackets() {
        let output = crate::capture::Output::default();
        let asking = async { asked("\naws\n", &told(), &InitArgs::default()).map(|_| ()) };
        crate::capture::captured(output.clone(), asking)
            .await
            .unwrap();
        let said = output.text();
        for asks in [
            "app [shop]: ",
            "which, or another name [1: main]: ",
            "which, or subnets parted by spaces [1: subnet-1, sg-1]: ",
        ] {
            assert!(said.contains(asks), "`{asks}` in:\n{said}");
        }
    }

    #[test]
    fn a_number_chooses_and_a_name_replaces() {
        // App, clouds, region, image, runtime, cluster, subnets, role.
        let answers = "\naws\neu-west-1\n\n\n2\n2\nmine\n";
        let draft = asked(answers, &told(), &InitArgs::default()).unwrap();
        let aws = draft.aws.unwrap();
        assert_eq!(aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(aws.cluster.as_deref(), Some("batch"));
        assert_eq!(aws.subnets, ["subnet-2"]);
        assert_eq!(aws.execution_role.as_deref(), Some("mine"));
        let wrong = asked("\naws\n\n\n\n3\n", &told(), &InitArgs::default());
        assert!(wrong.unwrap_err().to_string().contains("1 to 2"));
    }

    #[test]
    fn who_has_app_runner_is_asked_for_the_runtime_and_then_for_what_it_needs_alone() {
        let answers = "\naws\n\n\napp-runner\n";
        let draft = asked(answers, &told(), &InitArgs::default()).unwrap();
        let aws = draft.aws.unwrap();
        assert!(aws.app_runner);
        assert_eq!(aws.access_role.as_deref(), Some("service-role/pull"));
        assert_eq!((aws.cluster, aws.subnets), (None, vec![]));
    }

    #[test]
    fn where_nothing_was_found_what_is_not_answered_stays_open() {
        let draft = asked("", &Told::default(), &InitArgs::default()).unwrap();
        let missing = draft::write(&draft).missing;
        assert!(missing.contains(&"targets.aws.subnets".to_owned()));
        assert!(missing.contains(&"targets.gcp.project".to_owned()));
        assert!(!missing.contains(&"targets.aws.region".to_owned()));
    }
}
