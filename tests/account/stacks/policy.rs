//! The policies in stack/iam are enough for the commands that they are for, all of each is used, and a command that
//! lacks one action of them ends with its name, or says that it goes on without; whatever serves is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::cases;
use super::super::child::{Outcome, Process, Work};
use super::super::server::Account;
use super::deploy::first_words;
use super::destroy::{green_live, none_can_be_deleted};
use super::rollout::{DEPLOY, bring_up, forward, kept_warm, live, roll, status};
use super::{
    amibake_leaping, another_image, certificate, cfn, make_web, open, outputs, start_leaping,
};
use crate::clock::leaping;
use crate::stack::template;

/// Smoke tests talk to a listener, which a clock that leaps does not know of.
const PACE_OF_SMOKE_TESTS: u32 = 10;

/// So many actions are tried on one account, one after the other, as long as nothing changes in it.
const CHUNK: usize = 4;

/// What a policy of stack/iam is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    Deploy,
    Rollback,
    Destroy,
    Status,
    History,
}

impl Command {
    fn policy(self) -> Json {
        let text = match self {
            Self::Deploy => include_str!("../../../stack/iam/deploy.json"),
            Self::Rollback => include_str!("../../../stack/iam/rollback.json"),
            Self::Destroy => include_str!("../../../stack/iam/destroy.json"),
            Self::Status => include_str!("../../../stack/iam/status.json"),
            Self::History => include_str!("../../../stack/iam/history.json"),
        };
        serde_json::from_str(text).unwrap()
    }

    /// Returns the policy without these.
    fn policy_without(self, actions: &[&str]) -> Json {
        let mut policy = self.policy();
        for statement in policy["Statement"].as_array_mut().unwrap() {
            let left = statement["Action"].as_array_mut().unwrap();
            left.retain(|action| !actions.contains(&action.as_str().unwrap()));
        }
        policy
    }

    /// Returns the actions of those statements whose name is such a one.
    fn actions(self, is_meant: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let policy = self.policy();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let meant = statements.filter(|one| is_meant(one["Sid"].as_str().unwrap()));
        let actions = meant.flat_map(|one| one["Action"].as_array().unwrap());
        actions.map(|a| a.as_str().unwrap().to_owned()).collect()
    }

    /// Returns what the policy says that the command goes on without.
    fn may_lack(self, action: &str) -> bool {
        let may = self.actions(|sid| sid == "MayBeMissing" || sid.starts_with("Lock"));
        may.contains(action)
    }
}

/// A whole command, and what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scenario {
    First,
    Image,
    Parameters,
    RollbackWarm,
    RollbackCold,
    Destroy,
    Status,
    History,
    // For what the ones above do not ask.
    Plan,
    PlanOfNew,
    SameTemplate,
    SmokeTests,
    BadImage,
    Held,
    DestroyFails,
    DestroyHeld,
}

impl Scenario {
    const ALL: [Self; 16] = [
        Self::First,
        Self::Image,
        Self::Parameters,
        Self::RollbackWarm,
        Self::RollbackCold,
        Self::Destroy,
        Self::Status,
        Self::History,
        Self::Plan,
        Self::PlanOfNew,
        Self::SameTemplate,
        Self::SmokeTests,
        Self::BadImage,
        Self::Held,
        Self::DestroyFails,
        Self::DestroyHeld,
    ];

    fn command(self) -> Command {
        match self {
            Self::First
            | Self::Image
            | Self::Parameters
            | Self::Plan
            | Self::PlanOfNew
            | Self::SameTemplate
            | Self::SmokeTests
            | Self::BadImage
            | Self::Held => Command::Deploy,
            Self::RollbackWarm | Self::RollbackCold => Command::Rollback,
            Self::Destroy | Self::DestroyFails | Self::DestroyHeld => Command::Destroy,
            Self::Status => Command::Status,
            Self::History => Command::History,
        }
    }

    /// Returns whether each action that it asks is taken from it, not only those that no other asks.
    fn is_tried_whole(self) -> bool {
        self <= Self::History
    }

    /// Returns how it ends with the whole policy.
    fn code(self) -> u8 {
        match self {
            Self::Held | Self::DestroyHeld => 1,
            Self::DestroyFails => 3,
            Self::BadImage => 4,
            _ => 0,
        }
    }

