//! What a rollout will do, in words, each step with the calls that it makes: `--plan` prints them, and a test holds them
//! against those of a deploy.

use std::time::Duration;

use super::foresee::{Act, Finish, Foreseen, Roll};
use super::wanted::Pacing;

/// Returns the steps of a rollout, in their order; none where it has nothing to do.
pub(crate) fn foretold(foreseen: &Foreseen, pacing: &Pacing, has_smoke_tests: bool) -> Vec<String> {
    let steps = match &foreseen.act {
        Act::Nothing => return Vec::new(),
        Act::Finish(finish) => vec![left_to_do(*finish, foreseen)],
        Act::Roll(roll) => match roll.from {
            Some(_) => roll_over(roll, pacing, has_smoke_tests),
            None => roll_first(roll, pacing, has_smoke_tests),
        },
        Act::Unknown => vec!["the rollout, whose steps are known when that is done".to_owned()],
    };
    beginning(foreseen).into_iter().chain(steps).collect()
}

/// Returns what comes before anything else.
fn beginning(foreseen: &Foreseen) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(run) = &foreseen.interrupted {
        steps.push(format!(
            "run {run} did not come to its end: this goes on with it, or takes its place"
        ));
    }
    match (&foreseen.act, foreseen.has_rule) {
        (Act::Unknown, _) => {}
        (_, true) => steps.push("what is intended is written to the rule's tags (AddTags)".to_owned()),
        (_, false) => steps.push(
            "a rule that traffic follows is made before the stack's own, with what is intended in its tags (CreateRule)"
                .to_owned(),
        ),
    }
    if foreseen.has_smoke_rules {
        steps.push("rules that smoke tests have left go (DeleteRule)".to_owned());
    }
    if foreseen.is_astray {
        steps.push(
            "traffic follows to the target groups that are there now (ModifyRule)".to_owned(),
        );
    }
    steps
}

fn roll_over(roll: &Roll, pacing: &Pacing, has_smoke_tests: bool) -> Vec<String> {
    let mut steps = Vec::new();
    if !roll.parameters.is_empty() {
        let names: Vec<&str> = roll.parameters.keys().map(String::as_str).collect();
        steps.push(format!(
            "the idle colour, {}, gets its parameters: {} (CreateChangeSet, ExecuteChangeSet)",
            roll.to,
            names.join(", ")
        ));
    }
    steps.extend(bring_up(roll, pacing, has_smoke_tests));
    let bake = pacing.bake.as_secs();
    let weights = pacing.weights.iter();
    steps.extend(weights.map(|weight| {
        format!("it has {weight} % of the traffic, for {bake} s at least (ModifyRule)")
    }));
    steps.push(hand_over());
    let keep = shown(pacing.keep);
    steps.push(format!(
        "the old colour stays warm for {keep}, and is then emptied (UpdateAutoScalingGroup, AddTags)"
    ));
    steps
}

fn roll_first(roll: &Roll, pacing: &Pacing, has_smoke_tests: bool) -> Vec<String> {
    let mut steps = bring_up(roll, pacing, has_smoke_tests);
    steps.push("it has all of the traffic (ModifyRule)".to_owned());
    steps.push(hand_over());
    steps
}

/// Returns how a colour is made ready for traffic.
fn bring_up(roll: &Roll, pacing: &Pacing, has_smoke_tests: bool) -> Vec<String> {
    let (to, size) = (roll.to, roll.size);
    let keeps = format!("{to}'s group keeps what fails, to be looked at (SuspendProcesses)");
    let mut steps: Vec<String> = roll.suspends.then_some(keeps).into_iter().collect();
    steps.extend([
        match roll.from {
            Some(from) => format!(
                "{to} gets as many instances as serve now, {size}, and {from} does not become smaller (UpdateAutoScalingGroup)"
            ),
            None => format!("{to} gets its instances, {size} (UpdateAutoScalingGroup)"),
        },
        format!(
            "they are healthy in {} looks in a row, within {}",
            pacing.polls,
            shown(pacing.healthy_within)
        ),
    ]);
    if has_smoke_tests {
        steps.push(
            "the smoke tests pass, by a rule of their own that goes again (CreateRule, DeleteRule)"
                .to_owned(),
        );
    }
    steps
}

/// Returns a time in whole minutes, or in seconds: `15 min`, `90 s`.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds % 60 {
        0 if seconds > 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// Returns how a colour with all of the traffic becomes an ordinary one.
fn hand_over() -> String {
    "that is marked, and its group has its own sizes and processes again (AddTags, ResumeProcesses, UpdateAutoScalingGroup)"
        .to_owned()
}

fn left_to_do(finish: Finish, foreseen: &Foreseen) -> String {
    let live = foreseen.live.as_ref();
    let live = live.map_or_else(String::new, |(live, _)| format!(", {live},"));
    let calls = [
        (finish.resumes, "ResumeProcesses"),
        (finish.resizes, "UpdateAutoScalingGroup"),
        (true, "AddTags"),
    ];
    let calls = calls.into_iter().filter(|(is_made, _)| *is_made);
    let calls: Vec<&str> = calls.map(|(_, call)| call).collect();
    format!(
        "the colour that serves{live} has its own sizes and processes, and the other one none ({})",
        calls.join(", ")
    )
}
