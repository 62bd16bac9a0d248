//! Deploys and rollbacks that are killed, on real machines behind the stack that ships: before, while and after AWS does
//! what they ask. Another process goes on or turns back, and whoever asks the site meanwhile sees nothing of it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::load::{Load, summary};
use crate::support::site::{Deployed, PACE};
use crate::support::turns::{Turns, assert_served};
use crate::support::{expect_exit, text, wait_for};

/// What a process is to do.
#[derive(Debug, Clone, Copy)]
enum Typed {
    Deploy,
    Rollback,
}
use Typed::{Deploy, Rollback};

/// When it dies.
#[derive(Debug, Clone, Copy)]
enum Dies {
    /// The call is not made.
    Before,
    /// It is made when its process is dead.
    During,
    /// It is made, and nobody hears the answer.
    After,
}
use Dies::{After, Before, During};

/// A process, the call of it at which it dies (of this name, counted from 1), and when.
type Kill = (Typed, &'static str, u32, Dies);

/// One process goes on where the one before it has died: to green, once on the way back, and back to blue.
const THERE_AND_BACK: [Kill; 15] = [
    (Deploy, "AddTags", 1, Before),
    (Deploy, "CreateChangeSet", 1, During),
    (Deploy, "ExecuteChangeSet", 1, After),
    (Deploy, "SuspendProcesses", 1, Before),
    (Deploy, "UpdateAutoScalingGroup", 1, During),
    (Deploy, "ModifyRule", 1, After),
    // With 10 % of the traffic at green.
    (Deploy, "ModifyRule", 1, Before),
    (Deploy, "ModifyRule", 1, During),
    // With half of it.
    (Rollback, "ModifyRule", 1, Before),
    (Deploy, "ModifyRule", 1, After),
    // With all of it.
    (Deploy, "AddTags", 2, During),
    (Rollback, "AddTags", 1, After),
    (Rollback, "ModifyRule", 1, During),
    // With none.
    (Rollback, "AddTags", 2, Before),
    (Rollback, "UpdateAutoScalingGroup", 1, During),
];

/// And once more to green, whose instance is gone by then.
const AGAIN: [Kill; 1] = [(Deploy, "UpdateAutoScalingGroup", 1, After)];

/// Dead for so long, in seconds, a process has its lock no more.
const DEAD: u32 = 601;

/// What is done to one stack.
struct Site {
    deployed: Deployed,
    /// What is deployed to green.
    image: String,
    killed: u32,
}

impl Site {
    fn command(&self, typed: Typed, more: &[&str]) -> Command {
        match typed {
            Deploy => self.deployed.deploy(&self.image, more),
            Rollback => self.deployed.cloud.amibake(["stack", "rollback", "web"]),
        }
    }

    /// Has a process die at a call of its own.
    fn is_killed(&mut self, (typed, action, nth, dies): Kill) {
        self.killed += 1;
        let cloud = &self.deployed.cloud;
        let kind = match dies {
            Before => "hang",
            During => "hold-before",
            After => "hold",
        };
        cloud.fault(action, kind, json!({"nth": nth, "seconds": 600}));
        let warm = ["--bake", "1s", "--keep", "5m", "--healthy-within", "80s"];
        let mut process = cloud.run(&mut self.command(typed, &warm));
        let what = format!("{typed:?} to come to call {nth} of {action}");
        wait_for(&what, Duration::from_mins(2), || {
            assert!(process.runs(), "{what}: {}", process.said());
            cloud.is_held(action)
        });
        process.kill();
        cloud.control("release", Some(json!({})));
        wait_for("the call's end", Duration::from_mins(1), || {
            !cloud.is_held(action)
        });
        cloud.control("ways", Some(json!({"clock_skew": self.killed * DEAD})));
    }

    /// Has a process come to its end.
    fn is_done(&self, typed: Typed) -> Json {
        let output = expect_exit(&mut self.command(typed, &PACE), 0);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stdout)))
    }

    /// Waits until a colour's last instance is gone.
    fn wait_until_empty(&self, colour: &str) {
        wait_for("the last instance's end", Duration::from_mins(1), || {
            let picture = self.deployed.picture(colour);
            picture["instances"] == json!([]) && picture["sizes"] == json!([0, 0, 4])
        });
    }
}

#[test]
fn whoever_dies_of_deploys_and_rollbacks_another_comes_to_an_end_and_no_request_fails() {
    let deployed = Deployed::start();
    let image = deployed.cloud.image_of("v2");
    let load = Load::start(&deployed.site, "/");
    let blue = deployed.picture("Blue");
    let mut site = Site {
        deployed,
        image,
        killed: 0,
    };

    THERE_AND_BACK
        .into_iter()
        .for_each(|kill| site.is_killed(kill));
    let end = site.is_done(Rollback);
    assert_eq!(end, json!({"ended": "is-back", "live": "blue"}));
    assert_eq!(site.deployed.picture("Blue"), blue);
    assert_eq!(site.deployed.answer(), (200, "v1".to_owned()));
    site.wait_until_empty("Green");

    AGAIN.into_iter().for_each(|kill| site.is_killed(kill));
    let told = site.is_done(Deploy);
    let live = json!({"ended": "live", "live": "green", "previous": "blue"});
    assert_eq!(told["rollout"], live);
    assert_eq!(site.deployed.answer(), (200, "v2".to_owned()));
    site.wait_until_empty("Blue");

    let deployed = &site.deployed;
    let colours = [
        ("v1", deployed.group("Blue")),
        ("v2", deployed.group("Green")),
    ];
    let (answers, turns) = (load.end(), Turns::read(&deployed.cloud));
    assert_served(&answers, &turns, &colours);
    for version in ["v1", "v2"] {
        let by_it = answers.iter().filter(|one| one.is_of(version));
        assert!(by_it.count() > 100, "{version}: {turns:?}");
    }
    println!("{} processes killed, {}", site.killed, summary(&answers));
}
