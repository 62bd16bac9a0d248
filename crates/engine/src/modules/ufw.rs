//! `ufw`: the uncomplicated firewall, by its own program; what changed is told by its answers.

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, required_bin};
use crate::shlex;

pub(super) struct Ufw;

/// Where ufw keeps the rules, by its versions.
const RULES: &str = "/lib/ufw/user.rules /lib/ufw/user6.rules /etc/ufw/user.rules \
                     /etc/ufw/user6.rules /var/lib/ufw/user.rules /var/lib/ufw/user6.rules";
const IPV4: &str =
    r"((25[0-5]|(2[0-4]|1{0,1}[0-9]){0,1}[0-9])\.){3,3}(25[0-5]|(2[0-4]|1{0,1}[0-9]){0,1}[0-9])";
/// As Ansible's module recognises an address of version 6.
const IPV6: &str = concat!(
    r"(([0-9a-fA-F]{1,4}:){7,7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:",
    r"|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,5}",
    r"(:[0-9a-fA-F]{1,4}){1,2}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4})",
    r"{1,3}|([0-9a-fA-F]{1,4}:){1,3}(:[0-9a-fA-F]{1,4}){1,4}|([0-9a-fA-F]",
    r"{1,4}:){1,2}(:[0-9a-fA-F]{1,4}){1,5}|[0-9a-fA-F]{1,4}:((:[0-9a-fA-F]",
    r"{1,4}){1,6})|:((:[0-9a-fA-F]{1,4}){1,7}|:)|fe80:(:[0-9a-fA-F]{0,4})",
    r"{0,4}%[0-9a-zA-Z]{1,}|::(ffff(:0{1,4}){0,1}:){0,1}((25[0-5]|(2[0-4]",
    r"|1{0,1}[0-9]){0,1}[0-9])\.){3,3}(25[0-5]|(2[0-4]|1{0,1}[0-9]){0,1}",
    r"[0-9])|([0-9a-fA-F]{1,4}:){1,4}:((25[0-5]|(2[0-4]|1{0,1}[0-9]){0,1}",
    r"[0-9])\.){3,3}(25[0-5]|(2[0-4]|1{0,1}[0-9]){0,1}[0-9]))"
);

/// A conversation with ufw.
struct Talk<'a, 'c> {
    args: &'a Args,
    context: &'a mut Context<'c>,
    ufw: String,
    grep: String,
    /// The commands so far, which results show.
    commands: Vec<String>,
    changed: bool,
}

impl ActionModule for Ufw {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut talk = Talk {
            args,
            ufw: required_bin("ufw", context)?,
            grep: required_bin("grep", context)?,
            context,
            commands: Vec::new(),
            changed: false,
        };
        talk.all()
    }
}

impl Talk<'_, '_> {
    fn all(&mut self) -> Result<Outcome, Failure> {
        let status = format!("{} status verbose", self.ufw);
        let state = self.say(&status)?;
        let rules = self.rules()?;
        let given = |name: &str| self.args.str(name).filter(|text| !text.is_empty());
        let wanted = ["state", "default", "rule", "logging"].map(given);
        if let Some(word) = wanted[0] {
            self.set_state(word, &state)?;
        }
        if let Some(policy) = wanted[1] {
            self.set_default(policy, &state)?;
        }
        if let Some(action) = wanted[2] {
            self.set_rule(action, &rules)?;
        }
        if let Some(level) = wanted[3] {
            self.set_logging(level, &state)?;
        }
        if self.context.check {
            return Ok(Outcome::of(
                self.changed,
                json!({"commands": self.commands}),
            ));
        }
        let after = self.say(&status)?;
        let changed = match self.changed {
            true => true,
            false => rules != self.rules()? || state != after,
        };
        let fields = json!({"commands": self.commands, "msg": after.trim_end()});
        Ok(Outcome::of(changed, fields))
    }

    /// Runs a command line that is split as a shell would, and returns what it wrote.
    fn say(&mut self, line: &str) -> Result<String, Failure> {
        self.ask(line, false)
    }

