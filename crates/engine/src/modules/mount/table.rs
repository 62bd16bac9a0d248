//! Entries of fstab, put in and taken out. Pure.

/// An entry as a task describes it.
pub(super) struct Entry {
    pub(super) src: Option<String>,
    /// Where it is mounted.
    pub(super) name: String,
    pub(super) fstype: Option<String>,
    pub(super) opts: String,
    pub(super) dump: String,
    pub(super) passno: String,
}

/// The fields of a line: source, place, type, options and, where they are written, the last two.
type Fields<'a> = Vec<&'a str>;

impl Entry {
    /// Returns the table with this entry in it; `None` if it is there as it is.
    pub(super) fn set_in(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let (mut exists, mut changed) = (false, false);
        for line in text.split_inclusive('\n') {
            let line = line.strip_suffix('\n').unwrap_or(line);
            let before_comment = line.split('#').next().unwrap_or_default();
            let fields = fields(line, before_comment, 4..=6);
            let ours = fields.filter(|fields| self.is(fields));
            match ours {
                None => out.push_str(line),
                Some(fields) => {
                    exists = true;
                    changed |= fields != self.fields();
                    match changed {
                        true => out.push_str(&self.line()),
                        false => out.push_str(line),
                    }
                }
            }
            out.push('\n');
        }
        if !exists {
            out.push_str(&self.line());
            out.push('\n');
        }
        (changed || !exists).then_some(out)
    }

    /// Returns the table without this entry; `None` if it has none.
    pub(super) fn removed_from(&self, text: &str) -> Option<String> {
        let ours = |line: &&str| {
            let fields = fields(line, line, 6..=6);
            fields.is_some_and(|fields| self.is(&fields))
        };
        let lines = text.split_inclusive('\n');
        let kept: Vec<&str> = lines.clone().filter(|line| !ours(line)).collect();
        (kept.len() < lines.count()).then(|| kept.concat())
    }

    /// Returns whether a line is about the same; of swap, which is mounted nowhere, by its source.
    fn is(&self, fields: &Fields<'_>) -> bool {
        if fields[1] != escaped(&self.name) {
            return false;
        }
        let swap = fields[1] == "none" && fields[2] == "swap";
        !(swap && self.src.as_deref().is_some_and(|src| src != fields[0]))
    }

    fn fields(&self) -> Vec<String> {
        let text = |field: &Option<String>| escaped(field.as_deref().unwrap_or_default());
        vec![
            text(&self.src),
            escaped(&self.name),
            text(&self.fstype),
            escaped(&self.opts),
            escaped(&self.dump),
            escaped(&self.passno),
        ]
    }

    fn line(&self) -> String {
        self.fields().join(" ")
    }
}

/// Returns the fields of a line that has a right number of them.
fn fields<'a>(
    line: &str,
    part: &'a str,
    count: std::ops::RangeInclusive<usize>,
) -> Option<Fields<'a>> {
    if line.trim().is_empty() || line.trim_start().starts_with('#') {
        return None;
    }
    let fields: Fields<'_> = part.split_whitespace().collect();
    count.contains(&fields.len()).then_some(fields)
}

/// Writes what would end a field as fstab has it.
fn escaped(field: &str) -> String {
    field
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('&', "\\046")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            src: Some("/dev/sdb1".to_owned()),
            name: "/srv/a b".to_owned(),
            fstype: Some("ext4".to_owned()),
            opts: "defaults".to_owned(),
            dump: "0".to_owned(),
            passno: "0".to_owned(),
        }
    }

    #[test]
    fn an_entry_is_added_once_with_its_blanks_escaped() {
        let text = entry().set_in("# fstab\n/dev/sda1 / ext4").unwrap();
        let ours = "/dev/sdb1 /srv/a\\040b ext4 defaults 0 0\n";
        assert_eq!(text, format!("# fstab\n/dev/sda1 / ext4\n{ours}"));
        assert_eq!(entry().set_in(&text), None);
        assert_eq!(
            entry().removed_from(&text).unwrap(),
            "# fstab\n/dev/sda1 / ext4\n"
        );
    }

    #[test]
    fn an_entry_without_its_last_fields_is_written_anew_as_ansible_does() {
        let text = entry().set_in("/dev/sdb1 /srv/a\\040b ext4 defaults # mine\n");
        assert_eq!(text.unwrap(), "/dev/sdb1 /srv/a\\040b ext4 defaults 0 0\n");
    }

    #[test]
    fn of_several_swaps_only_the_one_of_that_source_is_meant() {
        let swap = Entry {
            name: "none".to_owned(),
            fstype: Some("swap".to_owned()),
            ..entry()
        };
        let text = "/a none swap sw 0 0\n/dev/sdb1 none swap sw 0 0\n";
        assert_eq!(swap.removed_from(text).unwrap(), "/a none swap sw 0 0\n");
    }
}
