//! A rule that leads to target groups of before, since the stack has others by now: whatever comes next has traffic follow,
//! before anything else.

use super::*;

/// Has the rule lead to groups that are gone.
fn lead_astray(world: &World) {
    let mut state = world.state();
    let ours = state.rules.iter_mut().map(|(rule, _)| rule);
    let ours = ours.filter(|rule| !rule.tags.is_empty());
    for rule in ours {
        let old = std::mem::take(&mut rule.forwards).into_iter();
        rule.forwards = old
            .map(|(arn, weight)| (format!("old-{arn}"), weight))
            .collect();
    }
    drop(state);
    reset(world);
}

fn kinds(world: &World) -> Vec<String> {
    let state = world.state();
    let made = state.made.iter().map(|call| {
        let words = call.split(' ').nth(1).unwrap_or_default();
        let end = words.find(['{', '(']).unwrap_or(words.len());
        words[..end].to_owned()
    });
    made.collect()
}

#[tokio::test]
async fn a_deploy_of_what_serves_has_traffic_follow_and_nothing_else() {
    let world = live().await;
    command(&world, &deploy(2, NEW), None).await.end();
    world.pass(Duration::from_secs(600));
    lead_astray(&world);
    let end = command(&world, &deploy(3, NEW), None).await.end();
    assert!(
        matches!(
            end,
            Live {
                live: Colour::Green,
                ..
            }
        ),
        "{end:?}"
    );
    assert_eq!(kinds(&world), ["Tag", "Modify", "Tag"]);
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    reset(&world);
    let end = command(&world, &deploy(4, NEW), None).await.end();
    assert_eq!(
        end,
        Unchanged {
            live: Colour::Green
        }
    );
}

#[tokio::test]
async fn a_rollout_and_a_rollback_begin_with_that() {
    for back in [false, true] {
        let world = live().await;
        command(&world, &deploy(2, NEW), None).await.end();
        world.pass(Duration::from_secs(600));
        lead_astray(&world);
        let (wanted, image) = match back {
            true => (rollback(3), OLD),
            false => (deploy(3, "ami-third"), "ami-third"),
        };
        command(&world, &wanted, None).await.end();
        assert_eq!(kinds(&world)[..2], ["Tag", "Modify"]);
        assert_eq!(settled(&world), Ok((Colour::Blue, image.to_owned())));
    }
}
