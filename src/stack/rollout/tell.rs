//! A rollout's waits, and its traffic, in words.

use super::colour::Colour;
use super::state::Observed;
use super::step::Waiting;
use super::wanted::Wanted;

/// Returns who has how much of the traffic.
pub(super) fn traffic(seen: &Observed) -> String {
    let told = |colour: Colour| format!("{colour} {} %", seen.percent(colour));
    format!(
        "the traffic is {}, {}",
        told(Colour::Blue),
        told(Colour::Green)
    )
}

/// Returns what is waited for, in words.
pub(super) fn waiting(on: &Waiting, seen: &Observed, wanted: &Wanted) -> String {
    let state = |colour: Colour| {
        let state = &seen.colours[colour];
        let (healthy, desired) = (state.healthy(), state.group.desired);
        let failing: Vec<String> = state.failing().collect();
        match failing.is_empty() {
            true => format!("{healthy} of {desired} instances of {colour} are healthy"),
            false => format!(
                "{healthy} of {desired} instances of {colour} are healthy; {}",
                failing.join("; ")
            ),
        }
    };
    match on {
        Waiting::Stack(status) => format!("waiting for the stack, which is {status}"),
        Waiting::Drained => "waiting for requests under way".to_owned(),
        Waiting::Leaving => "waiting for instances that leave".to_owned(),
        Waiting::Health => match seen.intent() {
            Some(intent) => state(intent.to),
            None => "waiting for health".to_owned(),
        },
        Waiting::Alarms(names) => format!("waiting for alarms to end: {}", names.join(", ")),
        Waiting::Tags => "waiting for tags to be everywhere".to_owned(),
        Waiting::Bake => format!(
            "watching for {} s: {}",
            wanted.pacing.bake.as_secs(),
            traffic(seen)
        ),
        Waiting::Metrics => "waiting for CloudWatch to count answers".to_owned(),
        Waiting::Keep => format!(
            "the old colour stays warm for {} s; nothing else is to be done",
            wanted.pacing.keep.as_secs()
        ),
    }
}
