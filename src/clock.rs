//! The clock by which a bake and EC2 wait: tokio's.
//!
//! Tests may have it go faster, each on its own thread, so that a minute's wait is tried in less
//! than a second; or by leaps, so that nobody waits at all. Outside of tests there is nothing here that could be set.

#[cfg(all(not(test), feature = "ec2"))]
pub(crate) use tokio::time::sleep_until;
#[cfg(not(test))]
pub(crate) use tokio::time::{Instant, sleep, timeout};

#[cfg(all(test, feature = "ec2"))]
pub(crate) use faster::sleep_until;
#[cfg(test)]
pub(crate) use faster::{Instant, Pace, sleep, timeout};

#[cfg(all(test, feature = "ec2"))]
pub(crate) mod leaping;

#[cfg(test)]
mod faster {
    use std::cell::Cell;
    use std::ops::{Add, Sub};
    use std::sync::LazyLock;
    use std::time::Duration;

    thread_local! {
        static PACE: Cell<u32> = const { Cell::new(1) };
    }

    /// When this process first looked at its clock.
    static BEGAN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

    /// What the clock says then: tests look at times before their beginning.
    const BEGINNING: Duration = Duration::from_secs(24 * 3600);

    /// Has this thread's clock go faster, until it is dropped.
    #[must_use = "the clock goes as before when this is dropped"]
    pub(crate) struct Pace(());

    impl Pace {
        /// Has it go `times` as fast.
        pub(crate) fn set(times: u32) -> Self {
            PACE.set(times);
            Self(())
        }
    }

    impl Drop for Pace {
        fn drop(&mut self) {
            PACE.set(1);
        }
    }

    /// A time of the clock.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Instant(Duration);

    impl Instant {
        pub(crate) fn now() -> Self {
            #[cfg(feature = "ec2")]
            if let Some(now) = super::leaping::now() {
                return Self(BEGINNING + now);
            }
            Self(BEGINNING + BEGAN.elapsed() * PACE.get())
        }

        pub(crate) fn elapsed(self) -> Duration {
            Self::now() - self
        }

        pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }

        #[cfg(feature = "ec2")]
        pub(crate) fn checked_sub(self, duration: Duration) -> Option<Self> {
            self.0.checked_sub(duration).map(Self)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, duration: Duration) -> Self {
            Self(self.0 + duration)
        }
    }

    impl Sub for Instant {
        type Output = Duration;

        fn sub(self, earlier: Self) -> Duration {
            self.saturating_duration_since(earlier)
        }
    }

    pub(crate) async fn sleep(duration: Duration) {
        #[cfg(feature = "ec2")]
        if let Some(sleep) = super::leaping::sleep(duration) {
            return sleep.await;
        }
        tokio::time::sleep(duration / PACE.get()).await;
    }

    #[cfg(feature = "ec2")]
    pub(crate) async fn sleep_until(until: Instant) {
        sleep(until - Instant::now()).await;
    }

    pub(crate) async fn timeout<T>(
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = sleep(limit) => Err(Elapsed),
        }
    }

    /// What had a time limit took longer.
    #[derive(Debug)]
    pub(crate) struct Elapsed;

    #[tokio::test]
    async fn a_minute_is_over_sooner_at_a_faster_pace_and_only_there() {
        let since = std::time::Instant::now();
        let pace = Pace::set(1000);
        let started = Instant::now();
        sleep(Duration::from_secs(60)).await;
        assert!(started.elapsed() >= Duration::from_secs(60));
        let over = timeout(Duration::from_secs(1), std::future::pending::<()>());
        assert!(over.await.is_err());
        assert!(since.elapsed() < Duration::from_secs(30));
        drop(pace);
        let started = (Instant::now(), std::time::Instant::now());
        sleep(Duration::from_millis(5)).await;
        assert!(started.0.elapsed() <= started.1.elapsed() + Duration::from_millis(1));
    }
}
