//! The end of a bake: what is due is paid, or kept for whoever wants to look.

use std::sync::PoisonError;

use time::OffsetDateTime;

use super::Bake;
use super::failure::not_published;
use crate::event::Phase;
use crate::exit::{Exit, Failure, chain};
use crate::ledger::BakeEnd;
use crate::plan::OnError;
use crate::targets::{Finished, LIFETIME, Published, reap};

impl Bake<'_> {
    /// Unwinds the ledger; what stays is added to the answer.
    pub(super) async fn settle(
        &self,
        outcome: Result<Published, Failure>,
    ) -> (Option<Finished>, Option<Failure>) {
        let Self { env, ledger, .. } = self;
        let end = match outcome {
            Ok(_) => BakeEnd::Succeeded,
            Err(_) => BakeEnd::Failed,
        };
        let phase = env.events.phase(Phase::Teardown);
        let unwound = ledger.unwind(env.target, end, &env.interrupt.abort).await;
        for why in &unwound.why {
            env.events.warn(why.clone());
        }
        let clean = unwound.leftovers.is_empty();
        if clean {
            phase.finish(None);
        }
        let (image, failure) = match outcome {
            Ok(Published {
                image,
                unfinished: Some(unfinished),
            }) => (image, Some(not_published(unfinished))),
            Ok(Published { image, .. }) => {
                let left = "is finished, and something temporary is not gone";
                let id = image.as_ref().map_or("the image", |image| &image.id);
                let failure = (!clean).then(|| Failure::new(format!("{id} {left}")));
                (image, failure)
            }
            Err(mut failure) => {
                failure.left_behind.extend(env.target.stays());
                (None, Some(failure))
            }
        };
        let failure = failure.map(|mut failure| {
            if unwound.aborted && !clean {
                failure.kind = Exit::Aborted;
            }
            failure.left_behind.extend(unwound.leftovers);
            failure.cleaned_up =
                (clean && ledger.was_used()).then(|| "everything temporary is gone".to_owned());
            failure
        });
        (image, failure)
    }

    /// An interrupted bake is not looked at: whoever interrupts wants it gone.
    pub(super) fn keeps(&self, failure: &Failure) -> bool {
        self.plan.on_error == OnError::Keep
            && failure.kind != Exit::Interrupted
            && !self
                .ledger
                .outstanding(self.env.target, BakeEnd::Failed)
                .is_empty()
    }

    /// The user wants to look at what failed: all of it stays, named, until its timer shuts it down.
    pub(super) async fn keep(&self, mut failure: Failure) -> Failure {
        let Self { plan, env, .. } = self;
        let lifetime = plan.builder.timeouts.unattended;
        let expiry = LIFETIME.max(2 * lifetime);
        self.renew(expiry).await;
        if let Err(error) = self.ledger.keep(OffsetDateTime::now_utc() + expiry) {
            let message = format!(
                "the next `amibake reap` removes what is kept: {}",
                chain(&error)
            );
            env.events.warn(message);
        }
        let mut hints: Vec<String> = failure.hint.take().into_iter().collect();
        let debug_login = self
            .debug_login
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match debug_login.as_ref().map(|d| d.write(env.state_folder, &plan.run)) {
            Some(Ok(command)) => hints.push(format!(
                "the machine stays for {} minutes at most, then it ends itself; log in with\n{command}",
                lifetime.as_secs().div_ceil(60)
            )),
            Some(Err(error)) => {
                let message = format!("the login key of what is kept could not be written: {}", chain(&error));
                env.events.warn(message);
            }
            None => {}
        }
        let reap = reap::command(Some(&plan.run), env.target.region());
        hints.push(format!("`{reap}` removes all that is kept"));
        failure.hint = Some(hints.join("\n"));
        let left = self.ledger.outstanding(self.env.target, BakeEnd::Failed);
        failure.left_behind.extend(left);
        failure
    }
}
