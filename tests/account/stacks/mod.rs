//! Stacks of an account: the program's own commands against the CloudFormation, the groups and the load balancers of the
//! test EC2. What CloudFormation is asked by somebody else's hand is asked here.

mod deploy;
mod destroy;
mod figures;
mod foreseen;
mod foretold;
mod found;
mod goes_on;
mod history;
mod judged;
mod meddling;
mod policy;
mod refused;
mod replaced;
mod rollout;
mod rollout_sweep;
mod status;
mod update;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::types::{Capability, Parameter};
use serde_json::json;

use super::build::settings;
use super::child::{LEAPING, Outcome, Process, Work};
use super::server::{Account, REGION};
use crate::stack::template;

/// The image that every account has.
const BASE_IMAGE: &str = "ami-0ba5e0ba5e0ba5e00";

/// A stack's outputs, by name.
type Outputs = BTreeMap<String, String>;

/// Opens an account for whoever waits by a clock that leaps: its groups and load balancers go on by a step with each call,
/// and nothing takes any other time.
async fn open() -> Account {
    let account = Account::open_for_case(&[REGION]).await;
    let times = json!({"second": 0.0, "resource": 0.0, "by_calls": true});
    account.control("stacks", times).await;
    account
}

/// Starts a command that waits by a clock that leaps, in a process of its own.
fn start_leaping(account: &Account, words: &[&str]) -> Process {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Process::start(account, LEAPING, Work::Command(words), &[])
}

/// Runs such a command to its end, and insists on its exit code.
async fn amibake_leaping(account: &Account, words: &[&str], code: u8) -> Outcome {
    start_leaping(account, words).end().await.ended(code)
}

pub(super) async fn cfn(account: &Account) -> aws_sdk_cloudformation::Client {
    aws_sdk_cloudformation::Client::new(&settings(account).load().await)
}

/// Imports a certificate into ACM, and returns its ARN.
pub(super) async fn certificate(account: &Account) -> String {
    certificate_for(account, 24 * 365).await
}

/// Imports one that is valid for so many hours.
async fn certificate_for(account: &Account, hours: i64) -> String {
    let acm = aws_sdk_acm::Client::new(&settings(account).load().await);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["web.test".to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::DAY;
    params.not_after = now + time::Duration::hours(hours);
    let made = params.self_signed(&key).unwrap();
    let imported = acm
        .import_certificate()
        .certificate(made.pem().into_bytes().into())
        .private_key(key.serialize_pem().into_bytes().into());
    imported.send().await.unwrap().certificate_arn.unwrap()
}

/// Has the lock of the stack `web` go, as it does ten minutes after its holder was killed.
async fn unlock(account: &Account) {
    let ec2 = aws_sdk_ec2::Client::new(&settings(account).load().await);
    let unlock = ec2.delete_launch_template();
    let unlock = unlock.launch_template_name("amibake-lock-stack-web");
    unlock.send().await.unwrap();
}

/// Makes another image of what the first one is made of.
async fn another_image(account: &Account) -> String {
    let ec2 = aws_sdk_ec2::Client::new(&settings(account).load().await);
    let copy = ec2.copy_image().source_image_id(BASE_IMAGE);
    let copy = copy.source_region(REGION).name("another").send();
    let id = copy.await.unwrap().image_id.unwrap();
    account
        .wait_until("the image", async || {
            let told = ec2.describe_images().image_ids(&id).send().await.unwrap();
            let state = told.images()[0].state();
            state == Some(&aws_sdk_ec2::types::ImageState::Available)
        })
        .await;
    id
}

/// Makes the stack that ships, with these parameters besides what it needs, and returns its outputs.
pub(super) async fn make_web(account: &Account, name: &str, more: &[(&str, &str)]) -> Outputs {
    make_of(account, template::WEB, name, more).await
}

/// Makes a stack of a template that has what the one that ships has.
async fn make_of(account: &Account, body: &str, name: &str, more: &[(&str, &str)]) -> Outputs {
    let certificate = certificate(account).await;
    let needed = [
        ("ImageIdBlue", BASE_IMAGE),
        ("ImageIdGreen", BASE_IMAGE),
        ("CertificateArn", &certificate),
    ];
    let given: BTreeMap<&str, &str> = needed.iter().chain(more).copied().collect();
    let parameter = |(key, value): (&str, &str)| {
        let parameter = Parameter::builder().parameter_key(key);
        parameter.parameter_value(value).build()
    };
    let asked = cfn(account).await.create_stack().stack_name(name);
    let asked = asked
        .template_body(body)
        .capabilities(Capability::CapabilityIam)
        .set_parameters(Some(given.into_iter().map(parameter).collect()));
    asked.send().await.unwrap();
    let status = settled(account, name).await;
    assert_eq!(status, "CREATE_COMPLETE");
    outputs(account, name).await
}

/// Waits until CloudFormation does nothing with a stack, and returns its status.
pub(super) async fn settled(account: &Account, name: &str) -> String {
    loop {
        let status = described(account, name).await.stack_status.unwrap();
        let status = status.as_str();
        if !status.ends_with("_IN_PROGRESS") || status == "REVIEW_IN_PROGRESS" {
            return status.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn described(
    account: &Account,
    name: &str,
) -> aws_sdk_cloudformation::types::Stack {
    let asked = cfn(account).await.describe_stacks().stack_name(name);
    let told = asked.send().await.unwrap();
    told.stacks.unwrap().pop().unwrap()
}

pub(super) async fn outputs(account: &Account, name: &str) -> Outputs {
    let told = described(account, name).await.outputs.unwrap_or_default();
    let output =
        |o: aws_sdk_cloudformation::types::Output| (o.output_key.unwrap(), o.output_value.unwrap());
    told.into_iter().map(output).collect()
}
