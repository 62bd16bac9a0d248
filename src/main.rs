//! amibake: turns a YAML manifest into a hardened, tested AMI.
//!
//! Parses the command line, runs the command, prints its result or its error, and chooses the
//! exit code. The only place that knows how things look ([`report`]).

#![cfg_attr(
    not(feature = "ec2"),
    expect(
        dead_code,
        reason = "a part of the ledger, the runs and the targets serves EC2 alone"
    )
)]

#[cfg(all(test, feature = "ec2"))]
#[path = "../tests/account/mod.rs"]
mod account;
mod agent;
mod ansible_config;
mod bake;
#[cfg(feature = "stack")]
mod cert;
mod check;
mod cli;
mod clock;
mod connector;
mod debug_login;
mod event;
mod event_recorder;
mod exit;
mod fact_cache;
mod failure_bundle;
mod galaxy;
mod guest;
mod identity;
mod interrupt;
mod inventory;
mod ledger;
mod manifest;
mod plan;
mod private_file;
mod prompt;
mod provision;
mod report;
mod run;
mod secret;
mod shell;
mod ssh;
#[cfg(feature = "stack")]
mod stack;
mod targets;
mod transport;
mod vault;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, CommandContext};
use exit::Exit;
use report::Reporter;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    if let Some(ended) = agent::self_agent::work() {
        return ended;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).into(),
    };
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = run(cli, &runtime);
            // A question that nobody answers any more must not hold the end back.
            runtime.shutdown_background();
            prompt::restore();
            exit.into()
        }
        Err(error) => {
            report::failure(&exit::Failure::new(error), cli.reporting().form);
            Exit::Failed.into()
        }
    }
}

/// Prints what clap has to say: help and version are results, all else is a usage error.
fn refuse(error: &clap::Error) -> Exit {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

/// Runs the command with a reporter beside it, then says how it ended.
fn run(cli: Cli, runtime: &tokio::runtime::Runtime) -> Exit {
    let reporting = cli.reporting();
    let (reporter, events) = Reporter::start(reporting);
    let outcome = runtime.block_on(async {
        let cx = CommandContext {
            events,
            interrupt: interrupt::listen(),
        };
        cli.run(&cx).await
    });
    reporter.finish();
    match outcome {
        Ok(answer) => {
            let exit = answer.exit();
            report::answer(&answer, reporting.form);
            exit
        }
        Err(failure) => {
            report::failure(&failure, reporting.form);
            failure.exit()
        }
    }
}
