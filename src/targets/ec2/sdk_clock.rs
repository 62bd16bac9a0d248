//! The clock as the AWS SDK takes it: for its pauses between tries, and its time limits.

use std::time::Duration;

use aws_sdk_ec2::config::{AsyncSleep, Sleep};

use crate::clock::sleep;

/// Waits by [`crate::clock`].
#[derive(Debug, Clone, Copy)]
pub(super) struct SdkSleep;

impl AsyncSleep for SdkSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(sleep(duration))
    }
}