    /// Makes what it finds, and returns what is typed then.
    async fn ready(self) -> Ready {
        let deploy = ["stack", "deploy", "web", "--bake", "1s", "--keep", "1s"];
        let with = |more: &[&str]| words(&[&deploy[..], more].concat());
        match self {
            Self::First => {
                let account = open().await;
                let words = first_words(&certificate(&account).await);
                Ready { account, words }
            }
            Self::Image => {
                let account = live().await;
                let words = with(&["--ami", &another_image(&account).await]);
                Ready { account, words }
            }
            Self::Parameters => Ready {
                account: live().await,
                words: with(&["--ami", "current", "--param", "MaxSize=6"]),
            },
            Self::RollbackWarm => {
                let account = live().await;
                kept_warm(&account, forward("t3.medium")).await;
                leave_smoke_rule(&account).await;
                hold_lock(&account).await;
                let words = words(&["stack", "rollback", "web"]);
                Ready { account, words }
            }
            Self::RollbackCold => {
                let account = open().await;
                // So many are not launched between two looks.
                bring_up(&account, &[("MinSize", "12"), ("MaxSize", "12")]).await;
                roll(&account, forward("t3.medium")).await.unwrap();
                suspend(&account, "GroupBlue").await;
                let words = words(&["stack", "rollback", "web"]);
                Ready { account, words }
            }
            Self::Destroy => Ready {
                account: green_live().await,
                words: words(&["stack", "destroy", "web", "--yes"]),
            },
            Self::Status => Ready {
                account: live().await,
                words: words(&["stack", "status", "web"]),
            },
            Self::History => {
                let account = open().await;
                make_web(&account, "web", &[]).await;
                let words = words(&["stack", "history", "web"]);
                Ready { account, words }
            }
            Self::Plan
            | Self::PlanOfNew
            | Self::SameTemplate
            | Self::SmokeTests
            | Self::BadImage
            | Self::Held
            | Self::DestroyFails
            | Self::DestroyHeld => Box::pin(self.ready_for_the_rest()).await,
        }
    }

    /// The same of what is tried for what the usual ones do not ask.
    async fn ready_for_the_rest(self) -> Ready {
        let deploy = ["stack", "deploy", "web", "--bake", "1s", "--keep", "1s"];
        let with = |more: &[&str]| words(&[&deploy[..], more].concat());
        match self {
            Self::Plan => Ready {
                account: live().await,
                words: with(&["--ami", "current", "--param", "MaxSize=6", "--plan"]),
            },
            Self::PlanOfNew => {
                let account = open().await;
                let mut words = first_words(&certificate_in_iam(&account).await);
                words.push("--plan".to_owned());
                Ready { account, words }
            }
            Self::SameTemplate => {
                let account = live().await;
                let path = file(&account, "web.yaml", template::WEB);
                let words = with(&["--ami", "current", "--template", &path]);
                Ready { account, words }
            }
            Self::SmokeTests => {
                let account = open().await;
                account
                    .control("stacks", json!({"names": "loopback"}))
                    .await;
                bring_up(&account, &[]).await;
                let tests = "- {path: /, host: web.test, within: 300}\n";
                let path = file(&account, "smoke.yaml", tests);
                let words = words(&[&DEPLOY[..], &["--smoke", &path]].concat());
                Ready { account, words }
            }
            Self::BadImage => {
                let account = live().await;
                let image = another_image(&account).await;
                let bad = json!([{"image": image, "health": 500, "status": 500}]);
                account.control("answers", bad).await;
                let words = with(&["--ami", &image, "--healthy-within", "1m"]);
                Ready { account, words }
            }
            Self::Held => {
                let account = live().await;
                hold_lock(&account).await;
                let words = words(&DEPLOY);
                Ready { account, words }
            }
            Self::DestroyFails => {
                let account = green_live().await;
                none_can_be_deleted(&account).await;
                let words = words(&["stack", "destroy", "web", "--yes"]);
                Ready { account, words }
            }
            Self::DestroyHeld => {
                let account = open().await;
                make_web(&account, "web", &[]).await;
                hold_lock(&account).await;
                let words = words(&["stack", "destroy", "web", "--yes"]);
                Ready { account, words }
            }
            other => unreachable!("{other:?} is made by `ready`"),
        }
    }
}

