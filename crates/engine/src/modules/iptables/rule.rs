//! A rule as `iptables` is told it, in the order of Ansible's module. Pure.

use serde_json::Value as Json;

use crate::args::Args;
use crate::module::Failure;

/// Returns the words of the rule that `args` describe, with this jump.
pub(super) fn words(args: &Args, jump: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut rule = Rule {
        args,
        jump,
        words: Vec::new(),
    };
    rule.packets()?;
    rule.target()?;
    rule.ports()?;
    rule.matches()?;
    rule.rest()?;
    Ok(rule.words)
}

struct Rule<'a> {
    args: &'a Args,
    jump: Option<&'a str>,
    words: Vec<String>,
}

impl Rule<'_> {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.words.extend(words.map(str::to_owned));
    }

    /// Adds a flag with a value, negated if it begins with `!`.
    fn value(&mut self, flag: &str, value: Option<&str>) -> Result<(), Failure> {
        match value {
            None => {}
            Some("") => {
                return Err(Failure::new(format!(
                    "the value of iptables' {flag} is empty: leave the parameter out"
                )));
            }
            Some(value) => match value.strip_prefix('!') {
                Some(value) => self.add(["!", flag, value]),
                None => self.add([flag, value]),
            },
        }
        Ok(())
    }

    fn param(&mut self, flag: &str, name: &str) -> Result<(), Failure> {
        self.value(flag, self.args.str(name))
    }

    fn params<const N: usize>(&mut self, pairs: [(&str, &str); N]) -> Result<(), Failure> {
        pairs
            .into_iter()
            .try_for_each(|(name, flag)| self.param(flag, name))
    }

    fn given(&self, name: &str) -> bool {
        self.args.str(name).is_some_and(|text| !text.is_empty())
    }

    fn csv(&mut self, flag: &str, name: &str) {
        let items = self.args.list(name);
        if !items.is_empty() {
            self.add([flag, &items.join(",")]);
        }
    }

    fn packets(&mut self) -> Result<(), Failure> {
        self.params([("protocol", "-p"), ("source", "-s"), ("destination", "-d")])?;
        for module in self.args.list("match") {
            self.value("-m", Some(module))?;
        }
        if let Some(Json::Object(flags)) = self.args.raw("tcp_flags")
            && let (Some(all), Some(set)) = (flags.get("flags"), flags.get("flags_set"))
        {
            self.add(["--tcp-flags", &listed(all), &listed(set)]);
        }
        Ok(())
    }

    fn target(&mut self) -> Result<(), Failure> {
        self.value("-j", self.jump)?;
        if self
            .jump
            .is_some_and(|jump| jump.eq_ignore_ascii_case("tee"))
        {
            self.param("--gateway", "gateway")?;
        }
        self.params([
            ("log_prefix", "--log-prefix"),
            ("log_level", "--log-level"),
            ("to_destination", "--to-destination"),
        ])?;
        if !self.args.list("destination_ports").is_empty() {
            self.add(["-m", "multiport"]);
        }
        self.csv("--dports", "destination_ports");
        self.params([
            ("to_source", "--to-source"),
            ("goto", "-g"),
            ("in_interface", "-i"),
            ("out_interface", "-o"),
            ("fragment", "-f"),
            ("set_counters", "-c"),
        ])
    }

    fn ports(&mut self) -> Result<(), Failure> {
        self.params([
            ("source_port", "--source-port"),
            ("destination_port", "--destination-port"),
            ("to_ports", "--to-ports"),
        ])?;
        for (name, flag) in [
            ("set_dscp_mark", "--set-dscp"),
            ("set_dscp_mark_class", "--set-dscp-class"),
        ] {
            self.param(flag, name)?;
            let marks = self
                .jump
                .is_some_and(|jump| jump.eq_ignore_ascii_case("dscp"));
            if self.given(name) && !marks {
                self.add(["-j", "DSCP"]);
            }
        }
        match self.args.str("syn") {
            Some("match") => self.add(["--syn"]),
            Some("negate") => self.add(["!", "--syn"]),
            _ => {}
        }
        Ok(())
    }

    fn matches(&mut self) -> Result<(), Failure> {
        let modules = self.args.list("match");
        let has = |module: &str| modules.contains(&module);
        if has("conntrack") {
            self.csv("--ctstate", "ctstate");
        } else if has("state") {
            self.csv("--state", "ctstate");
        } else if !self.args.list("ctstate").is_empty() {
            self.add(["-m", "conntrack"]);
            self.csv("--ctstate", "ctstate");
        }
        if !has("iprange") && (self.given("src_range") || self.given("dst_range")) {
            self.add(["-m", "iprange"]);
        }
        if has("iprange") || self.given("src_range") || self.given("dst_range") {
            self.params([("src_range", "--src-range"), ("dst_range", "--dst-range")])?;
        }
        if !has("set") && self.given("match_set") {
            self.add(["-m", "set"]);
        }
        if has("set") || self.given("match_set") {
            self.param("--match-set", "match_set")?;
            self.words
                .extend(self.args.str("match_set_flags").map(str::to_owned));
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), Failure> {
        if self.given("limit") || self.given("limit_burst") {
            self.add(["-m", "limit"]);
        }
        self.params([("limit", "--limit"), ("limit_burst", "--limit-burst")])?;
        for (name, flag) in [("uid_owner", "--uid-owner"), ("gid_owner", "--gid-owner")] {
            if self.given(name) {
                self.add(["-m", "owner"]);
            }
            self.param(flag, name)?;
        }
        if self.jump.is_none() && self.given("reject_with") {
            self.add(["-j", "REJECT"]);
        }
        let icmp = match self.args.str("ip_version") {
            Some("ipv6") => "--icmpv6-type",
            Some("both") => "--icmp-type --icmpv6-type",
            _ => "--icmp-type",
        };
        self.params([("reject_with", "--reject-with"), ("icmp_type", icmp)])?;
        if self.given("comment") {
            self.add(["-m", "comment"]);
        }
        self.param("--comment", "comment")
    }
}

/// Returns a list as iptables takes it: with commas.
fn listed(value: &Json) -> String {
    let text = |item: &Json| match item {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    }
}
