//! What somebody else does to a stack in the middle of a rollout, and what is left when CloudFormation's work is
//! interrupted.

use aws_sdk_cloudformation::types::Parameter;
use futures_util::FutureExt;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::cases;
use super::super::child::Outcome;
use super::super::server::Account;
use super::deploy::first_words;
use super::rollout::{DEPLOY, FOR_EVER, assert_settled, live, start_watched, status, traffic};
use super::{
    amibake_leaping, another_image, certificate, cfn, described, open, outputs, settled,
    start_leaping,
};

/// Changes one parameter of the stack `web` by hand, and does not wait for the end of it.
pub(super) async fn change_by_hand(account: &Account, name: &str, value: &str) {
    let kept = described(account, "web").await.parameters.unwrap();
    let kept = kept.into_iter().map(|p| {
        let key = p.parameter_key.unwrap();
        let of = Parameter::builder().parameter_key(&key);
        match key == name {
            true => of.parameter_value(value).build(),
            false => of.use_previous_value(true).build(),
        }
    });
    let asked = cfn(account)
        .await
        .update_stack()
        .stack_name("web")
        .use_previous_template(true)
        .set_parameters(Some(kept.collect()));
    let asked = asked.capabilities("CAPABILITY_IAM".into());
    asked.send().await.unwrap();
}

