//! The lines of an ini file, edited in the order of Ansible's module. Pure.

pub(super) struct Condition {
    pub(super) option: String,
    /// One of them; none is any.
    pub(super) values: Vec<String>,
}

/// What a task asks for.
pub(super) struct Edit {
    /// `None` is what stands before the first section.
    pub(super) section: Option<String>,
    /// What a section of that name has to have to be the one that is meant.
    pub(super) conditions: Vec<Condition>,
    pub(super) option: Option<String>,
    pub(super) values: Vec<String>,
    pub(super) present: bool,
    pub(super) exclusive: bool,
    pub(super) no_extra_spaces: bool,
    pub(super) ignore_spaces: bool,
    pub(super) allow_no_value: bool,
    pub(super) modify_inactive_option: bool,
}

/// The file after editing.
pub(super) struct Edited {
    pub(super) text: String,
    pub(super) changed: bool,
    pub(super) msg: &'static str,
}

/// An option found on a line.
struct Found<'a> {
    /// Whether it stands behind a mark of comments.
    inactive: bool,
    value: &'a str,
}

/// The lines of the section that is meant, its heading first, and which of them are done with.
struct Section {
    lines: Vec<(String, bool)>,
    values: Vec<String>,
    changed: bool,
    msg: &'static str,
}

impl Edit {
    pub(super) fn apply(&self, text: &str) -> Edited {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        // An empty file begins with an empty line.
        if lines.is_empty() {
            lines.push("\n".to_owned());
        }
        let last = lines.last_mut().filter(|line| !line.ends_with('\n'));
        let unended = last.is_some();
        last.into_iter().for_each(|line| line.push('\n'));
        let range = self.range(&lines);
        let found = range.is_some();
        let (start, end) = range.unwrap_or((0, 0));
        // What stands before the first section has no heading; an empty one stands for it.
        let headless = self.section.is_none();
        let heading = headless.then(String::new);
        let own = heading.into_iter().chain(lines[start..end].iter().cloned());
        let mut section = Section {
            lines: own.map(|line| (line, false)).collect(),
            values: self.values.clone(),
            changed: unended,
            msg: "OK",
        };
        if found {
            match self.present {
                true => self.set(&mut section),
                false => self.remove(&mut section),
            }
        }
        let kept = section.lines.into_iter().map(|(line, _)| line);
        lines.splice(start..end, kept);
        let mut edited = Edited {
            text: lines.concat(),
            changed: section.changed,
            msg: section.msg,
        };
        if !found && self.present {
            self.add_section(&mut edited);
        }
        edited
    }

    /// Finds the lines of the section, its heading included.
    fn range(&self, lines: &[String]) -> Option<(usize, usize)> {
        let begins = |line: &str| line.starts_with('[');
        let mut start = self.section.is_none().then_some(0);
        for (at, line) in lines.iter().enumerate() {
            if let Some(from) = start
                && begins(line)
            {
                if self.holds(&lines[from..at]) {
                    return Some((from, at));
                }
                start = None;
            }
            if self
                .section
                .as_ref()
                .is_some_and(|name| is_heading(line, name))
            {
                start = Some(at);
            }
        }
        let from = start?;
        self.holds(&lines[from..]).then_some((from, lines.len()))
    }

    fn holds(&self, lines: &[String]) -> bool {
        self.conditions.iter().all(|condition| {
            lines.iter().any(|line| {
                let found = find(&condition.option, line, true);
                let values = &condition.values;
                found.is_some_and(|f| values.is_empty() || values.iter().any(|v| v == f.value))
            })
        })
    }

