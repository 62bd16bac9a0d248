//! What runs on the target: facts, the executor, the modules.

pub mod args;
pub mod change;
pub mod exec;
pub mod facts;
pub mod module;
pub mod modules;