/// An account as a scenario finds it, and what is typed.
struct Ready {
    account: Account,
    words: Vec<String>,
}

impl Ready {
    /// Runs the command by this policy; afterwards all is allowed again.
    async fn run(&self, scenario: Scenario, policy: &Json) -> Outcome {
        set(&self.account, policy).await;
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let process = match scenario {
            Scenario::SmokeTests => {
                let work = Work::Command(self.words.clone());
                Process::start(&self.account, PACE_OF_SMOKE_TESTS, work, &[])
            }
            _ => start_leaping(&self.account, &words),
        };
        let outcome = process.end().await;
        set(&self.account, &Json::Null).await;
        outcome
    }

    /// Returns all that a command could have changed.
    async fn state(&self) -> Json {
        let inventory = self.account.inventory().await;
        let Some(parameters) = parameters(&self.account).await else {
            return json!({"inventory": inventory});
        };
        let mut told = status(&self.account).await;
        told.as_object_mut().unwrap().remove("lock"); // it has an age; whether there is one, the inventory tells
        json!({"inventory": inventory, "status": told, "parameters": parameters})
    }

    /// Insists that all requests are answered by one colour; returns which, and by what instances.
    async fn serving(&self) -> Option<(Json, BTreeSet<String>)> {
        parameters(&self.account).await?;
        let told = status(&self.account).await;
        let live = told["live"].clone();
        if live.is_null() {
            return None;
        }
        let listener = outputs(&self.account, "web").await["Listener"].clone();
        let asked = json!({"listener": listener, "count": 20});
        let answers = self.account.control("requests", asked).await;
        assert_eq!(answers["statuses"], json!({"200": 20}), "{answers} {told}");
        let members = &told["colours"][live.as_str().unwrap()]["instances"];
        let members = members.as_array().unwrap().iter();
        let members: BTreeSet<&str> = members.filter_map(|i| i["id"].as_str()).collect();
        let answered = answers["instances"].as_object().unwrap().keys();
        let answered: BTreeSet<String> = answered.cloned().collect();
        let is_of_live = |id: &String| members.contains(id.as_str());
        assert!(answered.iter().all(is_of_live), "{answers} {told}");
        Some((live, answered))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn file(account: &Account, name: &str, text: &str) -> String {
    let path = account.home().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn set(account: &Account, policy: &Json) {
    account.control("ways", json!({"policy": policy})).await;
}

/// Returns the parameters of the stack, if there is one that is whole.
async fn parameters(account: &Account) -> Option<BTreeMap<String, String>> {
    let asked = cfn(account).await.describe_stacks().stack_name("web");
    let stack = asked.send().await.ok()?.stacks?.pop()?;
    let is_whole = !stack.outputs().is_empty();
    if !is_whole || stack.stack_status()?.as_str().starts_with("DELETE") {
        return None;
    }
    let pair = |p: aws_sdk_cloudformation::types::Parameter| {
        (p.parameter_key.unwrap(), p.parameter_value.unwrap())
    };
    Some(stack.parameters?.into_iter().map(pair).collect())
}

async fn certificate_in_iam(account: &Account) -> String {
    let words = ["cert", "web", "--in", "iam", "--domain", "web.test"];
    let outcome = amibake_leaping(account, &words, 0).await;
    outcome.stdout.trim().to_owned()
}

/// Suspends what a rollout does of a group that was being made, and had no time to be made whole.
async fn suspend(account: &Account, group: &str) {
    let asg = aws_sdk_autoscaling::Client::new(&settings(account).load().await);
    let group = &outputs(account, "web").await[group];
    let asked = asg.suspend_processes().auto_scaling_group_name(group);
    let asked = asked.scaling_processes("ReplaceUnhealthy");
    asked.send().await.unwrap();
}

/// Takes the lock of the stack, as if somebody were at work.
async fn hold_lock(account: &Account) {
    let nothing = aws_sdk_ec2::types::RequestLaunchTemplateData::builder();
    let nothing = nothing.instance_type("t3.small".into()).build();
    let ec2 = aws_sdk_ec2::Client::new(&settings(account).load().await);
    let asked = ec2.create_launch_template();
    let asked = asked.launch_template_name("amibake-lock-stack-web");
    asked.launch_template_data(nothing).send().await.unwrap();
}

/// Makes a rule as a deploy leaves it that is killed in its smoke tests.
async fn leave_smoke_rule(account: &Account) {
    use aws_sdk_elasticloadbalancingv2::types::{
        Action, ActionTypeEnum, HttpHeaderConditionConfig, RuleCondition, Tag,
    };
    let outputs = outputs(account, "web").await;
    let header = HttpHeaderConditionConfig::builder()
        .http_header_name("X-Amibake-Smoke")
        .values("secret")
        .build();
    let condition = RuleCondition::builder().field("http-header");
    let action = Action::builder().r#type(ActionTypeEnum::Forward);
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let asked = elb
        .create_rule()
        .listener_arn(&outputs["Listener"])
        .priority(1)
        .conditions(condition.http_header_config(header).build())
        .actions(
            action
                .target_group_arn(&outputs["TargetGroupGreen"])
                .build(),
        )
        .tags(tag("amibake:stack", "web"))
        .tags(tag("amibake:role", "smoke"));
    asked.send().await.unwrap();
}

/// What each scenario asked leave for.
type Used = BTreeMap<Scenario, BTreeSet<String>>;

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn the_policies_are_enough_and_a_command_that_lacks_an_action_ends_with_its_name() {
    let used = Arc::new(Mutex::new(Used::new()));
    let whole = cases::sweep("whole policies", Scenario::ALL.to_vec(), |scenario, _| {
        let used = Arc::clone(&used);
        async move {
            let asked = Box::pin(try_whole(*scenario)).await;
            used.lock().unwrap().insert(*scenario, asked);
        }
        .boxed_local()
    });
    println!("{}", whole.told);
    whole.insist();
    let used = used.lock().unwrap().clone();
    assert_all_used(&used);
    let less = lacking(&used);
    let count: usize = less.iter().map(|(_, actions)| actions.len()).sum();
    let less = cases::sweep("policies with less", less, |(scenario, actions), _| {
        try_without_each(*scenario, actions).boxed_local()
    });
    println!("{}; {count} commands without an action", less.told);
    less.insist();
}

/// Runs a scenario with the whole policy; returns what it asked leave for.
async fn try_whole(scenario: Scenario) -> BTreeSet<String> {
    let ready = Box::pin(scenario.ready()).await;
    let account = &ready.account;
    account.control("calls/clear", json!({})).await;
    account.control("demanded", json!({})).await;
    let policy = scenario.command().policy();
    let outcome = ready.run(scenario, &policy).await.ended(scenario.code());
    let refused = account.calls().await.into_iter();
    let denials = [
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
    ];
    let refused = refused.filter(|call| denials.contains(&call.answer.as_str()));
    let refused: Vec<String> = refused.map(|call| call.action).collect();
    assert!(refused.is_empty(), "{refused:?}: {}", outcome.said);
    serde_json::from_value(account.control("demanded", json!({})).await).unwrap()
}

/// Asked by who holds a lock for longer than a minute, which is chance but for a deploy.
const RENEWS: &str = "ec2:CreateLaunchTemplateVersion";

/// Insists that each policy has what is asked by some scenario, and nothing else.
fn assert_all_used(used: &Used) {
    let mut by_command = BTreeMap::<Command, BTreeSet<String>>::new();
    for (scenario, actions) in used {
        let all = by_command.entry(scenario.command()).or_default();
        all.extend(actions.iter().cloned());
    }
    for (command, mut asked) in by_command {
        if matches!(command, Command::Rollback | Command::Destroy) {
            asked.insert(RENEWS.to_owned());
        }
        assert_eq!(command.actions(|_| true), asked, "{command:?}");
    }
}

/// Returns what is tried: some actions of each scenario, which are taken from it one at a time. `./test` takes half of a
/// policy's, each from one scenario; which, is the commit's to say. With `AMIBAKE_TEST_SWEEP` set each is taken from all
/// scenarios that are tried whole.
fn lacking(used: &Used) -> Vec<(Scenario, Vec<String>)> {
    let mut asking = BTreeMap::<(Command, &String), Vec<(Scenario, &String)>>::new();
    for (scenario, actions) in used {
        for action in actions {
            let of_action = asking.entry((scenario.command(), action)).or_default();
            // What is not tried whole is there for what nobody else asks.
            if of_action.is_empty() || scenario.is_tried_whole() {
                of_action.push((*scenario, action));
            }
        }
    }
    let takes_all = std::env::var_os("AMIBAKE_TEST_SWEEP").is_some();
    let mut tried = BTreeMap::<Scenario, Vec<String>>::new();
    for few in asking.into_values() {
        if !takes_all && !cases::is_its_turn(&few, 2) {
            continue;
        }
        let one = [*cases::turn(&few)];
        let taken = if takes_all { &few[..] } else { &one };
        for (scenario, action) in taken {
            tried.entry(*scenario).or_default().push((*action).clone());
        }
    }
    let chunked = tried.into_iter().flat_map(|(scenario, actions)| {
        let chunks = actions.chunks(CHUNK).map(<[String]>::to_vec);
        chunks.map(|some| (scenario, some)).collect::<Vec<_>>()
    });
    chunked.collect()
}

async fn try_without_each(scenario: Scenario, actions: &[String]) {
    let mut unchanged = None;
    for action in actions {
        let ready = match unchanged.take() {
            Some(ready) => ready,
            None => Box::pin(scenario.ready()).await,
        };
        unchanged = try_without(scenario, action, ready).await;
    }
}

/// Takes one action from a command; returns what it finds, if that is as it was.
async fn try_without(scenario: Scenario, action: &str, ready: Ready) -> Option<Ready> {
    // What the simulator foresees does not come as far as where it is asked for in earnest.
    let lacking = ["iam:SimulatePrincipalPolicy", action];
    let policy = scenario.command().policy_without(&lacking);
    let (before, served) = (ready.state().await, ready.serving().await);
    let outcome = ready.run(scenario, &policy).await;
    let told = format!("without {action}: {}: {}", outcome.code, outcome.said);
    let bare = action.rsplit(':').next().unwrap();
    assert!(outcome.said.contains(bare), "not named {told}");
    let went_well = outcome.code == 0 || outcome.code == scenario.code();
    assert_eq!(went_well, scenario.command().may_lack(action), "{told}");
    let serves = ready.serving().await;
    if let (Some((was_live, by)), Some((live, now_by))) = (&served, &serves)
        && was_live == live
    {
        assert_eq!(by, now_by, "other instances of {live} serve {told}");
    }
    if went_well {
        return None;
    }
    let is_going =
        scenario.command() == Command::Destroy && parameters(&ready.account).await.is_none();
    assert!(served.is_none() || serves.is_some() || is_going, "{told}");
    if ready.state().await == before {
        return Some(ready);
    }
    // Who may do all of it goes on from there.
    let again = ready.run(scenario, &scenario.command().policy()).await;
    let is_gone = scenario == Scenario::Destroy && again.code == 2;
    assert!(
        again.code == scenario.code() || is_gone,
        "{}: {} after {told}",
        again.code,
        again.said
    );
    None
}

/// Where IAM's simulator may be asked, nothing is changed by who lacks something.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn what_is_not_allowed_is_foreseen_where_iam_may_be_asked() {
    leaping::run(async {
        let account = live().await;
        let needed = Command::Deploy.actions(|sid| sid == "Needed");
        // Its rule is there.
        let unasked = "elasticloadbalancing:CreateRule";
        let asked = needed.iter().filter(|one| *one != unasked);
        for action in asked {
            set(&account, &Command::Deploy.policy_without(&[action])).await;
            account.control("calls/clear", json!({})).await;
            let outcome = amibake_leaping(&account, &DEPLOY, 1).await;
            let bare = action.rsplit(':').next().unwrap();
            assert!(outcome.said.contains(bare), "{action}: {}", outcome.said);
            let mut asked = account.actions().await;
            asked.retain(|a| {
                let reads = ["Describe", "Get", "Simulate"];
                !reads.iter().any(|verb| a.starts_with(verb))
            });
            assert_eq!(asked, Vec::<String>::new(), "{action}");
        }
        let lacking = [
            "autoscaling:SuspendProcesses",
            "elasticloadbalancing:ModifyRule",
        ];
        set(&account, &Command::Deploy.policy_without(&lacking)).await;
        let outcome = amibake_leaping(&account, &DEPLOY, 1).await;
        let told = "denied: elasticloadbalancing:ModifyRule, autoscaling:SuspendProcesses";
        assert!(outcome.said.contains(told), "{}", outcome.said);
    });
}
