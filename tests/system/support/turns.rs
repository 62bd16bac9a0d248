//! Whose turn it was: which colours had traffic when, and whether each answer came from one of them.

use serde_json::Value as Json;

use super::Cloud;
use super::load::Answer;

/// When which target groups had traffic: each change, in the order of their calls.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Vec<Turn>);

/// A change counts from somewhere between its call and its answer on, by the wall's clock.
#[derive(Debug, Clone)]
struct Turn {
    asked: f64,
    answered: f64,
    groups: Vec<String>,
}

impl Turns {
    /// Reads them from the calls that changed rules.
    pub(crate) fn read(cloud: &Cloud) -> Self {
        let calls = cloud.control("calls", None);
        let changes = calls.as_array().unwrap().iter().filter(|call| {
            let action = call["action"].as_str().unwrap();
            matches!(action, "CreateRule" | "ModifyRule") && call["answer"] == "ok"
        });
        let turns = changes.filter_map(|call| {
            let params = call["params"].as_object().unwrap();
            // A rule that asks for a header has nobody's traffic but the smoke tests'.
            let is_for_few = params.iter().any(|(_, v)| v == "http-header");
            let at = |name: &str| call[name].as_f64().unwrap();
            (!is_for_few).then(|| Turn {
                asked: at("time"),
                answered: at("ended"),
                groups: targets(params),
            })
        });
        Self(turns.filter(|turn| !turn.groups.is_empty()).collect())
    }

    /// Returns whose turn it was at some time between these, each a target group's ARN.
    pub(crate) fn between(&self, from: f64, to: f64) -> Vec<&str> {
        const LATE: f64 = 1.0;
        let mut turns = Vec::new();
        for (number, turn) in self.0.iter().enumerate() {
            let next = self.0.get(number + 1);
            let until = next.map_or(f64::MAX, |next| next.answered + LATE);
            if turn.asked <= to && from <= until {
                turns.extend(turn.groups.iter().map(String::as_str));
            }
        }
        turns
    }

    /// Returns whose turn it is now.
    pub(crate) fn last(&self) -> Vec<&str> {
        let last = self.0.last();
        last.map_or_else(Vec::new, |turn| {
            turn.groups.iter().map(String::as_str).collect()
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Returns the groups that a rule gives a weight.
fn targets(params: &serde_json::Map<String, Json>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in params {
        let Some(stem) = name.strip_suffix(".TargetGroupArn") else {
            continue;
        };
        let weight = params.get(&format!("{stem}.Weight"));
        if weight.is_some_and(|weight| weight != "0") {
            found.push(value.as_str().unwrap().to_owned());
        }
    }
    found
}

/// Insists that each request was answered with 200, by a version whose colour's turn it was.
pub(crate) fn assert_served(answers: &[Answer], turns: &Turns, colours: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for answer in answers {
        let allowed = turns.between(answer.asked, answer.answered);
        let is_fine = match &answer.what {
            Ok((200, version)) => {
                let mut of_version = colours.iter().filter(|(known, _)| known == version);
                of_version.any(|(_, group)| allowed.contains(group))
            }
            _ => false,
        };
        if !is_fine {
            wrong.push(answer);
        }
    }
    let some: Vec<_> = wrong.iter().take(5).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} answers: {some:#?}",
        wrong.len(),
        answers.len()
    );
}
