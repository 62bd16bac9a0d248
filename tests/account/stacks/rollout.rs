//! Rollouts against the load balancer, the groups and the alarms of the test EC2: by the commands as they are typed, in
//! processes that are killed, and with calls that fail. Every state and every call is tried in memory, beside the code
//! (`src/stack/rollout/tests.rs`); here is what shows that AWS is asked as it is meant.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::super::build::settings;
use super::super::child::{Outcome, Process, Work, amibake};
use super::super::server::{Account, Call};
use super::{BASE_IMAGE, certificate, make_web, open, outputs};
use crate::clock::Pace;
use crate::event;
use crate::exit::Failure;
use crate::run::RunId;
use crate::stack::Stack;
use crate::stack::rollout::{End, OnFailure, Pacing, RolloutContext, Wanted, Way, report, run};
use crate::targets::ec2::Ec2;

/// As much faster than the wall the clock of a rollout goes; groups and load balancers keep up with it.
const PACE: u32 = 50;

/// Slower, where a command's own time-outs count.
const PACE_OF_COMMANDS: u32 = 10;

/// A deploy of another instance type, at once.
pub(super) const DEPLOY: [&str; 11] = [
    "stack",
    "deploy",
    "web",
    "--ami",
    "current",
    "--param",
    "InstanceType=t3.medium",
    "--bake",
    "1s",
    "--keep",
    "1s",
];

async fn stack(account: &Account) -> Stack {
    let ec2 = Ec2::with(settings(account)).await.unwrap();
    Stack::by("web".parse().unwrap(), &ec2)
}

fn wanted(way: Way) -> Wanted {
    Wanted {
        run: RunId::new(OffsetDateTime::now_utc()).unwrap(),
        way,
        pacing: Pacing {
            bake: Duration::ZERO,
            keep: Duration::ZERO,
            ..Pacing::default()
        },
        smoke: None,
        on_failure: OnFailure::Destroy,
    }
}

