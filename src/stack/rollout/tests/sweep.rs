//! Every changing call of every kind of rollout goes wrong in every way there is, and then somebody goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::fake::{Fault, Quality, World};
use super::super::step::End;
use super::super::wanted::{OnFailure, Wanted, Way};
use super::{
    NEW, OLD, Outcome, command, deploy, live, reset, rollback, settled, smoke_tests, wanted,
};

/// What is being done when a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    First,
    Deploy,
    BadHealth,
    BadUnderTraffic,
    Smoke,
    BadSmoke,
    RollbackWarm,
    RollbackCold,
    /// Its image boots slowly.
    RollbackSlow,
    Parameters,
    Both,
    /// Over instances that are ill, and were kept.
    AfterKept,
    OtherImageAfterAKill,
}

impl Scenario {
    const ALL: [Self; 13] = [
        Self::First,
        Self::Deploy,
        Self::BadHealth,
        Self::BadUnderTraffic,
        Self::Smoke,
        Self::BadSmoke,
        Self::RollbackWarm,
        Self::RollbackCold,
        Self::RollbackSlow,
        Self::Parameters,
        Self::Both,
        Self::AfterKept,
        Self::OtherImageAfterAKill,
    ];

    async fn world(self) -> World {
        let world = match self {
            Self::First => World::new(),
            Self::RollbackWarm => {
                let world = live().await;
                // Killed right after all traffic has moved: the old colour is warm.
                let nth = changes(&world, 2, " Modify").await;
                world.kill_at(&deploy(2, NEW), nth + 1).await;
                world
            }
            Self::RollbackCold | Self::RollbackSlow => {
                let world = live().await;
                command(&world, &deploy(2, NEW), None).await.end();
                world
            }
            Self::AfterKept => {
                let world = live().await;
                let bad = Quality::NeverHealthy;
                world.state().quality.insert("ami-bad".to_owned(), bad);
                let mut kept = deploy(2, "ami-bad");
                kept.on_failure = OnFailure::Keep;
                command(&world, &kept, None).await.end();
                world
            }
            Self::OtherImageAfterAKill => {
                let world = live().await;
                world.kill_at(&deploy(2, "ami-other"), 7).await;
                world
            }
            Self::Deploy
            | Self::BadHealth
            | Self::BadUnderTraffic
            | Self::Smoke
            | Self::BadSmoke
            | Self::Parameters
            | Self::Both => live().await,
        };
        if self == Self::RollbackSlow {
            let slow = Quality::Slow;
            world.state().quality.insert(OLD.to_owned(), slow);
        }
        let quality = match self {
            Self::BadHealth => Quality::NeverHealthy,
            Self::BadUnderTraffic => Quality::FailsUnderTraffic,
            Self::BadSmoke => Quality::FailsSmoke,
            _ => Quality::Good,
        };
        world.state().quality.insert(NEW.to_owned(), quality);
        reset(&world);
        world
    }

    fn wanted(self, number: u64) -> Wanted {
        let mut wanted = match self {
            Self::First => deploy(number, OLD),
            Self::RollbackWarm | Self::RollbackCold | Self::RollbackSlow => rollback(number),
            Self::Parameters => forward(number, &[("InstanceType", "t3.large")]),
            Self::Both => forward(number, &[("ImageId", NEW), ("InstanceType", "t3.large")]),
            _ => deploy(number, NEW),
        };
        wanted.pacing.healthy_within = match self {
            Self::RollbackSlow => Duration::from_secs(600),
            _ => Duration::from_secs(120),
        };
        if matches!(self, Self::Smoke | Self::BadSmoke) {
            wanted.smoke = Some(smoke_tests());
        }
        wanted
    }

    /// Returns whether the image itself makes its colour worse under traffic.
    fn may_dip(self) -> bool {
        matches!(self, Self::BadUnderTraffic)
    }
}

fn forward(number: u64, parameters: &[(&str, &str)]) -> Wanted {
    let pairs = parameters.iter();
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let parameters = pairs.collect();
    wanted(number, Way::Forward { parameters })
}

impl World {
    /// Has a process die after so many changing calls.
    async fn kill_at(&self, wanted: &Wanted, nth: usize) {
        let outcome = command(self, wanted, Some((nth, Fault::KilledAfter))).await;
        assert!(matches!(outcome, Outcome::Died), "{outcome:?}");
    }
}

/// Returns how many calls a deploy makes until it has made the last of a kind.
async fn changes(_like: &World, number: u64, kind: &str) -> usize {
    let world = live().await;
    command(&world, &deploy(number, NEW), None).await.end();
    let state = world.state();
    let last = state.made.iter().rposition(|call| call.contains(kind));
    last.expect("it makes one") + 1
}

/// How somebody goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Again,
    Back,
}

/// Every changing call of every scenario × every way to go wrong × both ways to go on.
#[tokio::test]
async fn whatever_goes_wrong_with_a_call_a_second_command_comes_to_one_of_the_two_ends() {
    let since = std::time::Instant::now();
    let (mut cases, mut died, mut ends) = (0, 0, BTreeMap::<String, usize>::new());
    for scenario in Scenario::ALL {
        let world = scenario.world().await;
        let _whatever = command(&world, &scenario.wanted(10), None).await;
        let calls = world.state().made.len();
        assert!(calls > 3, "{scenario:?} makes {calls} calls");
        for nth in 1..=calls {
            for fault in Fault::ALL {
                for then in [Then::Again, Then::Back] {
                    cases += 1;
                    let what = format!("{scenario:?}, call {nth} {fault:?}, {then:?}");
                    let (has_died, end) = case(scenario, nth, fault, then, &what).await;
                    died += usize::from(has_died);
                    *ends.entry(end).or_default() += 1;
                }
            }
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    println!("rollout: {cases} cases, {died} killed, {seconds:.0} s, {ends:?}");
    assert!(cases > 500, "{cases}");
}

async fn case(
    scenario: Scenario,
    nth: usize,
    fault: Fault,
    then: Then,
    what: &str,
) -> (bool, String) {
    let world = scenario.world().await;
    let before = world.state().capacity();
    let first = command(&world, &scenario.wanted(10), Some((nth, fault))).await;
    world.pass(Duration::from_secs(7));
    let next = match then {
        Then::Again => scenario.wanted(11),
        Then::Back => rollback(11),
    };
    let second = command(&world, &next, None).await;
    let Outcome::Ended(ended) = second else {
        panic!("{what}: it died");
    };
    let told = format!(
        "{what}: {first:?}, then {ended:?}\n{}",
        world.state().made.join("\n")
    );
    let end = ended.as_ref().as_ref().unwrap_or_else(|_| panic!("{told}"));
    if scenario == Scenario::First && then == Then::Back {
        // There was nothing to go back to; a deploy still goes on.
        let is_so = matches!(end, End::NothingToGoBackTo { .. });
        assert!(is_so, "{told}");
        command(&world, &scenario.wanted(12), None).await.end();
    }
    if scenario == Scenario::First || !matches!(end, End::NothingToGoBackTo { .. }) {
        settled(&world).unwrap_or_else(|why| panic!("{why}: {told}"));
    }
    let least = world.state().least;
    assert!(
        scenario.may_dip() || least >= before,
        "{before} became {least}: {told}"
    );
    let name = format!("{end:?}");
    let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
    (matches!(first, Outcome::Died), name)
}