    fn ask(&mut self, line: &str, fails: bool) -> Result<String, Failure> {
        self.commands.push(line.to_owned());
        let argv = shlex::split(line).map_err(Failure::new)?;
        let command = Command::new(argv).env("LANG", "C");
        let ran = command.run(self.context).map_err(|e| e.failure(&command))?;
        if ran.rc == 0 || fails {
            return Ok(ran.stdout);
        }
        let said = [ran.stderr, ran.stdout]
            .into_iter()
            .find(|said| !said.is_empty());
        Err(Failure::new(said.unwrap_or_default()).with("commands", json!(self.commands)))
    }

    fn rules(&mut self) -> Result<String, Failure> {
        let line = format!("{} -h '^### tuple' {RULES}", self.grep);
        self.ask(&line, true)
    }

    /// Returns how a command begins.
    fn begin(&self) -> String {
        match self.context.check {
            true => format!("{} --dry-run", self.ufw),
            false => self.ufw.clone(),
        }
    }

    fn set_state(&mut self, word: &str, state: &str) -> Result<(), Failure> {
        let verb = match word {
            "enabled" => "enable",
            "disabled" => "disable",
            "reloaded" => "reload",
            _ => "reset",
        };
        self.changed |= matches!(word, "reloaded" | "reset");
        if !self.context.check {
            let line = format!("{} -f {verb}", self.begin());
            return self.say(&line).map(drop);
        }
        let active = state.contains(" active");
        self.changed |= (word == "enabled" && !active) || (word == "disabled" && active);
        Ok(())
    }

    fn set_logging(&mut self, level: &str, state: &str) -> Result<(), Failure> {
        let groups = groups(r"Logging: (on|off)(?: \(([a-z]+)\))?", state);
        self.changed |= match groups.as_deref() {
            Some([_, on, now]) => match (level, on.as_deref()) {
                ("off", on) => on != Some("off"),
                (_, Some("off")) => true,
                ("on", _) => false,
                (level, _) => now.as_deref() != Some(level),
            },
            _ => true,
        };
        if self.context.check {
            return Ok(());
        }
        let line = format!("{} logging {level}", self.begin());
        self.say(&line).map(drop)
    }

    fn set_default(&mut self, policy: &str, state: &str) -> Result<(), Failure> {
        let direction = self.args.str("direction");
        let at = match direction {
            Some("incoming") | None => 1,
            Some("outgoing") => 2,
            Some("routed") => 3,
            Some(_) => {
                return Err(Failure::new(
                    "For default, direction must be one of \"outgoing\", \"incoming\" and \
                     \"routed\", or direction must not be specified.",
                ));
            }
        };
        if !self.context.check {
            let mut line = format!("{} default {policy}", self.begin());
            if let Some(direction) = direction {
                line = format!("{line} {direction}");
            }
            return self.say(&line).map(drop);
        }
        let groups = groups(
            r"Default: (deny|allow|reject) \(incoming\), (deny|allow|reject) \(outgoing\), (deny|allow|reject|disabled) \(routed\)",
            state,
        );
        let now = groups.and_then(|mut groups| groups.swap_remove(at));
        self.changed |= now.is_none_or(|now| now != policy && now != "disabled");
        Ok(())
    }

    fn set_rule(&mut self, action: &str, rules: &str) -> Result<(), Failure> {
        let args = self.args;
        if !matches!(args.str("direction"), Some("in" | "out") | None) {
            return Err(Failure::new(
                "For rules, direction must be one of \"in\" and \"out\", or direction must not be \
                 specified.",
            ));
        }
        if !args.bool("route") && args.has("interface_in") && args.has("interface_out") {
            return Err(Failure::new(
                "Only route rules can combine interface_in and interface_out",
            ));
        }
        let mut line = self.begin();
        let mut add = |words: &str| line = format!("{line} {words}");
        if args.bool("route") {
            add("route");
        }
        if args.bool("delete") {
            add("delete");
        } else if let Some(number) = args.int("insert")
            && let Some(number) = self.number(number)?
        {
            add(&format!("insert {number}"));
        }
        add(action);
        for words in described(args) {
            add(&words);
        }
        if let (true, Some(comment)) = (self.takes_comments()?, text(args, "comment")) {
            add(&format!("comment '{}'", comment.replace('\'', "'\\''")));
        }
        let said = self.say(&line)?;
        if self.context.check {
            self.changed |= differs(args, rules, &said);
        }
        Ok(())
    }

