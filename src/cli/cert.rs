//! `cert`: a certificate that is there and valid for long enough. Its ARN is the result.

mod status;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::CommandContext;
use crate::bake::failed;
use crate::cert::{CertName, Certificates, Domain, Ensured, MOST_DOMAINS, Reason, Store, Wanted};
use crate::exit::{Answer, Exit, Failure};
use crate::manifest;
use crate::run::rfc3339;
use crate::targets::ec2::Ec2;

/// Make or renew a self-signed certificate for a load balancer
///
/// Prints its ARN. Where one of the name is there and valid for long enough, nothing is changed: run it as often
/// as you like. A certificate in ACM is renewed in place and keeps its ARN.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ensure: EnsureArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Status(status::Args),
}

#[derive(Debug, clap::Args)]
struct EnsureArgs {
    /// What the certificate is called here and in its tag
    #[arg(required = true, value_name = "NAME")]
    name: Option<CertName>,
    /// What clients ask for: a host name, *.example.com or an address; repeatable. Without any, those of the
    /// certificate that is there
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<Domain>,
    /// Where it is kept
    #[arg(long = "in", value_enum, value_name = "STORE", default_value = "acm")]
    store: Store,
    /// How long a new certificate is valid
    #[arg(long, value_name = "TIME", default_value = "397d", value_parser = manifest::time)]
    valid_for: Duration,
    /// Renew it when it ends within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = manifest::time)]
    renew_before: Duration,
    /// Renew it now, with a new key
    #[arg(long)]
    renew: bool,
    /// Write a new private key to this file, for its owner alone; otherwise it is nowhere but in AWS
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Write the certificate to this file: what clients are to trust
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// Region of the load balancer; the default is the environment's
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print it as JSON: ARN, end, domains, and why it was made
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let answer = Box::pin(cx.unless_interrupted(self.answer(cx))).await;
        answer.map_err(|failure| match failure.exit() {
            Exit::Interrupted => {
                failure.with_hint("the same command goes on: what was done is found by its name")
            }
            _ => failure,
        })
    }

    async fn answer(&self, cx: &CommandContext) -> Result<Answer, Failure> {
        match &self.command {
            Some(Command::Status(args)) => args.answer().await,
            None => self.ensure.answer(cx).await,
        }
    }
}

impl EnsureArgs {
    async fn answer(&self, cx: &CommandContext) -> Result<Answer, Failure> {
        let wanted = self.wanted()?;
        let ec2 = Ec2::new(self.region.as_deref()).await.map_err(failed)?;
        let ensured = Certificates::of(&ec2).ensure(&wanted).await;
        let ensured = ensured.map_err(failed)?;
        for warning in &ensured.warnings {
            cx.events.warn(warning);
        }
        cx.events.note(told(&wanted, &ensured));
        let mut answer = Answer::text(match self.json {
            true => json(&ensured).to_string(),
            false => ensured.arn.clone(),
        });
        answer.failures.extend(self.keep(&ensured).err());
        if !ensured.left_behind.is_empty() {
            let mut failure =
                Failure::new("the certificate is there, and an old one could not be removed");
            failure.left_behind = ensured.left_behind;
            answer.failures.push(failure.of_kind(Exit::LeftBehind));
        }
        Ok(answer)
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        if self.renew_before >= self.valid_for {
            return Err(Failure::usage(
                "--renew-before is not shorter than --valid-for: each run would renew it",
            ));
        }
        if self.domains.len() > MOST_DOMAINS {
            let message = format!(
                "{} domains are more than ACM takes in one certificate",
                self.domains.len()
            );
            return Err(Failure::usage(message).with_hint(format!("{MOST_DOMAINS} are the most")));
        }
        Ok(Wanted {
            name: self.name.clone().expect("clap demands one"),
            store: self.store,
            domains: self.domains.clone(),
            valid_for: self.valid_for,
            renew_before: self.renew_before,
            forced: self.renew,
            key_file: self.key_file.clone(),
        })
    }

    /// Writes the certificate where that was asked for, and says where no key was written.
    fn keep(&self, ensured: &Ensured) -> Result<(), Failure> {
        if let Some(path) = &self.certificate_file {
            std::fs::write(path, &ensured.certificate).map_err(|error| {
                let message = format!(
                    "the certificate could not be written to {}: {error}",
                    path.display()
                );
                Failure::new(message)
            })?;
        }
        match (&self.key_file, ensured.made) {
            (Some(path), None) => Err(Failure::new(format!(
                "{} is not written: no new key was made, and that of the certificate is in AWS alone",
                path.display()
            ))
            .with_hint("--renew makes a new one")),
            _ => Ok(()),
        }
    }
}

/// Returns what was done, and why.
fn told(wanted: &Wanted, ensured: &Ensured) -> String {
    let ends = rfc3339(ensured.ends);
    let mut text = match ensured.made {
        None => format!("{} is valid until {ends}: nothing was changed", wanted.name),
        Some(Reason::New) => format!("{} was made, valid until {ends}", wanted.name),
        Some(Reason::EndsSoon(at)) => {
            let old = rfc3339(at);
            format!(
                "{} was to end {old} and was renewed, valid until {ends}",
                wanted.name
            )
        }
        Some(Reason::OtherDomains) => {
            format!(
                "{} was for other domains and was made anew, valid until {ends}",
                wanted.name
            )
        }
        Some(Reason::Forced) => format!("{} was renewed, valid until {ends}", wanted.name),
    };
    let domains: Vec<String> = ensured.domains.iter().map(ToString::to_string).collect();
    let _infallible = write!(text, " ({})", domains.join(", "));
    text
}

fn json(ensured: &Ensured) -> serde_json::Value {
    let reason = ensured.made.map(|reason| match reason {
        Reason::New => "new",
        Reason::EndsSoon(_) => "ends-soon",
        Reason::OtherDomains => "other-domains",
        Reason::Forced => "forced",
    });
    let domains: Vec<String> = ensured.domains.iter().map(ToString::to_string).collect();
    json!({"arn": ensured.arn, "ends": rfc3339(ensured.ends), "domains": domains, "made": reason})
}