pub(super) async fn wait_until_it_is(account: &Account, wanted: &str) {
    account
        .wait_until(wanted, async || {
            let asked = cfn(account).await.describe_stacks().stack_name("web");
            let told = asked.send().await.ok().and_then(|told| told.stacks);
            let stack = told.and_then(|mut all| all.pop());
            let status = stack.and_then(|stack| stack.stack_status);
            status.is_some_and(|status| status.as_str() == wanted)
        })
        .await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_while_cloudformation_works_it_says_so_and_the_same_command_goes_on() {
    let account = open().await;
    let slow = |resource, action, seconds| json!({"resource": resource, "action": action, "seconds": seconds});
    account
        .control("trouble", slow("GroupBlue", "CREATE", 600))
        .await;
    let certificate = certificate(&account).await;
    let words = first_words(&certificate);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let deploy = start_leaping(&account, &words);
    wait_until_it_is(&account, "CREATE_IN_PROGRESS").await;
    deploy.signal(Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    let told = "CloudFormation goes on making stack web, and no traffic has moved; go on: amibake stack deploy web ";
    assert!(said.contains(told), "{said}");
    assert!(said.contains(&certificate), "{said}");
    account.control("troubles/clear", json!({})).await;
    amibake_leaping(&account, &words, 0).await;
    assert_settled(&account, "Blue").await;

    account
        .control("trouble", slow("LaunchTemplateGreen", "UPDATE", 600))
        .await;
    let deploy = start_leaping(&account, &DEPLOY);
    wait_until_it_is(&account, "UPDATE_IN_PROGRESS").await;
    deploy.signal(Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    assert!(
        said.contains("the traffic is blue 100 %, green 0 %"),
        "{said}"
    );
    assert!(
        said.contains("go on: ") && said.contains("go back: "),
        "{said}"
    );
    account.control("troubles/clear", json!({})).await;
    amibake_leaping(&account, &DEPLOY, 0).await;
    assert_settled(&account, "Green").await;
}

/// Somebody's update of the stack while a rollout is under way.
#[derive(Debug, Clone, Copy)]
struct Update {
    /// How much of the traffic green has then.
    percent: i64,
    is_rolled_back: bool,
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn an_update_in_the_middle_of_a_rollout_and_a_rolled_back_one_move_no_traffic() {
    let mut updates = Vec::new();
    for percent in [0, 10] {
        updates.extend([false, true].map(|is_rolled_back| Update {
            percent,
            is_rolled_back,
        }));
    }
    let swept = cases::sweep("updates in the middle", updates, |update, _| {
        match update.percent {
            0 => before_traffic_moves(*update).boxed_local(),
            _ => while_traffic_is_shared(*update).boxed_local(),
        }
    });
    println!("{}", swept.told);
    swept.insist();
}

/// The rollout waits for the end of it, since it may need the stack. Its instances take their time, which their group, for
/// which none passes here before it would call one unhealthy for good, is not to notice.
async fn before_traffic_moves(update: Update) {
    let account = live().await;
    let image = another_image(&account).await;
    let bad = json!([{"image": image, "health": 500}]);
    account.control("answers", bad).await;
    let deploy = [
        "stack", "deploy", "web", "--ami", &image, "--bake", "1s", "--keep", "1s",
    ];
    let words = [&deploy[..], &["--healthy-within", FOR_EVER]].concat();
    let deploy = start_watched(&account, &words);
    account
        .wait_until("green's instances", async || {
            let told = status(&account).await;
            told["colours"]["green"]["instances"]
                .as_array()
                .map(Vec::len)
                == Some(2)
        })
        .await;
    let before = routing(&account).await;
    begin(&account, update).await;
    account.control("answers", json!([])).await;
    account
        .wait_until("green's health", async || {
            status(&account).await["colours"]["green"]["healthy"] == 2
        })
        .await;
    account.control("calls/clear", json!({})).await;
    account
        .wait_until("twenty looks more", async || {
            let actions = account.actions().await;
            let looks = actions.iter().filter(|a| *a == "DescribeAutoScalingGroups");
            looks.count() > 20
        })
        .await;
    assert_same(&before, &account, update).await;
    // From here on the rollout does what it is to do.
    account.control("troubles/clear", json!({})).await;
    let said = deploy.end().await.ended(0).said;
    let told = "waiting for the stack, which is UPDATE_IN_PROGRESS";
    assert!(said.contains(told), "{update:?}: {said}");
    assert_ended(&account, update).await;
    assert_settled(&account, "Green").await;
}

/// The rollout watches, and goes on with that.
async fn while_traffic_is_shared(update: Update) {
    let account = live().await;
    let watched = [&DEPLOY[..7], &["--bake", FOR_EVER]].concat();
    let deploy = start_watched(&account, &watched);
    let is_shared =
        async || traffic(&status(&account).await) == (100 - update.percent, update.percent);
    account.wait_until("its share", is_shared).await;
    let before = routing(&account).await;
    begin(&account, update).await;
    assert_same(&before, &account, update).await;
    account.control("troubles/clear", json!({})).await;
    assert_ended(&account, update).await;
    assert_same(&before, &account, update).await;
    deploy.signal(Signal::INT);
    let said = deploy.end().await.ended(130).said;
    assert!(
        said.contains("the traffic is blue 90 %, green 10 %"),
        "{said}"
    );
    assert_same(&before, &account, update).await;
    amibake_leaping(&account, &DEPLOY, 0).await;
    assert_settled(&account, "Green").await;
}

/// Begins the update, which then is under way until its troubles are cleared.
async fn begin(account: &Account, update: Update) {
    let mut trouble = json!({"resource": "GroupGreen", "action": "UPDATE", "seconds": 600});
    if update.is_rolled_back {
        trouble["reason"] = json!("the quota is used up");
    }
    account.control("trouble", trouble).await;
    change_by_hand(account, "MaxSize", "6").await;
    wait_until_it_is(account, "UPDATE_IN_PROGRESS").await;
    account
        .wait_until("a resource under way", async || {
            let troubles = account.control("troubles", json!({})).await;
            troubles[0]["hit"] == 1
        })
        .await;
}

async fn assert_ended(account: &Account, update: Update) {
    let (status, size) = match update.is_rolled_back {
        true => ("UPDATE_ROLLBACK_COMPLETE", "4"),
        false => ("UPDATE_COMPLETE", "6"),
    };
    assert_eq!(settled(account, "web").await, status);
    let parameters = described(account, "web").await.parameters.unwrap();
    let is_size = |p: &&Parameter| p.parameter_key() == Some("MaxSize");
    let size_now = parameters.iter().find(is_size).unwrap();
    assert_eq!(size_now.parameter_value(), Some(size));
}

/// Returns what decides on where requests go, and how many instances there are to be for them.
async fn routing(account: &Account) -> Json {
    let outputs = outputs(account, "web").await;
    let config = settings(account).load().await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config);
    let rules = elb.describe_rules().listener_arn(&outputs["Listener"]);
    let rules = rules.send().await.unwrap();
    let asg = aws_sdk_autoscaling::Client::new(&config);
    let groups = asg.describe_auto_scaling_groups().send().await.unwrap();
    let sizes = groups.auto_scaling_groups().iter();
    let sizes = sizes.map(|group| (group.min_size(), group.desired_capacity()));
    json!({
        "rules": format!("{:#?}", rules.rules()),
        "sizes": sizes.collect::<Vec<_>>(),
        "rollout": status(account).await["rollout"],
    })
}

/// Insists that requests go where they went, and all are answered.
async fn assert_same(before: &Json, account: &Account, update: Update) {
    assert_eq!(*before, routing(account).await, "{update:?}");
    let listener = outputs(account, "web").await["Listener"].clone();
    let asked = json!({"listener": listener, "count": 100});
    let answers = account.control("requests", asked).await;
    assert_eq!(
        answers["statuses"],
        json!({"200": 100}),
        "{update:?}: {answers}"
    );
}