    fn find<'a>(&self, option: &str, line: &'a str) -> Option<Found<'a>> {
        find(option, line, self.modify_inactive_option)
    }

    fn assignment(&self, option: &str, value: &str) -> String {
        match self.no_extra_spaces {
            true => format!("{option}={value}\n"),
            false => format!("{option} = {value}\n"),
        }
    }

    fn set(&self, section: &mut Section) {
        let mut bare = false;
        if let Some(option) = &self.option {
            bare = self.keep(option, section);
            if self.exclusive && !self.allow_no_value {
                self.replace(option, section);
            }
        }
        self.insert(bare, section);
    }

    /// Goes through the lines that have one of the values already; returns whether the option stands
    /// there without any.
    fn keep(&self, option: &str, section: &mut Section) -> bool {
        let mut bare = false;
        for at in 0..section.lines.len() {
            let line = section.lines[at].0.clone();
            let Some(found) = self.find(option, &line) else {
                continue;
            };
            let value = section.values.iter().position(|value| value == found.value);
            match value {
                Some(value) => {
                    let value = section.values.remove(value);
                    let without = value.is_empty() && self.allow_no_value;
                    bare |= without;
                    let new = match without {
                        true => format!("{option}\n"),
                        false => self.assignment(option, &value),
                    };
                    self.put(option, section, at, new);
                }
                None if section.values.is_empty() && self.allow_no_value => {
                    self.put(option, section, at, format!("{option}\n"));
                    return true;
                }
                None => {}
            }
        }
        bare
    }

    /// Gives the remaining lines of the option the remaining values, and removes those left over.
    fn replace(&self, option: &str, section: &mut Section) {
        for at in 0..section.lines.len() {
            let (line, done) = &section.lines[at];
            if section.values.is_empty() {
                break;
            }
            if !done && self.find(option, line).is_some() {
                let value = section.values.remove(0);
                self.put(option, section, at, self.assignment(option, &value));
            }
        }
        for at in (1..section.lines.len()).rev() {
            let (line, done) = &section.lines[at];
            if !done && self.find(option, line).is_some() {
                section.lines.remove(at);
                section.changed = true;
                section.msg = "option changed";
            }
        }
    }

    fn put(&self, option: &str, section: &mut Section, at: usize, new: String) {
        let (line, done) = &mut section.lines[at];
        *done = true;
        let old = find(option, line, true);
        let active = old.filter(|old| self.ignore_spaces && !old.inactive);
        let differs = match active {
            Some(old) => find(option, &new, true).is_none_or(|new| new.value != old.value),
            None => *line != new,
        };
        if differs {
            *line = new;
            section.changed = true;
            section.msg = "option changed";
        }
    }

    /// Adds what is missing after the last line of the section that says something.
    fn insert(&self, bare: bool, section: &mut Section) {
        let Some(option) = &self.option else {
            return;
        };
        let says = |(line, _): &(String, bool)| {
            let text = line.trim_matches([' ', '\t', '\n']);
            !text.is_empty() && !text.starts_with(['#', ';'])
        };
        let heading = |at: usize| at == 0 && self.section.is_none();
        let last = (0..section.lines.len()).rfind(|at| says(&section.lines[*at]) || heading(*at));
        let Some(last) = last else {
            return;
        };
        let mut new: Vec<String> = section
            .values
            .iter()
            .map(|value| self.assignment(option, value))
            .collect();
        if new.is_empty() && self.allow_no_value && !bare {
            new.push(format!("{option}\n"));
        }
        if new.is_empty() {
            return;
        }
        let new = new.into_iter().map(|line| (line, true));
        let after = section.lines.split_off(last + 1);
        section.lines.extend(new);
        section.lines.extend(after);
        section.changed = true;
        section.msg = "option added";
    }

    fn remove(&self, section: &mut Section) {
        let before = section.lines.len();
        let Some(option) = &self.option else {
            section.lines.clear();
            section.changed = true;
            section.msg = "section removed";
            return;
        };
        section.lines.retain(|(line, _)| {
            let found = find(option, line, false);
            let goes = |found: Found<'_>| {
                self.exclusive || self.values.iter().any(|value| value == found.value)
            };
            !found.is_some_and(goes)
        });
        if section.lines.len() < before {
            section.changed = true;
            section.msg = "option changed";
        }
    }

    fn add_section(&self, edited: &mut Edited) {
        let text = &mut edited.text;
        text.push_str(&format!(
            "[{}]\n",
            self.section.as_deref().unwrap_or_default()
        ));
        let mut values = self.values.clone();
        for Condition {
            option,
            values: own,
        } in &self.conditions
        {
            if Some(option) == self.option.as_ref() {
                let more = own.iter().filter(|_| !self.exclusive);
                for value in more {
                    if !values.contains(value) {
                        values.push(value.clone());
                    }
                }
            } else if own.is_empty() {
                if self.allow_no_value {
                    text.push_str(&format!("{option}\n"));
                }
            } else {
                own.iter()
                    .for_each(|value| text.push_str(&self.assignment(option, value)));
            }
        }
        edited.msg = "section and option added";
        match &self.option {
            Some(option) if !values.is_empty() => {
                values
                    .iter()
                    .for_each(|value| text.push_str(&self.assignment(option, value)));
            }
            Some(option) if self.allow_no_value => text.push_str(&format!("{option}\n")),
            _ => edited.msg = "only section added",
        }
        edited.changed = true;
    }
}

