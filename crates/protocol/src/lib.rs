//! What controller and agent say to each other: frames, events, the bundle, asks.
//!
//! Both sides are of one build (they compare build hashes first), so the messages carry no
//! version of their own. Neither side trusts the other's sizes.

pub mod ask;
pub mod bundle;
pub mod event;
pub mod fetched;
pub mod frame;
pub mod job;
pub mod mask;
pub mod message;