    /// Returns the number at which a rule is inserted; `None` is after the last.
    fn number(&mut self, number: i64) -> Result<Option<i64>, Failure> {
        let relative = self.args.str("insert_relative_to").unwrap_or("zero");
        if relative == "zero" {
            return Ok(Some(number));
        }
        let command = Command::new([&*self.ufw, "status", "numbered"]);
        let ran = command.run(self.context).map_err(|e| e.failure(&command))?;
        let numbered: Vec<(i64, bool)> = ran.stdout.lines().filter_map(numbered).collect();
        let last = numbered
            .iter()
            .map(|(number, _)| *number)
            .max()
            .unwrap_or(0);
        let last_of_4 = numbered
            .iter()
            .filter(|(_, six)| !six)
            .map(|(n, _)| *n)
            .max();
        let relative = match relative {
            "first-ipv4" => 1,
            "last-ipv4" => last_of_4.unwrap_or(1),
            "first-ipv6" => last_of_4.map_or(1, |n| n + 1),
            _ if numbered.iter().any(|(_, six)| *six) => last,
            _ => last + 1,
        };
        // ufw refuses a number above that of its last rule.
        Ok(Some(number + relative).filter(|number| *number <= last))
    }

    /// Asks for the version: there are comments since 0.35.
    fn takes_comments(&mut self) -> Result<bool, Failure> {
        let line = format!("{} --version", self.ufw);
        let said = self.say(&line)?;
        let first = said.lines().find(|line| !line.trim().is_empty());
        let version = first.and_then(|l| groups(r"^ufw.+(\d+)\.(\d+)(?:\.(\d+))?.*$", l));
        let number = |group: &Option<String>| group.as_ref()?.parse::<u32>().ok();
        let version = version.and_then(|v| Some((number(v.get(1)?)?, number(v.get(2)?)?)));
        let unknown = || {
            Failure::new("Failed to get ufw version.")
                .with("rc", 0)
                .with("out", said.as_str())
        };
        Ok(version.ok_or_else(unknown)? >= (0, 35))
    }
}

/// Reads `[ 3] 22/tcp (v6) ALLOW IN Anywhere`: the number, and whether it is of version 6.
fn numbered(line: &str) -> Option<(i64, bool)> {
    let (number, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let number = number.trim_start_matches(' ').parse().ok()?;
    Some((number, rest.contains("(v6)")))
}

fn text<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.str(name).filter(|text| !text.is_empty())
}

/// Returns what a rule is about, in ufw's long form and order.
fn described(args: &Args) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(text(args, "direction").map(str::to_owned));
    let mut add = |name: &str, before: &str, after: &str| {
        words.extend(text(args, name).map(|value| format!("{before}{value}{after}")));
    };
    add("interface", "on ", "");
    add("interface_in", "in on ", "");
    add("interface_out", "out on ", "");
    if args.bool("log") {
        words.push("log".to_owned());
    }
    let mut add = |name: &str, before: &str, after: &str| {
        words.extend(text(args, name).map(|value| format!("{before}{value}{after}")));
    };
    add("from_ip", "from ", "");
    add("from_port", "port ", "");
    add("to_ip", "to ", "");
    add("to_port", "port ", "");
    add("proto", "proto ", "");
    add("name", "app '", "'");
    words
}

/// Returns whether rules after a dry run, of which ufw may tell those of one version alone, are
/// others than before.
fn differs(args: &Args, before: &str, said: &str) -> bool {
    let lines = said.split_inclusive('\n');
    let skipped = lines
        .clone()
        .filter(|line| line.contains("Skipping"))
        .count();
    if skipped > 0 && skipped == lines.clone().count() {
        return false;
    }
    let after: String = lines.filter(|line| line.starts_with("### tuple")).collect();
    let begins = |pattern: &str| {
        ["from_ip", "to_ip"].iter().any(|name| {
            let ip = args.str(name).unwrap_or_default();
            groups(&format!(r"\A(?:{pattern})"), ip).is_some()
        })
    };
    for pattern in [IPV4, IPV6] {
        if begins(pattern) {
            return with(pattern, before) != with(pattern, &after);
        }
    }
    before != after
}

/// Returns the lines that have something of this kind in them.
fn with(pattern: &str, text: &str) -> String {
    let Ok(regex) = Regex::new(pattern, Flags::default()) else {
        return text.to_owned();
    };
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| regex.is_match(line.as_bytes()).unwrap_or(false))
        .collect()
}