/// Returns whether a line is the heading of the section called `name`.
fn is_heading(line: &str, name: &str) -> bool {
    let inner = line.strip_prefix('[').map(str::trim_start);
    let rest = inner.and_then(|inner| inner.strip_prefix(name.trim()));
    rest.is_some_and(|rest| rest.trim_start().starts_with(']'))
}

/// Finds an option on a line, also behind a mark of comments if `inactive` ones count.
fn find<'a>(option: &str, line: &'a str, inactive: bool) -> Option<Found<'a>> {
    const BLANK: [char; 2] = [' ', '\t'];
    let line = line.strip_suffix('\n').unwrap_or(line);
    let start = line.trim_start_matches(BLANK);
    let read = |text: &'a str, inactive: bool| {
        let rest = text.trim_start_matches(BLANK).strip_prefix(option)?;
        let rest = rest.trim_start_matches(BLANK);
        let value = match rest.strip_prefix('=') {
            Some(value) => value.trim_start_matches(BLANK),
            None if rest.is_empty() => rest,
            None => return None,
        };
        Some(Found { inactive, value })
    };
    let commented = start.strip_prefix(['#', ';']).filter(|_| inactive);
    let commented = commented.and_then(|text| read(text, true));
    commented.or_else(|| read(start, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(values: &[&str]) -> Edit {
        Edit {
            section: Some("a".to_owned()),
            conditions: Vec::new(),
            option: Some("x".to_owned()),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            present: true,
            exclusive: true,
            no_extra_spaces: false,
            ignore_spaces: false,
            allow_no_value: false,
            modify_inactive_option: true,
        }
    }

    #[test]
    fn an_option_is_added_changed_and_removed() {
        let edited = edit(&["1"]).apply("[a]\n\n[b]\nx = 2\n");
        assert_eq!(edited.text, "[a]\nx = 1\n\n[b]\nx = 2\n");
        let edited = edit(&["3"]).apply(&edited.text);
        assert_eq!(edited.text, "[a]\nx = 3\n\n[b]\nx = 2\n");
        let absent = Edit {
            present: false,
            ..edit(&[])
        };
        assert_eq!(absent.apply(&edited.text).text, "[a]\n\n[b]\nx = 2\n");
    }

    #[test]
    fn the_first_of_two_sections_of_a_name_that_holds_the_conditions_is_meant() {
        let by_name = Edit {
            conditions: vec![Condition {
                option: "name".to_owned(),
                values: vec!["two".to_owned()],
            }],
            ..edit(&["1"])
        };
        let edited = by_name.apply("[a]\nname = one\n[a]\nname = two\n");
        assert_eq!(edited.text, "[a]\nname = one\n[a]\nname = two\nx = 1\n");
    }

    #[test]
    fn without_a_section_the_option_stands_at_the_top() {
        let top = Edit {
            section: None,
            ..edit(&["1"])
        };
        assert_eq!(
            top.apply("# c\n[a]\nx = 2\n").text,
            "x = 1\n# c\n[a]\nx = 2\n"
        );
    }
}
