//! A hundred builds at once in one account that throttles them by chance.

use futures_util::future::join_all;
use serde_json::json;

use super::build::Build;
use super::server::Account;
use crate::clock::Pace;
use crate::exit::{Exit, Failure};

const BUILDS: usize = 100;

/// Of a hundred calls that EC2 gets, so many are throttled.
const THROTTLED: f64 = 0.1;

/// The server has one processor for all of them: slower than elsewhere.
const PACE: u32 = 4;

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_hundred_builds_at_once_that_are_throttled_by_chance_all_end_and_leave_nothing() {
    let _pace = Pace::set(PACE);
    let account = Account::open().await;
    let before = account.inventory().await;
    let seed = std::env::var("AMIBAKE_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("crowd: seed {seed} (AMIBAKE_TEST_SEED={seed} asks for it again)");
    let ways = json!({"throttle_share": THROTTLED, "seed": seed});
    account.control("ways", ways).await;
    let since = std::time::Instant::now();
    // No build is to fail since this machine is slow.
    let build = |_| Build::with(&account, ", timeouts: {total: 6h}");
    let mut builds: Vec<Build<'_>> = (0..BUILDS).map(build).collect();
    for (number, build) in builds.iter_mut().enumerate() {
        build.plan.image.name = format!("web-{number}");
    }
    let built = join_all(builds.iter().map(Build::run)).await;
    let took = since.elapsed().as_secs_f64();

    let (mut images, mut unwound) = (Vec::new(), Vec::new());
    for built in built {
        let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
        match (exit, built.image) {
            (Exit::Done, Some(image)) => images.push(image.id),
            (Exit::Failed, None) => unwound.push(built.said),
            (exit, image) => panic!("{exit:?} {image:?}: {}", built.said),
        }
    }
    images.sort();
    let mut after = account.inventory().await;
    after.values_mut().for_each(|ids| ids.sort());
    assert_eq!(after["images"], images);
    assert_eq!(after["snapshots"].len(), images.len());
    for (kind, had) in &before {
        if kind != "images" && kind != "snapshots" {
            assert_eq!(after[kind].len(), had.len(), "{kind}");
        }
    }
    println!(
        "crowd: {BUILDS} builds at once, {} images, {} unwound; {took:.0} s, peak memory {} MiB",
        images.len(),
        unwound.len(),
        peak_memory_kib() / 1024
    );
    // What EC2 only puts off costs no build its image.
    assert!(unwound.is_empty(), "{}", unwound.join("\n\n"));
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}
