//! A quota of the account that is used up: the machine is asked for again until others have ended.
//! Another type of the ladder would most likely fall under the same quota.

use std::time::Duration;

use super::error::Ec2Error;
use crate::clock::{Instant, sleep};
use crate::event::PhaseHandle;
use crate::exit::chain;
use crate::targets::{PhaseContext, TargetError};

/// How long the first wait is; each is twice as long as the one before.
const FIRST: Duration = Duration::from_secs(15);

/// How long a wait is at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What to do about a quota.
const HINT: &str = "ask for a higher quota in Service Quotas, run fewer builds at once, or name a type under another quota in builder.instance_type";

/// One launch that waits for room in a quota.
pub(super) struct Queue<'a> {
    phase: &'a PhaseHandle,
    /// When the bake must be over.
    until: Instant,
    since: Option<Instant>,
    pause: Duration,
    longest: Duration,
    /// The type of which it was said that there is no room for it.
    told: Option<String>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(cx: &'a PhaseContext<'_>) -> Self {
        Self {
            phase: &cx.phase,
            until: cx.until,
            since: None,
            pause: FIRST,
            longest: LONGEST,
            told: None,
        }
    }

    /// Waits for a while after a refusal; tells the first.
    ///
    /// # Errors
    /// That there was no room, when a machine would come too late for this bake: half of what is
    /// left would go by with waiting.
    pub(super) async fn wait(
        &mut self,
        instance_type: &str,
        refusal: Ec2Error,
    ) -> Result<(), TargetError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.until.saturating_duration_since(Instant::now());
        if left < self.pause * 2 {
            return Err(no_room(instance_type, since.elapsed(), refusal));
        }
        if self.told.as_deref() != Some(instance_type) {
            self.told = Some(instance_type.to_owned());
            self.phase.warn(format!(
                "the account's quota has no room for {instance_type}, which is asked for again for up to {} min: {}; to wait no longer, {HINT}",
                left.as_secs().div_ceil(60),
                chain(&refusal)
            ));
        }
        sleep(self.pause).await;
        self.pause = self.longest.min(self.pause * 2);
        Ok(())
    }
}

fn no_room(instance_type: &str, waited: Duration, refusal: Ec2Error) -> TargetError {
    let waited = waited.as_secs();
    TargetError::new(format!(
        "the account's quota had no room for {instance_type} within {waited} s"
    ))
    .because(refusal)
    .with_hint(format!(
        "{HINT}; builder.timeouts.total makes the wait longer"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{self, Event, Phase};

    const MS: Duration = Duration::from_millis(1);

    fn full() -> Ec2Error {
        Ec2Error::Refused {
            operation: "RunInstances",
            region: "eu-west-1".into(),
            code: "VcpuLimitExceeded".into(),
            request_id: None,
            source: "your current vCPU limit of 32".into(),
        }
    }

    #[tokio::test]
    async fn waits_widen_to_a_bound_are_told_once_a_type_and_end_with_the_bake() {
        let (events, mut reports) = event::channel();
        let phase = events.phase(Phase::Launch);
        let started = Instant::now();
        let mut queue = Queue {
            phase: &phase,
            until: started + 60_000 * MS,
            since: None,
            pause: 10 * MS,
            longest: 40 * MS,
            told: None,
        };
        let mut pauses = Vec::new();
        for instance_type in ["t3.small", "t3.small", "t3.small", "t3.large"] {
            pauses.push(queue.pause);
            queue.wait(instance_type, full()).await.unwrap();
        }
        assert_eq!(pauses, [10 * MS, 20 * MS, 40 * MS, 40 * MS]);
        assert!(started.elapsed() >= 110 * MS);
        queue.until = Instant::now() + 79 * MS;
        let over = queue.wait("t3.large", full()).await.unwrap_err();
        assert!(
            chain(&over).contains(
                " s: RunInstances was refused in eu-west-1: VcpuLimitExceeded: your current"
            ),
            "{}",
            chain(&over)
        );

        drop(phase);
        events.close();
        let mut warned = Vec::new();
        while let Some(report) = reports.next().await {
            if let Event::Warning { message, .. } = report.event {
                warned.push(message);
            }
        }
        assert_eq!(warned.len(), 2, "{warned:?}");
        assert!(
            warned[0].starts_with("the account's quota has no room for t3.small, which is asked for again for up to 1 min: RunInstances was refused"),
            "{warned:?}"
        );
        assert!(warned[1].contains("for t3.large,"), "{warned:?}");
    }
}
