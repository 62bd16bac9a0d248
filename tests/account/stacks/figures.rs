//! What a rollout costs in calls, and how long a rollback takes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::json;

use super::super::child::{Process, Work};
use super::super::server::{Account, Call};
use super::deploy::{READING, changing_calls};
use super::rollout::{bring_up, forward, kept_warm, roll_as, wanted};
use super::{amibake_leaping, open};
use crate::clock::{self, leaping};

/// What one look at a stack asks.
const LOOK: [(&str, usize); 6] = [
    ("DescribeAlarms", 1),
    ("DescribeAutoScalingGroups", 1),
    ("DescribeRules", 1),
    ("DescribeStacks", 1),
    ("DescribeTags", 1),
    ("DescribeTargetHealth", 2),
];

/// How often a rollout looks, while it waits.
const POLL: Duration = Duration::from_secs(5);

/// How long a rollback may take until all traffic is back, by the wall's clock.
const ROLLBACK: Duration = Duration::from_secs(2);

/// What a rollout asked.
#[derive(Debug)]
struct Figures {
    looks: usize,
    /// In their order.
    changes: Vec<String>,
    calls: usize,
    took: Duration,
}

/// Rolls a stack out that has so many instances a colour, each step of it watched for so long.
async fn figures(size: &str, bake: Duration) -> Figures {
    let account = open().await;
    bring_up(&account, &[("MinSize", size), ("MaxSize", "8")]).await;
    account.control("calls/clear", json!({})).await;
    let mut wanted = wanted(forward("t3.medium"));
    wanted.pacing.bake = bake;
    let began = clock::Instant::now();
    roll_as(&account, &wanted).await.unwrap();
    let took = began.elapsed();
    let calls = account.actions().await;
    let mut asked = BTreeMap::<&str, usize>::new();
    for action in &calls {
        *asked.entry(action).or_default() += 1;
    }
    let looks = asked["DescribeAutoScalingGroups"];
    for (action, times) in LOOK {
        // An update of the stack looks at that alone.
        let more = asked[action] - times * looks;
        assert!(more <= 2, "{action}: {more} more than in {looks} looks");
    }
    // Answers are asked for twice a minute, and at each look while nobody has counted any.
    assert!(asked["GetMetricData"] <= looks, "{asked:?}");
    assert!(
        asked.get("DescribeScalingActivities") <= Some(&4),
        "{asked:?}"
    );
    Figures {
        looks,
        changes: changing_calls(&account).await,
        calls: calls.len(),
        took,
    }
}

/// Its calls grow with time: neither how many instances there are nor how many are launched makes a call more in a look.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn the_calls_of_a_deploy_grow_with_its_time_and_not_with_its_targets() {
    let [few, many, long] = leaping::run(async {
        let minute = Duration::from_secs(60);
        let few = figures("2", minute).await;
        let many = figures("8", minute).await;
        [few, many, figures("2", 3 * minute).await]
    });
    assert_eq!(few.changes, many.changes);
    assert_eq!(few.changes, long.changes);
    // Instances are launched one after the other here.
    assert!(many.looks <= few.looks + 4, "{few:?}\n{many:?}");
    for one in [&few, &many, &long] {
        let polls = one.took.as_secs() / POLL.as_secs();
        let most = usize::try_from(polls).unwrap() + 2 * one.changes.len();
        assert!(one.looks <= most, "{most} looks: {one:?}");
    }
    // Each of three steps is watched for two minutes longer, and as long again for what nobody has counted.
    let longer = long.looks - few.looks;
    assert!((138..=150).contains(&longer), "{longer}: {few:?}\n{long:?}");
    for (name, one) in [("2", &few), ("8", &many), ("2, of usual pacing,", &long)] {
        let Figures { calls, looks, .. } = one;
        let (changes, minutes) = (one.changes.len(), one.took.as_secs() / 60);
        println!(
            "deploy: {calls} calls in {minutes} min ({name} instances a colour): {looks} looks, {changes} changes"
        );
    }
}

/// Returns how long the command takes from its beginning until all traffic is back, and what it has asked by then.
async fn rollback(account: &Account) -> (Duration, Vec<Call>) {
    account.control("calls/clear", json!({})).await;
    let words = ["stack", "rollback", "web"].map(str::to_owned).to_vec();
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let began = began.unwrap().as_secs_f64();
    let process = Process::start(account, 1, Work::Command(words), &[]);
    let moved = async || {
        let actions = account.actions().await;
        actions.iter().position(|action| action == "ModifyRule")
    };
    account
        .wait_until("all traffic to be back", async || moved().await.is_some())
        .await;
    let mut calls = account.calls().await;
    calls.truncate(moved().await.unwrap() + 1);
    let at = calls[calls.len() - 1].time;
    // What is left to do waits for requests under way.
    process.signal(Signal::INT);
    process.end().await.ended(130);
    amibake_leaping(account, &["stack", "rollback", "web"], 0).await;
    (Duration::from_secs_f64(at - began), calls)
}

/// The command as it is typed, by the wall's clock, the start of its process included.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_rollback_to_a_warm_colour_moves_all_traffic_in_less_than_two_seconds() {
    leaping::run(async {
        let account = open().await;
        bring_up(&account, &[]).await;
        let mut times = Vec::new();
        // A machine may be busy with something else for a moment.
        for instance_type in ["t3.medium", "t3.large", "t3.xlarge"] {
            kept_warm(&account, forward(instance_type)).await;
            let (time, calls) = rollback(&account).await;
            let is_change = |call: &&Call| {
                let is_read = READING.iter().any(|verb| call.action.starts_with(verb));
                !is_read && !call.action.contains("LaunchTemplate") // the lock is asked for meanwhile
            };
            let changes = calls.iter().filter(is_change);
            let changes: Vec<&str> = changes.map(|call| call.action.as_str()).collect();
            assert_eq!(changes, ["AddTags", "ModifyRule"], "{calls:?}");
            assert!(calls.len() <= 32, "{calls:?}");
            times.push((time, calls.len()));
            if time < ROLLBACK {
                break;
            }
        }
        let (time, calls) = times.iter().min().unwrap();
        println!("rollback: all traffic is back after {time:.2?} and {calls} calls");
        assert!(*time < ROLLBACK, "{times:?}");
    });
}
