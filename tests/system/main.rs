//! The tests of the whole program, on real machines where it needs some.
//!
//! They are one program: cargo runs test programs one after another, and machines mostly wait. Tests
//! start in the order of their names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg_attr(
    not(feature = "ec2"),
    expect(dead_code, reason = "what is for the test EC2")
)]

mod support;

mod ansible_comparator;
mod ansible_hardening;
mod ansible_modules;
mod ansible_options;
mod ansible_web;
mod apply_controller;
mod apply_hostile;
mod apply_hosts;
mod apply_reboot;
mod apply_ssh;
mod apply_target;
#[cfg(feature = "stack")]
mod aws_run;
#[cfg(feature = "ec2")]
mod bad_input;
#[cfg(feature = "ec2")]
mod build_canary;
#[cfg(feature = "ec2")]
mod build_connect;
mod build_container;
#[cfg(feature = "ec2")]
mod build_ec2;
#[cfg(feature = "ec2")]
mod build_fails;
#[cfg(feature = "ec2")]
mod build_gate;
#[cfg(feature = "ec2")]
mod build_link;
#[cfg(feature = "ec2")]
mod build_web;
mod command_line;
#[cfg(feature = "ec2")]
mod deadman_ec2;
#[cfg(feature = "stack")]
mod deploy_fails;
#[cfg(feature = "stack")]
mod deploy_kills;
#[cfg(feature = "ec2")]
mod first_boot_ec2;
mod install;
#[cfg(feature = "ec2")]
mod keep_ec2;
#[cfg(feature = "ec2")]
mod kills_ec2;
mod scripts;
#[cfg(feature = "ec2")]
mod sealed_root;
#[cfg(feature = "stack")]
mod stack_web;