/// Rolls out in this process, as if it were alone.
async fn roll(account: &Account, way: Way) -> Result<End, Failure> {
    let stack = stack(account).await;
    let (events, _reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    Box::pin(run(&stack, &wanted(way), &cx)).await
}

fn forward(instance_type: &str) -> Way {
    let parameters = [("InstanceType".to_owned(), instance_type.to_owned())].into();
    Way::Forward { parameters }
}

/// Makes a stack whose blue colour serves.
pub(super) async fn live() -> Account {
    let account = open().await;
    bring_up(&account).await;
    account
}

/// Makes a stack whose blue colour serves.
async fn bring_up(account: &Account) {
    make_web(account, "web", &[]).await;
    let first = Way::Forward {
        parameters: BTreeMap::new(),
    };
    let end = roll(account, first).await.unwrap();
    assert!(matches!(end, End::Live { previous: None, .. }), "{end:?}");
}

/// Starts a command, whose end nobody waits for yet.
pub(super) fn start(account: &Account, words: &[&str]) -> Process {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Process::start(account, PACE_OF_COMMANDS, Work::Command(words), &[])
}

/// Returns what `stack status` tells, asked in this process.
async fn status(account: &Account) -> Json {
    let (events, _reports) = event::channel();
    let told = report(&stack(account).await, &events).await.unwrap();
    serde_json::to_value(&told).unwrap()
}

/// Insists that one colour answers all requests, alone and well, and the other has nobody.
pub(super) async fn assert_settled(account: &Account, colour: &str) {
    let outputs = outputs(account, "web").await;
    let other = if colour == "Blue" { "Green" } else { "Blue" };
    let asg = aws_sdk_autoscaling::Client::new(&settings(account).load().await);
    let group = async |colour: &str| {
        let name = outputs[&format!("Group{colour}")].clone();
        let asked = asg
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(name);
        let mut told = asked.send().await.unwrap().auto_scaling_groups.unwrap();
        told.pop().unwrap()
    };
    account
        .wait_until("the other colour's end", async || {
            group(other).await.instances().is_empty()
        })
        .await;
    let live = group(colour).await;
    assert_eq!(
        (live.min_size(), live.desired_capacity()),
        (Some(2), Some(2))
    );
    assert!(live.suspended_processes().is_empty(), "{live:?}");
    let members: Vec<&str> = live
        .instances()
        .iter()
        .filter_map(|i| i.instance_id())
        .collect();
    let asked = json!({"listener": outputs["Listener"], "count": 20});
    let told = account.control("requests", asked).await;
    assert_eq!(told["statuses"], json!({"200": 20}), "{told}");
    let answered = told["instances"].as_object().unwrap();
    assert!(
        answered.keys().all(|id| members.contains(&id.as_str())),
        "{told} {members:?}"
    );
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let rules = elb
        .describe_rules()
        .listener_arn(&outputs["Listener"])
        .send()
        .await
        .unwrap();
    assert_eq!(
        rules.rules().len(),
        3,
        "the default, the stack's and ours: {rules:?}"
    );
}

/// Returns the traffic of blue and green, as the command tells it.
fn traffic(status: &Json) -> (i64, i64) {
    let of = |colour: &str| status["colours"][colour]["traffic"].as_i64().unwrap();
    (of("blue"), of("green"))
}

async fn wait_for_phase(account: &Account, phase: &str) {
    account
        .wait_until(phase, async || {
            status(account).await["rollout"]["phase"] == phase
        })
        .await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn traffic_goes_to_the_new_colour_and_back_at_once_while_the_old_one_is_warm() {
    let _pace = Pace::set(PACE);
    let account = live().await;
    assert_settled(&account, "Blue").await;
    let certificate = certificate(&account).await;
    assert!(certificate.starts_with("arn:"));
    let deploy = start(&account, &[&DEPLOY[..10], &["5h"]].concat());
    wait_for_phase(&account, "keeping").await;
    let told = status(&account).await;
    assert_eq!(traffic(&told), (0, 100), "{told}");
    assert_eq!(told["live"], "green");
    assert!(told["lock"]["run"].is_string(), "{told}");

    account.control("calls/clear", json!({})).await;
    let began = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let end = roll(&account, Way::Back).await.unwrap();
    assert!(matches!(end, End::IsBack { .. }), "{end:?}");
    let calls = account.calls().await;
    let moves: Vec<&Call> = calls
        .iter()
        .filter(|call| call.action == "ModifyRule")
        .collect();
    assert_eq!(moves.len(), 1, "one call moves all traffic");
    let seconds = moves[0].time - began.as_secs_f64();
    println!("rollback: {seconds:.2} s until all traffic is back");
    assert!(seconds < 2.0, "{seconds}");
    let outcome = deploy.end().await.ended(1);
    assert!(
        outcome.said.contains("has taken this rollout over"),
        "{}",
        outcome.said
    );
    assert_settled(&account, "Blue").await;

    // It is gone by now, and launched anew.
    roll(&account, forward("t3.medium")).await.unwrap();
    assert_settled(&account, "Green").await;
    roll(&account, Way::Back).await.unwrap();
    assert_settled(&account, "Blue").await;
    let told = amibake(&account, &["stack", "status", "web"], 0)
        .await
        .stdout;
    assert!(
        told.contains("blue     100 % of the traffic, 2 of 2 instances healthy"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_second_deploy_is_told_of_the_first_and_takes_over_from_a_dead_one() {
    let _pace = Pace::set(PACE);
    let account = live().await;
    account
        .fault("ModifyRule", "hold-before", json!({"seconds": 600}))
        .await;
    let first = start(&account, &DEPLOY).held(&account).await;
    let refused = amibake(&account, &DEPLOY, 1).await;
    assert!(
        refused
            .said
            .contains("is being deployed or rolled back by run "),
        "{}",
        refused.said
    );
    assert!(refused.said.contains(", since 20"), "{}", refused.said);
    first.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    let told = status(&account).await;
    assert_eq!(told["rollout"]["phase"], "rolling", "{told}");
    // Ten minutes later.
    account.control("ways", json!({"clock_skew": 601})).await;
    let outcome = amibake(&account, &DEPLOY, 0).await;
    assert!(
        outcome.said.contains("its lock is taken over"),
        "{}",
        outcome.said
    );
    assert_settled(&account, "Green").await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_it_stops_and_says_how_to_go_on_and_how_to_go_back() {
    let _pace = Pace::set(PACE);
    let account = live().await;
    let deploy = start(
        &account,
        &[
            "stack",
            "deploy",
            "web",
            "--ami",
            BASE_IMAGE,
            "--param",
            "InstanceType=t3.medium",
            "--bake",
            "1h",
        ],
    );
    account
        .wait_until("10 %", async || {
            traffic(&status(&account).await) == (90, 10)
        })
        .await;
    deploy.signal(rustix::process::Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    assert!(
        said.contains("the traffic is blue 90 %, green 10 %"),
        "{said}"
    );
    assert!(said.contains("stack rollback web"), "{said}");
    assert!(said.contains("stack deploy web"), "{said}");
    let told = amibake(&account, &["stack", "rollback", "web"], 0).await;
    assert_eq!(told.stdout.trim(), r#"{"ended":"is-back","live":"blue"}"#);
    assert_settled(&account, "Blue").await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_is_never_healthy_leaves_the_live_colour_as_it_was() {
    let account = open().await;
    let image = super::deploy::another_image(&account).await;
    let _pace = Pace::set(PACE);
    bring_up(&account).await;
    let given = |image: &str| Way::Forward {
        parameters: [("ImageId".to_owned(), image.to_owned())].into(),
    };
    let answers = json!([{"image": image, "health": 500, "status": 500}]);
    account.control("answers", answers).await;
    let failure = roll(&account, given(&image)).await.unwrap_err();
    let said: Vec<String> = failure.chain().collect();
    let said = said.join(": ");
    assert!(
        said.contains("0 of 2 instances became healthy in time"),
        "{said}"
    );
    assert!(said.contains("Target.ResponseCodeMismatch"), "{said}");
    assert_eq!(failure.exit().code(), 4);
    account.control("answers", json!([])).await;
    assert_settled(&account, "Blue").await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_answers_5xx_leaves_the_live_colour_as_it_was() {
    let account = open().await;
    let image = super::deploy::another_image(&account).await;
    let _pace = Pace::set(PACE);
    bring_up(&account).await;
    let given = |image: &str| Way::Forward {
        parameters: [("ImageId".to_owned(), image.to_owned())].into(),
    };
    let answers = json!([{"image": image, "status": 500}]);
    account.control("answers", answers).await;
    let rolling = async {
        let stack = stack(&account).await;
        let (events, _reports) = event::channel();
        let cancel = CancellationToken::new();
        let cx = RolloutContext {
            events: &events,
            cancel: &cancel,
        };
        let mut wanted = wanted(given(&image));
        wanted.pacing.bake = Duration::from_secs(60);
        Box::pin(run(&stack, &wanted, &cx)).await
    };
    let listener = outputs(&account, "web").await["Listener"].clone();
    let asking = async {
        loop {
            let asked = json!({"listener": listener, "count": 20});
            account.control("requests", asked).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let failure = tokio::select! {
        ended = rolling => ended.unwrap_err(),
        () = asking => unreachable!("it asks for ever"),
    };
    let said: Vec<String> = failure.chain().collect();
    let said = said.join(": ");
    assert!(said.contains("answers were 5xx"), "{said}");
    account.control("answers", json!([])).await;
    assert_settled(&account, "Blue").await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_alarm_before_the_start_refuses_and_a_zone_without_capacity_is_told() {
    let _pace = Pace::set(PACE);
    let account = live().await;
    let watch = aws_sdk_cloudwatch::Client::new(&settings(&account).load().await);
    let outputs = outputs(&account, "web").await;
    let alarm = outputs["Alarms"].split(',').next().unwrap().to_owned();
    let set = async |state: aws_sdk_cloudwatch::types::StateValue| {
        let asked = watch.set_alarm_state().alarm_name(&alarm);
        let asked = asked.state_value(state).state_reason("a test");
        asked.send().await.unwrap();
    };
    set(aws_sdk_cloudwatch::types::StateValue::Alarm).await;
    let failure = roll(&account, forward("t3.medium")).await.unwrap_err();
    let said: Vec<String> = failure.chain().collect();
    assert_eq!(
        said,
        [format!("alarms fire before anything is begun: {alarm}")]
    );
    set(aws_sdk_cloudwatch::types::StateValue::Ok).await;

    account
        .control("stacks", json!({"full_zones": ["eu-west-1a"]}))
        .await;
    let stack = stack(&account).await;
    let (events, reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    let wanted = wanted(forward("t3.medium"));
    let ended = Box::pin(run(&stack, &wanted, &cx)).await;
    events.close();
    let said = super::super::build::all_said(reports).await;
    ended.unwrap_or_else(|failure| panic!("{failure:?}\n{said}"));
    assert!(
        said.contains("InsufficientInstanceCapacity") || said.contains("capacity"),
        "{said}"
    );
    assert_settled(&account, "Green").await;
}

/// What a rollout asks that changes something, and how many of each go wrong here; in memory all do.
const CHANGES: [(&str, u32); 7] = [
    ("AddTags", 2),
    ("CreateChangeSet", 1),
    ("ExecuteChangeSet", 1),
    ("ModifyRule", 2),
    ("ResumeProcesses", 1),
    ("SuspendProcesses", 1),
    ("UpdateAutoScalingGroup", 2),
];

/// How a call goes wrong: a fault's kind, and more of it.
const FAULTS: [(&str, &str); 3] = [
    ("denied", r#"{"times": 1}"#),
    ("lost", "{}"),
    ("throttle", r#"{"times": 8}"#),
];

/// Each call of a rollout fails, and a second command comes to one of the two ends.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn each_call_of_a_rollout_goes_wrong_and_a_second_command_comes_to_one_of_the_two_ends() {
    // A call has a minute of the fast clock, also where several rollouts share the server.
    let _pace = Pace::set(2 * PACE_OF_COMMANDS);
    let since = std::time::Instant::now();
    let mut cases = Vec::new();
    for (action, times) in CHANGES {
        for nth in 1..=times {
            for (kind, more) in FAULTS {
                cases.push((action, nth, kind, more));
            }
        }
    }
    let count = cases.len();
    let trying = cases
        .into_iter()
        .map(|(action, nth, kind, more)| async move {
            let account = live().await;
            let mut more: Json = serde_json::from_str(more).unwrap();
            more["nth"] = json!(nth);
            account.fault(action, kind, more).await;
            let first = roll(&account, forward("t3.medium")).await;
            account.assert_all_hit().await;
            account.control("clear", json!({})).await;
            let back = (nth + u32::from(kind == "lost")) % 2 == 0;
            let then = if back {
                Way::Back
            } else {
                forward("t3.medium")
            };
            let second = roll(&account, then).await;
            let what = format!("{action} {nth} {kind}: {first:?}, then {second:?}");
            let colour = match second.unwrap_or_else(|_| panic!("{what}")) {
                End::Live { live, .. } | End::Unchanged { live } | End::IsBack { live } => live,
                other => panic!("{what}: {other:?}"),
            };
            let colour = if colour.name() == "blue" {
                "Blue"
            } else {
                "Green"
            };
            println!("{what}");
            assert_settled(&account, colour).await;
        });
    let trying = futures_util::stream::iter(trying).buffer_unordered(3);
    trying.collect::<Vec<()>>().await;
    let seconds = since.elapsed().as_secs_f64();
    println!("rollout: {count} calls went wrong against the test EC2, {seconds:.0} s");
}

/// The process dies before its call and after it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_at_a_call_another_process_comes_to_one_of_the_two_ends() {
    let _pace = Pace::set(PACE);
    let mut number = 0;
    for (action, nth) in [
        ("ExecuteChangeSet", 1),
        ("UpdateAutoScalingGroup", 1),
        ("ModifyRule", 1),
        ("ModifyRule", 3),
        ("AddTags", 2),
    ] {
        for kind in ["hold-before", "hold"] {
            number += 1;
            let account = live().await;
            let more = json!({"seconds": 600, "nth": nth});
            account.fault(action, kind, more).await;
            start(&account, &DEPLOY).held(&account).await.kill().await;
            account.release().await;
            account.control("clear", json!({})).await;
            let then = match number % 3 {
                0 => Way::Back,
                _ => forward("t3.medium"),
            };
            let end = roll(&account, then).await;
            let end = end.unwrap_or_else(|failure| panic!("{action} {nth} {kind}: {failure:?}"));
            let colour = match end {
                End::Live { live, .. } | End::Unchanged { live } | End::IsBack { live } => live,
                other => panic!("{action} {nth} {kind}: {other:?}"),
            };
            let colour = if colour.name() == "blue" {
                "Blue"
            } else {
                "Green"
            };
            assert_settled(&account, colour).await;
        }
    }
}
