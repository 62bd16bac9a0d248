//! Rollouts against the load balancer, the groups and the alarms of the test EC2: by the commands as they are typed, in
//! processes that are killed, and with calls that fail. Every state and every call is tried in memory, beside the code
//! (`src/stack/rollout/tests.rs`); here is what shows that AWS is asked as it is meant. They wait by clocks that leap, so
//! that no time limit passes since a machine is slow. Calls that go wrong are `rollout_sweep`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::super::build::settings;
use super::super::child::{Outcome, Process, Work};
use super::super::server::Account;
use super::{BASE_IMAGE, amibake_leaping, another_image, make_of, open, outputs, start_leaping};
use crate::clock::leaping;
use crate::event;
use crate::exit::Failure;
use crate::run::RunId;
use crate::stack::Stack;
use crate::stack::rollout::{
    End, OnAlarm, OnFailure, Pacing, RolloutContext, Wanted, Way, report, run,
};
use crate::stack::template;
use crate::targets::ec2::Ec2;

/// For as long as a test wants.
pub(super) const FOR_EVER: &str = "20d";

/// The pace of a command that waits for as long as a test wants: by a clock that leaps it would ask all the time.
const PACE_OF_WATCHED: u32 = 10;

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

pub(super) fn wanted(way: Way) -> Wanted {
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
        on_alarm: OnAlarm::Refuse,
    }
}

/// Rolls out in this process, as if it were alone.
pub(super) async fn roll(account: &Account, way: Way) -> Result<End, Failure> {
    roll_as(account, &wanted(way)).await
}