/// Returns the groups of the first match, the whole one first.
fn groups(pattern: &str, text: &str) -> Option<Vec<Option<String>>> {
    let regex = Regex::new(pattern, Flags::default()).ok()?;
    let found = regex.search(text.as_bytes(), 0).ok()??;
    let group = |at: usize| text.get(found.get(at)?).map(str::to_owned);
    Some((0..found.len()).map(group).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use amibake_playbook::argspec;
    use serde_json::Value as Json;

    use super::*;
    use crate::run_command::tests::with_context;

    /// A ufw that is on, and writes down what it is told.
    const UFW: &str = "#!/bin/sh\n\
        echo \"$*\" >> \"${0%/*}/told\"\n\
        case \"$*\" in\n\
        --version) echo ufw 0.36.2;;\n\
        \"status verbose\") echo Status: active; echo 'Logging: on (low)'; \
            echo 'Default: deny (incoming), allow (outgoing), disabled (routed)';;\n\
        --dry-run*) echo '### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in';;\n\
        esac\n";

    fn with_ufw(test: impl FnOnce(&mut Context<'_>, &Path)) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ufw");
        std::fs::write(&program, UFW).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        with_context(|context| {
            context.environment = vec![("PATH".to_owned(), path)];
            test(context, &folder.path().join("told"));
        });
    }

    fn run(args: Json, context: &mut Context<'_>) -> Outcome {
        let spec = argspec::find("community.general.ufw").unwrap();
        let args = Args::coerce(spec, args.as_object().unwrap().clone()).unwrap();
        Ufw.run(&args, context).unwrap()
    }

    #[test]
    fn check_mode_compares_with_what_ufw_says_and_changes_nothing() {
        with_ufw(|context, told| {
            context.check = true;
            for (task, changed) in [
                (json!({"state": "enabled"}), false),
                (json!({"state": "disabled"}), true),
                (json!({"state": "reloaded"}), true),
                (json!({"default": "deny"}), false),
                (json!({"default": "deny", "direction": "outgoing"}), true),
                (json!({"logging": "on"}), false),
                (json!({"logging": "high"}), true),
                (json!({"logging": "off"}), true),
                (json!({"rule": "allow", "port": "22", "proto": "tcp"}), true),
            ] {
                assert_eq!(run(task.clone(), context).changed, changed, "{task}");
            }
            let told = std::fs::read_to_string(told).unwrap();
            let asks = |line: &str| {
                ["status", "--version", "--dry-run"]
                    .iter()
                    .any(|w| line.starts_with(w))
            };
            assert!(told.lines().all(asks), "{told}");
        });
    }

    #[test]
    fn a_rule_is_told_in_the_long_form_with_its_words_quoted() {
        with_ufw(|context, told| {
            let task = json!({"rule": "deny", "from": "10.0.0.0/8", "to_port": "80", "log": true,
                "interface": "eth0", "direction": "in", "comment": "no web", "insert": 2});
            let outcome = run(task, context);
            let told = std::fs::read_to_string(told).unwrap();
            let rule = "insert 2 deny in on eth0 log from 10.0.0.0/8 to any port 80 comment no web";
            assert!(told.lines().any(|line| line == rule), "{told}");
            let commands = outcome.result["commands"].as_array().unwrap();
            let shown = commands.iter().filter_map(Json::as_str);
            assert!(shown.clone().any(|line| line.ends_with("comment 'no web'")));
        });
    }

    #[test]
    fn the_patterns_of_addresses_are_read() {
        for (pattern, ip) in [(IPV4, "10.0.0.0/8"), (IPV6, "fe80::1/64"), (IPV6, "::/0")] {
            assert!(groups(&format!(r"\A(?:{pattern})"), ip).is_some(), "{ip}");
        }
        assert!(groups(&format!(r"\A(?:{IPV4})"), "any").is_none());
    }

    #[test]
    fn numbers_of_rules_are_read_with_their_version() {
        assert_eq!(
            numbered("[ 3] 22/tcp (v6)   ALLOW IN    Anywhere (v6)"),
            Some((3, true))
        );
        assert_eq!(
            numbered("[12] 22/tcp   ALLOW IN    Anywhere"),
            Some((12, false))
        );
        assert_eq!(numbered("     To     Action      From"), None);
    }
}
