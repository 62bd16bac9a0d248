//! The lines of a service of PAM. Pure.

use amibake_playbook::pyre::{Flags, Regex};

use crate::module::Failure;
use crate::splitlines::splitlines;

/// Type, control and path of the rules that are meant.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str);

const TYPES: &[&str] = &["auth", "account", "session", "password"];
const CONTROLS: &[&str] = &[
    "required",
    "requisite",
    "sufficient",
    "optional",
    "include",
    "substack",
    "definitive",
];
/// What a module may return.
const RETURNS: &[&str] = &[
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
    "default",
];
const ACTIONS: &[&str] = &["ignore", "bad", "die", "ok", "done", "reset"];
const MARK: &str = "# Updated by Ansible";

#[derive(Debug, Clone)]
enum Line {
    Rule(Rule),
    /// An `@include`.
    Include(String),
    /// A comment, or a line with nothing on it.
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    kind: String,
    control: String,
    path: String,
    args: Vec<String>,
}

pub(super) struct Service(Vec<Line>);

/// Splits arguments at blanks, but for those in brackets.
pub(super) fn arguments(given: &[&str]) -> Vec<String> {
    let mut words = Vec::new();
    for mut rest in given.iter().copied() {
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            rest = &rest[start..];
            let bracket = rest.rfind(']').filter(|_| rest.starts_with('['));
            let end = match bracket {
                Some(at) => at + 1,
                None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            };
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    words
}

impl Rule {
    pub(super) fn new(kind: &str, control: &str, path: &str, args: Vec<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            control: plain(control),
            path: path.to_owned(),
            args,
        }
    }

    fn read(line: &str, pattern: &Regex) -> Option<Self> {
        let found = pattern.search(line.as_bytes(), 0).ok()??;
        let group = |at: usize| line.get(found.get(at)?);
        let args = arguments(&[group(4)?]);
        Some(Self::new(group(1)?, group(2)?, group(3)?, args))
    }

    fn is(&self, (kind, control, path): Key<'_>) -> bool {
        self.kind == kind && self.control == control && self.path == path
    }

    fn line(&self) -> String {
        let Self {
            kind,
            control,
            path,
            ..
        } = self;
        let args: String = self.args.iter().map(|arg| format!(" {arg}")).collect();
        format!("{kind:<11}{control} {path}{args}")
    }

    fn validate(&self) -> Result<(), String> {
        let line = self.line();
        if !TYPES.contains(&self.kind.trim_start_matches('-')) {
            return Err(format!(
                "Rule type, {}, is not valid in rule {line}",
                self.kind
            ));
        }
        let Some(inner) = self.control.strip_prefix('[') else {
            return match CONTROLS.contains(&&*self.control) {
                true => Ok(()),
                false => Err(format!(
                    "Rule control, {}, is not valid in rule {line}",
                    self.control
                )),
            };
        };
        for pair in inner.trim_end_matches(']').split(' ') {
            let (value, action) = pair.split_once('=').unwrap_or((pair, ""));
            if !RETURNS.contains(&value) {
                return Err(format!(
                    "Rule control value, {value}, is not valid in rule {line}"
                ));
            }
            if !ACTIONS.contains(&action) && action.parse::<u32>().is_err() {
                return Err(format!(
                    "Rule control action, {action}, is not valid in rule {line}"
                ));
            }
        }
        Ok(())
    }
}

/// Writes a control in brackets without blanks around its equals signs.
fn plain(control: &str) -> String {
    match control.starts_with('[') {
        true => format!("[{}]", control.replace(" = ", "=").replace(['[', ']'], "")),
        false => control.to_owned(),
    }
}

impl Service {
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let pattern = Regex::new(
            r"(-?(?:auth|account|session|password))\s+(\[.*\]|\S*)\s+(\S*)\s*(.*)\s*",
            Flags::default(),
        );
        let pattern = pattern.map_err(|e| Failure::new(e.to_string()))?;
        let line = |line: String| {
            let start = line.trim_start();
            if start.is_empty() || start.starts_with('#') {
                return Ok(Line::Other(line));
            }
            if start.starts_with("@include") {
                return Ok(Line::Include(line));
            }
            let rule = Rule::read(&line, &pattern);
            rule.map(Line::Rule)
                .ok_or_else(|| Failure::new(format!("this line is no rule of PAM: {line}")))
        };
        splitlines(text)
            .into_iter()
            .map(line)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn matching(&mut self, key: Key<'_>) -> impl Iterator<Item = &mut Rule> {
        self.0.iter_mut().filter_map(move |line| match line {
            Line::Rule(rule) if rule.is(key) => Some(rule),
            Line::Rule(_) | Line::Include(_) | Line::Other(_) => None,
        })
    }

    pub(super) fn remove(&mut self, key: Key<'_>) -> usize {
        let before = self.0.len();
        self.0
            .retain(|line| !matches!(line, Line::Rule(rule) if rule.is(key)));
        before - self.0.len()
    }

    /// Gives rules another type, control and path, and other arguments.
    pub(super) fn update(
        &mut self,
        key: Key<'_>,
        [kind, control, path]: [Option<&str>; 3],
        args: Option<&[String]>,
    ) -> usize {
        self.matching(key)
            .filter_map(|rule| {
                let old = rule.clone();
                kind.unwrap_or(&old.kind).clone_into(&mut rule.kind);
                rule.control = plain(control.unwrap_or(&old.control));
                path.unwrap_or(&old.path).clone_into(&mut rule.path);
                rule.args = args.unwrap_or(&old.args).to_vec();
                (*rule != old).then_some(())
            })
            .count()
    }