pub(super) async fn roll_as(account: &Account, wanted: &Wanted) -> Result<End, Failure> {
    let stack = stack(account).await;
    let (events, _reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    Box::pin(run(&stack, wanted, &cx)).await
}

pub(super) fn forward(instance_type: &str) -> Way {
    let parameters = [("InstanceType".to_owned(), instance_type.to_owned())].into();
    Way::Forward { parameters }
}

/// Rolls out, and leaves that when all traffic has moved and the old colour is warm, as a process does that is killed.
pub(super) async fn kept_warm(account: &Account, way: Way) {
    let mut wanted = wanted(way);
    wanted.pacing.keep = Duration::from_secs(24 * 3600);
    tokio::select! {
        ended = Box::pin(roll_as(account, &wanted)) => panic!("{ended:?}"),
        () = Box::pin(wait_for_phase(account, "keeping")) => {}
    }
}

/// Makes a stack whose blue colour serves, for clocks that leap.
pub(super) async fn live() -> Account {
    let account = open().await;
    bring_up(&account, &[]).await;
    account
}

/// Makes a stack whose blue colour serves, with these parameters besides what it needs.
pub(super) async fn bring_up(account: &Account, more: &[(&str, &str)]) {
    bring_up_of(account, template::WEB, more).await;
}

/// The same, of a template that has what the one that ships has.
pub(super) async fn bring_up_of(account: &Account, body: &str, more: &[(&str, &str)]) {
    make_of(account, body, "web", more).await;
    let first = Way::Forward {
        parameters: BTreeMap::new(),
    };
    let end = roll(account, first).await.unwrap();
    assert!(matches!(end, End::Live { previous: None, .. }), "{end:?}");
}

/// Starts a command that waits for as long as a test wants.
pub(super) fn start_watched(account: &Account, words: &[&str]) -> Process {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Process::start(account, PACE_OF_WATCHED, Work::Command(words), &[])
}

/// Returns what `stack status` tells, asked in this process.
pub(super) async fn status(account: &Account) -> Json {
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
pub(super) fn traffic(status: &Json) -> (i64, i64) {
    let of = |colour: &str| status["colours"][colour]["traffic"].as_i64().unwrap();
    (of("blue"), of("green"))
}

pub(super) async fn wait_for_phase(account: &Account, phase: &str) {
    account
        .wait_until(phase, async || {
            status(account).await["rollout"]["phase"] == phase
        })
        .await;
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn traffic_goes_to_the_new_colour_and_back_at_once_while_the_old_one_is_warm() {
    leaping::run(async {
        let account = live().await;
        assert_settled(&account, "Blue").await;
        let words = [&DEPLOY[..10], &[FOR_EVER]].concat();
        let deploy = start_watched(&account, &words);
        wait_for_phase(&account, "keeping").await;
        let told = status(&account).await;
        assert_eq!(traffic(&told), (0, 100), "{told}");
        assert_eq!(told["live"], "green");
        assert!(told["lock"]["run"].is_string(), "{told}");

        account.control("calls/clear", json!({})).await;
        let end = roll(&account, Way::Back).await.unwrap();
        assert!(matches!(end, End::IsBack { .. }), "{end:?}");
        let actions = account.actions().await;
        let moves = actions.iter().filter(|action| *action == "ModifyRule");
        assert_eq!(moves.count(), 1, "one call moves all traffic");
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
        let told = amibake_leaping(&account, &["stack", "status", "web"], 0).await;
        let told = told.stdout;
        assert!(
            told.contains("blue     100 % of the traffic, 2 of 2 instances healthy"),
            "{told}"
        );
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_second_deploy_is_told_of_the_first_and_takes_over_from_a_dead_one() {
    leaping::run(async {
        let account = live().await;
        account
            .fault("ModifyRule", "hold-before", json!({"seconds": 600}))
            .await;
        let first = start_leaping(&account, &DEPLOY).held(&account).await;
        let refused = amibake_leaping(&account, &DEPLOY, 1).await;
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
        let outcome = amibake_leaping(&account, &DEPLOY, 0).await;
        assert!(
            outcome.said.contains("its lock is taken over"),
            "{}",
            outcome.said
        );
        assert_settled(&account, "Green").await;
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn interrupted_it_stops_and_says_how_to_go_on_and_how_to_go_back() {
    leaping::run(async {
        let account = live().await;
        let deploy = [
            "stack", "deploy", "web", "--ami", BASE_IMAGE, "--bake", FOR_EVER,
        ];
        let words = [&deploy[..], &["--param", "InstanceType=t3.medium"]].concat();
        let deploy = start_watched(&account, &words);
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
        let told = amibake_leaping(&account, &["stack", "rollback", "web"], 0).await;
        assert_eq!(told.stdout.trim(), r#"{"ended":"is-back","live":"blue"}"#);
        assert_settled(&account, "Blue").await;
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn an_image_that_is_never_healthy_leaves_the_live_colour_as_it_was() {
    leaping::run(async {
        let account = live().await;
        let image = another_image(&account).await;
        let answers = json!([{"image": image, "health": 500, "status": 500}]);
        account.control("answers", answers).await;
        let failure = roll(&account, with_image(&image)).await.unwrap_err();
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
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn an_image_that_answers_5xx_leaves_the_live_colour_as_it_was() {
    leaping::run(async {
        let account = live().await;
        let image = another_image(&account).await;
        let answers = json!([{"image": image, "status": 500}]);
        account.control("answers", answers).await;
        let mut wanted = wanted(with_image(&image));
        wanted.pacing.bake = Duration::from_secs(24 * 3600);
        let listener = outputs(&account, "web").await["Listener"].clone();
        let asking = async {
            loop {
                let asked = json!({"listener": listener, "count": 200});
                account.control("requests", asked).await;
            }
        };
        let failure = tokio::select! {
            ended = roll_as(&account, &wanted) => ended.unwrap_err(),
            () = asking => unreachable!("it asks for ever"),
        };
        let said: Vec<String> = failure.chain().collect();
        let said = said.join(": ");
        assert!(said.contains("answers were 5xx"), "{said}");
        account.control("answers", json!([])).await;
        assert_settled(&account, "Blue").await;
    });
}

fn with_image(image: &str) -> Way {
    Way::Forward {
        parameters: [("ImageId".to_owned(), image.to_owned())].into(),
    }
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn an_alarm_before_the_start_refuses_and_a_zone_without_capacity_is_told() {
    leaping::run(async {
        let account = open().await;
        // So many are not launched between two looks.
        bring_up(&account, &[("MinSize", "12"), ("MaxSize", "12")]).await;
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
        assert!(said.contains("sufficient t3.medium capacity"), "{said}");
        let told = status(&account).await;
        assert_eq!(traffic(&told), (0, 100), "{told}");
        assert_eq!(told["colours"]["green"]["healthy"], 12, "{told}");
    });
}
