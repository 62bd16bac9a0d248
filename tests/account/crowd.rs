//! Many builds at once in one process, each with a session that lives and a megabyte of events, in one
//! account that throttles them by chance.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::build::Build;
use super::chance::Chance;
use super::child::{Process, Work};
use super::live::{Door, Sshd};
use super::server::Account;
use crate::exit::{Exit, Failure};

/// How many builds there are, unless `AMIBAKE_TEST_BUILDS` says so: two hundred take a test EC2 with one
/// processor some minutes.
const BUILDS: usize = 40;

/// Of a hundred calls that EC2 gets, so many are throttled.
const THROTTLED: f64 = 0.1;

/// How fast their clock goes: the server has one processor for all of them, and what two hundred ask it for
/// together takes it half a second.
fn pace(builds: usize) -> u32 {
    if builds > BUILDS { 1 } else { 4 }
}

/// How often a build itself looks at one kind of thing at the most, whatever it waits for.
const READS: u32 = 6;

/// What the builder may take at its peak, with all of them.
const MEMORY_MIB: u64 = 300;

/// What comes of a crowd.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Crowd {
    images: Vec<String>,
    /// What each that failed and cleaned up said.
    unwound: Vec<String>,
    seconds: f64,
    peak_kib: u64,
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn builds_at_once_that_are_throttled_by_chance_all_end_and_leave_nothing() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let chance = Chance::seeded();
    println!(
        "crowd: seed {0} (AMIBAKE_TEST_SEED={0} asks for it again)",
        chance.seed
    );
    let ways = json!({"throttle_share": THROTTLED, "seed": chance.seed});
    account.control("ways", ways).await;
    let wanted = std::env::var("AMIBAKE_TEST_BUILDS");
    let builds = wanted.map_or(BUILDS, |builds| builds.parse().unwrap());
    let sshd = Sshd::start();
    // In a process of its own, whose memory is the builder's alone.
    let work = Work::Crowd {
        builds,
        door: sshd.door(),
    };
    let process = Process::start(&account, pace(builds), work, &[]);
    let outcome = process.end().await.ended(0);
    let crowd: Crowd = serde_json::from_str(&outcome.stdout).unwrap();
    let mut after = account.inventory().await;
    after.values_mut().for_each(|ids| ids.sort());
    assert_eq!(after["images"], crowd.images);
    assert_eq!(after["snapshots"].len(), crowd.images.len());
    for (kind, had) in &before {
        if kind != "images" && kind != "snapshots" {
            assert_eq!(after[kind].len(), had.len(), "{kind}");
        }
    }
    let polls = polls(&account).await;
    println!(
        "crowd: {builds} builds at once, {} images, {} unwound; {:.0} s, peak memory {} MiB; \
         polls of instances, images, snapshots: {polls:?}",
        crowd.images.len(),
        crowd.unwound.len(),
        crowd.seconds,
        crowd.peak_kib / 1024
    );
    // What EC2 only puts off costs no build its image.
    assert!(crowd.unwound.is_empty(), "{}", crowd.unwound.join("\n\n"));
    assert!(crowd.peak_kib / 1024 < MEMORY_MIB, "{crowd:?}");
    // A round every two seconds of their clock, each asked twice where it was throttled, and what each build
    // looks at itself when it begins and ends.
    let rounds = crowd.seconds * f64::from(pace(builds)) / 2.0 + 1.0;
    let own = f64::from(READS * u32::try_from(builds).unwrap());
    for count in polls {
        assert!(
            f64::from(count) < rounds * 1.5 + own,
            "{count} polls, {rounds} rounds"
        );
    }
}

/// Returns how often it was asked what the builds wait for.
async fn polls(account: &Account) -> [u32; 3] {
    let mut count = BTreeMap::<(String, String), u32>::new();
    for call in account.calls().await {
        let by = call.params.get("Filter.1.Name").cloned();
        *count
            .entry((call.action, by.unwrap_or_default()))
            .or_default() += 1;
    }
    let of = |action: &str, by: &str| {
        let key = (action.to_owned(), by.to_owned());
        count.get(&key).copied().unwrap_or_default()
    };
    [
        of("DescribeInstances", "instance-id"),
        of("DescribeImages", "image-id"),
        of("DescribeSnapshots", "tag:amibake:run"),
    ]
}

/// The crowd, in its process.
pub(super) async fn build_all(account: &Account, builds: usize, door: &Door) -> Crowd {
    let since = Instant::now();
    // No build is to fail since this machine is slow.
    let build = |_| Build::with(account, ", timeouts: {launch: 3h, total: 6h}");
    let mut builds: Vec<Build<'_>> = (0..builds).map(build).collect();
    let first = builds[0].ec2().await;
    for (number, build) in builds.iter_mut().enumerate() {
        build.plan.image.name = format!("web-{number}");
        build.beside = Some(Box::new(first.clone()));
        build.door = Some(Box::new(door.clone()));
    }
    let built = join_all(builds.iter().map(Build::run)).await;
    let mut crowd = Crowd::default();
    for built in built {
        let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
        match (exit, built.image) {
            (Exit::Done, Some(image)) => crowd.images.push(image.id),
            (Exit::Failed, None) => crowd.unwound.push(built.said),
            (exit, image) => panic!("{exit:?} {image:?}: {}", built.said),
        }
    }
    crowd.images.sort();
    crowd.seconds = Duration::as_secs_f64(&since.elapsed());
    crowd.peak_kib = peak_memory_kib();
    crowd
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}
