//! The lines of a crontab. A job is a line below one that names it, as Ansible marks its own.

use crate::module::Failure;
use crate::splitlines::splitlines;

const MARK: &str = "#Ansible: ";

#[derive(Clone)]
pub(super) struct Table(Vec<String>);

/// When a job runs, and as whom.
pub(super) struct Times<'a> {
    pub(super) special: Option<&'a str>,
    /// Minute, hour, day, month, weekday.
    pub(super) fields: [&'a str; 5],
    pub(super) disabled: bool,
    /// In files that are not one user's alone.
    pub(super) user: Option<&'a str>,
}

impl Times<'_> {
    /// Returns the line of a job.
    pub(super) fn line(&self, job: &str) -> String {
        let off = if self.disabled { "#" } else { "" };
        let when = match self.special.filter(|special| !special.is_empty()) {
            Some(special) => format!("@{special}"),
            None => self.fields.join(" "),
        };
        let who = self.user.map(|user| format!("{user} ")).unwrap_or_default();
        format!("{off}{when} {who}{}", job.trim_matches(['\r', '\n']))
    }
}

impl Table {
    pub(super) fn of_text(text: &str) -> Self {
        Self(splitlines(text))
    }

    /// Returns whether there is nothing but blank lines.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|line| line.trim().is_empty())
    }

    pub(super) fn render(&self) -> String {
        let text = self.0.join("\n");
        match text.is_empty() {
            true => text,
            false => format!("{}\n", text.trim_end_matches(['\r', '\n'])),
        }
    }

    /// Puts a job in, in the place of the one of that name; returns whether something changed.
    pub(super) fn set_job(&mut self, name: &str, job: &str) -> bool {
        if let Some(found) = self.named(name) {
            if found == job {
                return false;
            }
            self.replace_job(name, Some(job));
            return true;
        }
        match self.adopt(name, job) {
            true => self.replace_job(name, Some(job)),
            false => self.0.extend([mark(name), job.to_owned()]),
        }
        true
    }

    pub(super) fn remove_job(&mut self, name: &str) -> bool {
        let found = self.named(name).is_some();
        if found {
            self.replace_job(name, None);
        }
        found
    }

    /// Returns the line below the mark of `name`.
    fn named(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.iter();
        while let Some(line) = lines.next() {
            if line.strip_prefix(MARK) == Some(name) {
                return lines.next().map(String::as_str);
            }
            // What follows a mark is a job, whatever it looks like.
            if line.starts_with(MARK) {
                lines.next();
            }
        }
        None
    }

    /// Gives a name to a line that is this very job and has none.
    fn adopt(&mut self, name: &str, job: &str) -> bool {
        for at in 0..self.0.len() {
            if self.0[at] != job {
                continue;
            }
            // Before the first line stands the last, as in Python.
            let above = at.checked_sub(1).unwrap_or(self.0.len() - 1);
            if !self.0[above].starts_with(MARK) {
                self.0.insert(at, mark(name));
                return true;
            }
            if !name.is_empty() && self.0[above] == mark("None") {
                self.0[above] = mark(name);
                return true;
            }
        }
        false
    }

    fn replace_job(&mut self, name: &str, job: Option<&str>) {
        let ours = mark(name);
        let mut kept = Vec::new();
        let mut lines = std::mem::take(&mut self.0).into_iter();
        while let Some(line) = lines.next() {
            if line != ours {
                kept.push(line);
                continue;
            }
            if lines.next().is_some()
                && let Some(job) = job
            {
                kept.extend([line, job.to_owned()]);
            }
        }
        self.0 = kept;
    }

    /// Puts a variable in: at the top, or beside another.
    pub(super) fn set_variable(
        &mut self,
        name: &str,
        line: &str,
        (after, before): (Option<&str>, Option<&str>),
    ) -> Result<bool, Failure> {
        if let Some(at) = self.variable(name) {
            if self.0[at] == line {
                return Ok(false);
            }
            for old in self.0.iter_mut().filter(|old| assigns(old, name)) {
                line.clone_into(old);
            }
            return Ok(true);
        }
        let given = |name: Option<&'_ str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
        let (after, before) = (given(after), given(before));
        let Some(other) = after.as_ref().or(before.as_ref()) else {
            self.0.insert(0, line.to_owned());
            return Ok(true);
        };
        let Some(at) = self.variable(other) else {
            return Err(Failure::new(format!("Variable named '{other}' not found.")));
        };
        self.0
            .insert(at + usize::from(after.is_some()), line.to_owned());
        Ok(true)
    }

    pub(super) fn remove_variable(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|line| !assigns(line, name));
        self.0.len() < before
    }

    fn variable(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|line| assigns(line, name))
    }

    /// Returns the names of the jobs that are marked.
    pub(super) fn jobs(&self) -> Vec<String> {
        let marked = self.0.iter().filter(|line| line.starts_with(MARK));
        marked.map(|line| line.replace(MARK, "")).collect()
    }

    /// Returns the names of the variables.
    pub(super) fn variables(&self) -> Vec<String> {
        let name = |line: &String| {
            let word = line.split(char::is_whitespace).next()?;
            let (name, _) = word.split_once('=')?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        self.0.iter().filter_map(name).collect()
    }
}

fn mark(name: &str) -> String {
    format!("{MARK}{name}")
}

fn assigns(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, name: &str, job: &str) -> (bool, String) {
        let mut table = Table::of_text(text);
        (table.set_job(name, job), table.render())
    }

    #[test]
    fn a_job_is_added_changed_and_left_alone() {
        let (changed, text) = set("A=1\n", "x", "* * * * * a");
        assert_eq!((changed, &*text), (true, "A=1\n#Ansible: x\n* * * * * a\n"));
        assert_eq!(set(&text, "x", "* * * * * a"), (false, text.clone()));
        let (changed, text) = set(&text, "x", "@daily a");
        assert_eq!((changed, &*text), (true, "A=1\n#Ansible: x\n@daily a\n"));
    }

    #[test]
    fn a_job_that_is_there_without_a_name_gets_one() {
        let text = set("A=1\n* * * * * a\n", "x", "* * * * * a").1;
        assert_eq!(text, "A=1\n#Ansible: x\n* * * * * a\n");
        let text = set("#Ansible: None\n* * * * * a\n", "x", "* * * * * a").1;
        assert_eq!(text, "#Ansible: x\n* * * * * a\n");
    }

    #[test]
    fn a_job_of_another_name_is_no_reason_not_to_add_it() {
        let text = set("#Ansible: y\n* * * * * a\n", "x", "* * * * * a").1;
        assert_eq!(text, "#Ansible: y\n* * * * * a\n#Ansible: x\n* * * * * a\n");
    }

    #[test]
    fn variables_go_to_the_top_or_beside_others() {
        let mut table = Table::of_text("A=1\nB=2\n* * * * * a\n");
        assert!(
            table
                .set_variable("C", "C=\"3\"", (Some("A"), None))
                .unwrap()
        );
        assert!(table.set_variable("D", "D=\"4\"", (None, None)).unwrap());
        assert!(
            table
                .set_variable("E", "E=\"4\"", (None, Some("Z")))
                .is_err()
        );
        assert!(table.remove_variable("B"));
        assert_eq!(table.render(), "D=\"4\"\nA=1\nC=\"3\"\n* * * * * a\n");
        assert_eq!(table.variables(), ["D", "A", "C"]);
    }
}