    /// Puts a rule before or after each that is meant, unless it is there.
    ///
    /// As Ansible has it: comments between the two rules go, unless the new one is the first.
    pub(super) fn insert(&mut self, key: Key<'_>, new: &Rule, before: bool) -> usize {
        let ours = (&*new.kind, &*new.control, &*new.path);
        let mut count = 0;
        let mut at = 0;
        while at < self.0.len() {
            let is_meant = matches!(&self.0[at], Line::Rule(rule) if rule.is(key));
            // A new rule that is itself one of those that are meant is not one of them.
            if !is_meant {
                at += 1;
                continue;
            }
            let neighbour = match before {
                true => self.0[..at]
                    .iter()
                    .rposition(|line| !matches!(line, Line::Other(_))),
                false => self.0[at + 1..]
                    .iter()
                    .position(|line| !matches!(line, Line::Other(_)))
                    .map(|after| at + 1 + after),
            };
            let there = neighbour
                .is_some_and(|at| matches!(&self.0[at], Line::Rule(rule) if rule.is(ours)));
            if there {
                at += 1;
                continue;
            }
            let between = match (before, neighbour) {
                (true, Some(other)) => other + 1..at,
                (true, None) => at..at,
                (false, Some(other)) => at + 1..other,
                (false, None) => at + 1..self.0.len(),
            };
            let start = between.start;
            self.0.splice(between, [Line::Rule(new.clone())]);
            count += 1;
            at = start + if before { 2 } else { 1 };
        }
        count
    }

    /// Adds arguments; one with a value replaces that of the same name.
    pub(super) fn add_arguments(&mut self, key: Key<'_>, new: &[String]) -> usize {
        let name = |arg: &str| arg.split_once('=').map(|(name, _)| format!("{name}="));
        self.matching(key)
            .filter_map(|rule| {
                let old = rule.args.clone();
                for arg in new {
                    let same = |old: &String| match name(arg) {
                        Some(name) => old.starts_with(&name),
                        None => old == arg,
                    };
                    match rule.args.iter_mut().find(|old| same(old)) {
                        Some(old) => arg.clone_into(old),
                        None => rule.args.push(arg.clone()),
                    }
                }
                (rule.args != old).then_some(())
            })
            .count()
    }

    pub(super) fn remove_arguments(&mut self, key: Key<'_>, gone: &[String]) -> usize {
        self.matching(key)
            .filter_map(|rule| {
                let before = rule.args.len();
                rule.args.retain(|arg| !gone.contains(arg));
                (rule.args.len() < before).then_some(())
            })
            .count()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|line| match line {
            Line::Rule(rule) => rule.validate(),
            Line::Include(line) if line.starts_with("@include") => Ok(()),
            Line::Other(line) if line.starts_with('#') || line.trim().is_empty() => Ok(()),
            Line::Include(line) | Line::Other(line) => Err(format!("Rule is not valid {line}")),
        })
    }

    /// Writes the service, with a mark of when it was changed on its second line.
    pub(super) fn render(&self, when: &str) -> String {
        let line = |line: &Line| match line {
            Line::Rule(rule) => rule.line(),
            Line::Include(line) | Line::Other(line) => line.clone(),
        };
        let mut lines: Vec<String> = self.0.iter().map(line).collect();
        let mark = format!("{MARK} - {when}");
        match lines.get_mut(1) {
            None => lines.splice(0..0, [String::new(), mark]).for_each(drop),
            Some(line) if line.starts_with(MARK) => *line = mark,
            Some(_) => lines.insert(1, mark),
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# top\nauth [success=1 default=ignore] pam_unix.so nullok\nauth requisite \
                        pam_deny.so\n# end\n";

    fn edited(edit: impl FnOnce(&mut Service) -> usize) -> (usize, Vec<String>) {
        let mut service = Service::read(TEXT).unwrap();
        let count = edit(&mut service);
        service.validate().unwrap();
        let text = service.render("now");
        (count, text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn arguments_with_values_replace_those_of_their_name() {
        let key = ("auth", "[success=1 default=ignore]", "pam_unix.so");
        let new = arguments(&["nullok try=2", "try=3"]);
        let (count, lines) = edited(|s| s.add_arguments(key, &new));
        assert_eq!(count, 1);
        let rule = "auth       [success=1 default=ignore] pam_unix.so nullok try=3";
        assert_eq!(lines[2], rule);
    }

    #[test]
    fn a_rule_goes_before_or_after_another_once() {
        let key = ("auth", "requisite", "pam_deny.so");
        let rule = Rule::new("auth", "required", "pam_x.so", Vec::new());
        let (count, lines) = edited(|s| s.insert(key, &rule, true) + s.insert(key, &rule, true));
        assert_eq!((count, lines.len()), (1, 6));
        assert_eq!(lines[3], "auth       required pam_x.so");
        let (_, lines) = edited(|s| s.insert(key, &rule, false));
        assert_eq!(lines.last().unwrap(), "auth       required pam_x.so");
    }

    #[test]
    fn words_in_brackets_are_one_argument() {
        assert_eq!(arguments(&["a=b [c d] e"]), ["a=b", "[c d]", "e"]);
    }
}
