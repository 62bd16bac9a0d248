//! Every state that a stack may be found in, whoever has made it so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::colour::{Both, Colour, Weights};
use super::super::fake::{Group, Member, World};
use super::super::intent::{self, Direction, Intent, Phase};
use super::super::state::PROCESSES;
use super::super::step::End;
use super::{NEW, OLD, Outcome, command, deploy, reset, rollback, run_id, settled};

/// What there may be of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Members {
    None,
    Healthy,
    Booting,
    /// Of the other image, and of the version before.
    Stale,
    Ill,
    Leaving,
}

impl Members {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Healthy,
        Self::Booting,
        Self::Stale,
        Self::Ill,
        Self::Leaving,
    ];

    fn fill(self, group: &mut Group, colour: Colour, now: Duration, image: &str) {
        let count = match self {
            Self::None => 0,
            Self::Healthy | Self::Booting | Self::Stale | Self::Ill | Self::Leaving => 2,
        };
        group.members = (0..count)
            .map(|number| Member {
                id: format!("i-{colour}-{number}"),
                image: image.to_owned(),
                version: group.version - u32::from(self == Self::Stale),
                born: match self {
                    Self::Booting => now,
                    _ => now.saturating_sub(Duration::from_secs(600)),
                },
                gone: (self == Self::Leaving).then_some(now + Duration::from_secs(20)),
                is_ill: self == Self::Ill,
                is_unwell: false,
            })
            .collect();
        let is_to_stay = !matches!(self, Self::None | Self::Leaving);
        group.desired = if is_to_stay { 2 } else { 0 };
        group.min = group.desired;
    }
}

/// What the rule's tags may say.
#[derive(Debug, Clone, Copy)]
struct Said {
    to: Colour,
    from: Option<Colour>,
    direction: Direction,
    phase: Phase,
}

fn intents() -> Vec<Option<Said>> {
    let mut all = vec![None];
    for to in Colour::BOTH {
        for direction in [Direction::Forward, Direction::Back] {
            for phase in [Phase::Rolling, Phase::Keeping, Phase::Done] {
                for from in [Some(to.other()), None] {
                    // What has come to its end is as it is, wherever it came from.
                    if from.is_none() && (direction, phase) != (Direction::Forward, Phase::Rolling)
                    {
                        continue;
                    }
                    all.push(Some(Said {
                        to,
                        from,
                        direction,
                        phase,
                    }));
                }
            }
        }
    }
    all
}

/// A state that a stack may be found in, whoever has made it so.
#[derive(Debug, Clone, Copy)]
struct Found {
    members: Both<Members>,
    /// Blue's weight and green's; there is no rule where there are none.
    weights: Option<(u32, u32)>,
    said: Option<Said>,
    suspended: Both<bool>,
    /// Whether green has the new image already.
    is_new: bool,
}

impl Found {
    fn world(&self) -> World {
        let world = World::new();
        world.pass(Duration::from_secs(3600));
        let mut state = world.state();
        let now = state.now;
        if self.is_new {
            let image = NEW.to_owned();
            state.stack.parameters.insert("ImageIdGreen".into(), image);
        }
        for colour in Colour::BOTH {
            let image = state.stack.parameters[&format!("ImageId{}", colour.suffix())].clone();
            let group = &mut state.groups[colour];
            group.version = 2;
            group.idle_since = None;
            self.members[colour].fill(group, colour, now, &image);
            if self.suspended[colour] {
                group.suspended = PROCESSES.map(str::to_owned).into();
            }
        }
        if let Some((blue, green)) = self.weights {
            let mut rule = state.rules[0].clone();
            rule.0.arn = "rule-ours".to_owned();
            rule.0.priority = Some(49_999);
            rule.0.forwards = [
                ("targets-blue".to_owned(), blue),
                ("targets-green".to_owned(), green),
            ]
            .into();
            let ours = [(intent::STACK, "web"), (intent::ROLE, intent::TRAFFIC)];
            let mut tags: BTreeMap<String, String> =
                ours.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            if let Some(said) = self.said {
                let intent = Intent {
                    run: run_id(1),
                    to: said.to,
                    from: said.from,
                    direction: said.direction,
                    phase: said.phase,
                    since: time::macros::datetime!(2026-07-27 10:15:00 UTC),
                    size: 2,
                    image: OLD.to_owned(),
                    why: String::new(),
                };
                tags.extend(intent.tags());
            }
            rule.0.tags = tags;
            state.rules.push(rule);
        }
        drop(state);
        reset(&world);
        world
    }
}

fn found() -> Vec<Found> {
    let weights = [
        Weights::giving(Colour::Blue, 100),
        Weights::giving(Colour::Blue, 90),
        Weights::giving(Colour::Green, 100),
    ];
    let mut rules: Vec<(Option<(u32, u32)>, Option<Said>)> = vec![(None, None)];
    for weights in weights {
        let pair = Some((weights.blue, weights.green));
        rules.extend(intents().into_iter().map(|said| (pair, said)));
    }
    let mut all = Vec::new();
    for blue in Members::ALL {
        for green in Members::ALL {
            for (weights, said) in &rules {
                for (is_suspended, is_new) in [(false, false), (true, true)] {
                    all.push(Found {
                        members: Both { blue, green },
                        weights: *weights,
                        said: *said,
                        suspended: Both {
                            blue: false,
                            green: is_suspended,
                        },
                        is_new,
                    });
                }
            }
        }
    }
    all
}

/// From each, each command comes to one of the two ends, or says why it does nothing and does nothing; and
/// nobody is served by fewer instances than before, unless they fall ill by themselves.
#[tokio::test]
async fn from_every_state_each_command_comes_to_an_end_and_serves_no_worse_on_the_way() {
    let since = std::time::Instant::now();
    let found = found();
    let (mut cases, mut ends) = (0, BTreeMap::<String, usize>::new());
    for found in &found {
        for number in 0..2 {
            cases += 1;
            let world = found.world();
            let mut wanted = match number {
                0 => deploy(10, NEW),
                _ => rollback(10),
            };
            wanted.pacing.healthy_within = Duration::from_secs(200);
            wanted.pacing.keep = Duration::from_secs(5);
            wanted.pacing.bake = Duration::from_secs(5);
            let before = world.state().capacity();
            let Outcome::Ended(ended) = command(&world, &wanted, None).await else {
                panic!("{found:?}: it died");
            };
            let told = || {
                let made = world.state().made.join("\n");
                format!("{found:?} {:?}: {ended:?}\n{made}", wanted.way)
            };
            let Ok(end) = ended.as_ref() else {
                panic!("{}", told());
            };
            let name = format!("{end:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            *ends.entry(name).or_default() += 1;
            let least = world.state().least;
            assert!(least >= before, "{before} became {least}: {}", told());
            match end {
                End::NothingToGoBackTo { .. } => {
                    assert!(world.state().made.is_empty(), "{}", told());
                }
                // It was begun by another, and is left as that one has left it.
                End::IsBack { .. } | End::Unchanged { .. } if world.state().made.is_empty() => {}
                End::Live { .. } | End::WentBack { .. } | End::IsBack { .. } => {
                    settled(&world).unwrap_or_else(|why| panic!("{why}: {}", told()));
                }
                // Nobody was served, and what there was of the first colour is ill.
                End::NeverLive { colour, .. } => {
                    assert_eq!(before, 0, "{}", told());
                    assert_eq!(world.state().groups[*colour].desired, 0, "{}", told());
                }
                other => panic!("{other:?}: {}", told()),
            }
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    println!("rollout: {cases} states and commands, {seconds:.0} s, {ends:?}");
}
