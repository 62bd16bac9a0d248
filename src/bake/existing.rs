//! Work on an image that is there: its publication, or its gate and tests, without a build.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::{Bake, BakeEnv, Baked, failed, interrupted, panicked, too_slow};
use crate::clock::Instant;
use crate::event::Phase;
use crate::exit::Failure;
use crate::guest::seal::Sealed;
use crate::ledger::Ledger;
use crate::plan::BakePlan;
use crate::targets::{Candidate, Finished, Published, Publisher};

/// Publishes an image as the plan wants it, as far as it is not so yet.
pub(crate) async fn publish(
    plan: &BakePlan,
    env: &BakeEnv<'_>,
    image: &str,
    publisher: Publisher,
) -> Baked {
    conclude(plan, env, async |bake: &Bake<'_>| {
        let cx = bake.begin(Phase::Publish);
        let image = finished(image);
        let published = env.target.repair(plan, &image, publisher, &cx);
        let published = published.await.map_err(failed)?;
        bake.tell_published(cx, &published);
        Ok(published)
    })
    .await
}

/// Boots the image that the plan starts from, and looks at it as at a candidate of its own. What
/// only the builder of an image knows, nobody can compare with: the sealed half is left out.
pub(crate) async fn test(plan: &BakePlan, env: &BakeEnv<'_>, image: &str) -> Baked {
    // Nothing of that name is made, and the image itself may have it.
    let mut plan = plan.clone();
    plan.image.name = format!("amibake-test-{}", plan.run);
    let plan = &plan;
    conclude(plan, env, async |bake: &Bake<'_>| {
        let cx = bake.begin(Phase::Resolve);
        let base = env.target.source(plan, &cx).await.map_err(failed)?;
        env.target.check(plan, &base, &cx).await.map_err(failed)?;
        cx.phase.finish(Some(base.id()));
        let candidate = Candidate {
            id: image.to_owned(),
            base,
        };
        let sealed = Sealed::default();
        tokio::select! {
            checked = bake.check_candidate(&candidate, &sealed) => checked?,
            never = bake.renew_expiry() => match never {},
            never = bake.admit() => match never {},
        }
        Ok(finished(image).into())
    })
    .await
}

fn finished(image: &str) -> Finished {
    Finished {
        id: image.to_owned(),
        name: String::new(),
        copies: BTreeMap::new(),
    }
}

/// Does some work within the plan's time, and pays what it owes, come what may.
async fn conclude(
    plan: &BakePlan,
    env: &BakeEnv<'_>,
    work: impl AsyncFnOnce(&Bake<'_>) -> Result<Published, Failure>,
) -> Baked {
    let ledger = match Ledger::open(env.state_folder, &plan.run) {
        Ok(ledger) => ledger,
        Err(error) => return Failure::new(error).into(),
    };
    let began = Instant::now();
    let bake = Bake::new(plan, env, ledger, began);
    let working = AssertUnwindSafe(work(&bake)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = env.interrupt.cancel.cancelled() => Err(interrupted()),
        outcome = working => match outcome {
            // What was told to stop may say so first.
            Ok(Err(_)) if env.interrupt.cancel.is_cancelled() => Err(interrupted()),
            Ok(outcome) => outcome,
            Err(panic) => Err(panicked(&*panic)),
        },
        () = bake.over() => Err(too_slow("the work on the image", "total")),
    };
    let (image, failure) = bake.settle(outcome).await;
    bake.baked(image, failure, began)
}
