//! `cert status`: what certificates there are, when they end, and what shows them.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use crate::bake::failed;
use crate::cert::{CertName, Certificates, Standing};
use crate::exit::{Answer, Exit, Failure};
use crate::manifest;
use crate::run::rfc3339;
use crate::targets::ec2::Ec2;

/// Show certificates, when they end and what uses them; exit code 4 where one ends soon
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show those of this name; the default is all
    #[arg(value_name = "NAME")]
    name: Option<CertName>,
    /// What ends within this time ends soon
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = manifest::time)]
    soon: Duration,
    /// Region of the load balancers; the default is the environment's
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn answer(&self) -> Result<Answer, Failure> {
        let ec2 = Ec2::new(self.region.as_deref()).await.map_err(failed)?;
        let certificates = Certificates::of(&ec2);
        let now = certificates.now().await;
        let (all, errors) = certificates.standing(self.name.as_ref()).await;
        let mut answer = Answer::text(match self.json {
            true => json!(all.iter().map(|one| one.described(now)).collect::<Vec<_>>()).to_string(),
            false => table(&all, now, self.soon),
        });
        answer.failures.extend(errors.into_iter().map(failed));
        if let (Some(name), true, true) = (&self.name, all.is_empty(), answer.failures.is_empty()) {
            return Err(Failure::new(format!("there is no certificate {name}"))
                .with_hint(format!("amibake cert {name} --domain DOMAIN makes one")));
        }
        if all.iter().any(|one| ends_soon(one, now, self.soon)) {
            answer.ended = Exit::GateFailed;
        }
        Ok(answer)
    }
}

fn ends_soon(one: &Standing, now: OffsetDateTime, soon: Duration) -> bool {
    one.ends.is_none_or(|ends| ends <= now + soon)
}

/// Returns a line for each.
fn table(all: &[Standing], now: OffsetDateTime, soon: Duration) -> String {
    let mut text = String::new();
    for one in all {
        let state = match one.days_left(now) {
            Some(..0) => "ended",
            _ if ends_soon(one, now, soon) => "ends soon",
            _ => "valid",
        };
        let ends = one
            .ends
            .map_or_else(|| "an unknown time".to_owned(), rfc3339);
        let days = one.days_left(now).unwrap_or_default();
        let used = match one.used_by.is_empty() {
            true => "used by nothing that is seen from here".to_owned(),
            false => format!("used by {}", one.used_by.join(", ")),
        };
        let (name, arn, domains) = (&one.name, &one.arn, one.domains.join(" "));
        let _infallible = writeln!(
            text,
            "{state:<9} {name} until {ends} ({days} d) for {domains}: {arn}, {used}"
        );
    }
    if text.is_empty() {
        text.push_str("no certificate is there\n");
    }
    text
}
