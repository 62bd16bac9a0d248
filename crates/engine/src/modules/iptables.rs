//! `iptables`: a rule, a chain or a chain's policy in the running kernel.

mod rule;

use serde_json::json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct Iptables;

impl ActionModule for Iptables {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let written = rule::words(args, args.str("jump"))?.join(" ");
        let programs = match args.str("ip_version") {
            Some("both") => vec!["iptables", "ip6tables"],
            Some("ipv6") => vec!["ip6tables"],
            _ => vec!["iptables"],
        };
        let found = programs.iter().map(|name| required_bin(name, context));
        let programs = found.collect::<Result<Vec<_>, _>>()?;
        let mut changed = false;
        for program in programs {
            let mut table = Table {
                jump: jump(args)?,
                wait: wait(args, &program, context)?,
                args,
                program,
                context: &mut *context,
            };
            changed |= table.change(written.is_empty())?;
        }
        let fields = json!({
            "ip_version": args.str("ip_version"), "table": args.str("table"),
            "chain": args.str("chain"), "flush": args.bool("flush"), "rule": written,
            "state": args.str("state"), "chain_management": args.bool("chain_management"),
            "wait": args.str("wait"),
        });
        Ok(Outcome::of(changed, fields))
    }
}

/// Returns the jump, which follows from options about logs.
fn jump(args: &Args) -> Result<Option<&str>, Failure> {
    let given = |name: &str| args.str(name).is_some_and(|text| !text.is_empty());
    match args.str("jump") {
        jump if !given("log_prefix") && !given("log_level") => Ok(jump),
        None | Some("LOG") => Ok(Some("LOG")),
        Some(_) => Err(Failure::new(
            "Logging options can only be used with the LOG jump target.",
        )),
    }
}

/// Returns the value of `-w` that this version of the program takes.
fn wait(args: &Args, program: &str, context: &mut Context<'_>) -> Result<Option<String>, Failure> {
    let ran = Command::new([program, "--version"]).checked(context)?;
    let version = ran.stdout.split('v').nth(1).unwrap_or_default();
    let numbers = version
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next();
    let numbers = numbers.unwrap_or_default().split('.');
    let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
    Ok(match args.str("wait") {
        _ if numbers < vec![1, 6, 0] => None,
        given => given.map(str::to_owned),
    })
}

/// The table of one version of the protocol.
struct Table<'a, 'c> {
    args: &'a Args,
    program: String,
    jump: Option<&'a str>,
    wait: Option<String>,
    context: &'a mut Context<'c>,
}

impl Table<'_, '_> {
    /// Makes what the task asks for true; `ruleless` is a task about the chain itself.
    fn change(&mut self, ruleless: bool) -> Result<bool, Failure> {
        let present = self.args.str("state") == Some("present");
        if self.args.bool("flush") {
            self.unless_checking("-F", &[])?;
            return Ok(true);
        }
        if let Some(policy) = self.args.str("policy").filter(|policy| !policy.is_empty()) {
            return self.set_policy(policy);
        }
        if ruleless {
            let there = self.lists_chain()?.rc == 0;
            if there != present && self.args.bool("chain_management") {
                self.unless_checking(if present { "-N" } else { "-X" }, &[])?;
            }
            return Ok(there != present);
        }
        let rule = rule::words(self.args, self.jump)?;
        let there = self.run("-C", &rule)?.rc == 0;
        if there == present {
            return Ok(false);
        }
        let insert = self.args.str("action") == Some("insert");
        let action = match (present, insert) {
            (true, true) => "-I",
            (true, false) => "-A",
            (false, _) => "-D",
        };
        self.unless_checking(action, &rule)?;
        Ok(true)
    }

    fn set_policy(&mut self, policy: &str) -> Result<bool, Failure> {
        let numeric = self.numeric();
        let ran = self.command("-L", &numeric).checked(self.context)?;
        let header = ran.stdout.lines().next().unwrap_or_default();
        let now = header.split_once("(policy ").map(|(_, rest)| rest);
        let now = now.and_then(|rest| rest.split(|c: char| !c.is_ascii_uppercase()).next());
        let Some(now) = now.filter(|now| !now.is_empty()) else {
            return Err(Failure::new("Can't detect current policy"));
        };
        if now == policy {
            return Ok(false);
        }
        self.unless_checking("-P", &[policy.to_owned()])?;
        Ok(true)
    }

    fn lists_chain(&mut self) -> Result<Ran, Failure> {
        let numeric = self.numeric();
        self.run("-L", &numeric)
    }

    fn numeric(&self) -> Vec<String> {
        let wanted = self.args.bool("numeric");
        wanted.then(|| "--numeric".to_owned()).into_iter().collect()
    }

    fn run(&mut self, action: &str, rest: &[String]) -> Result<Ran, Failure> {
        let command = self.command(action, rest);
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn unless_checking(&mut self, action: &str, rest: &[String]) -> Result<(), Failure> {
        if self.context.check {
            return Ok(());
        }
        self.command(action, rest).checked(self.context).map(drop)
    }

    fn command(&self, action: &str, rest: &[String]) -> Command {
        let text = |name: &str| self.args.str(name).unwrap_or_default().to_owned();
        let mut argv = vec![self.program.clone(), "-t".to_owned(), text("table")];
        argv.push(action.to_owned());
        argv.extend(self.args.str("chain").map(str::to_owned));
        let number = text("rule_num");
        if action == "-I" && !number.is_empty() {
            argv.push(number);
        }
        if let Some(wait) = self.wait.as_ref().filter(|wait| !wait.is_empty()) {
            argv.extend(["-w".to_owned(), wait.clone()]);
        }
        argv.extend(rest.iter().cloned());
        Command::new(argv)
    }
}
