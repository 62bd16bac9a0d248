//! Which tasks `--tags` and `--skip-tags` select.

use std::collections::BTreeSet;

/// The tags of the command line.
#[derive(Debug, Clone)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Default for Selection {
    /// Returns what runs without `--tags` and `--skip-tags`.
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl Selection {
    /// Reads the values of `--tags` (none means `all`) and `--skip-tags`; commas separate tags too.
    #[must_use]
    pub fn new(only: &[String], skip: &[String]) -> Self {
        let mut only = split(only);
        if only.is_empty() {
            only.push("all".to_owned());
        }
        Self {
            only,
            skip: split(skip),
        }
    }

    /// Returns the tags that are wanted, which Ansible calls `ansible_run_tags`.
    #[must_use]
    pub fn only(&self) -> &[String] {
        &self.only
    }

    /// Returns the tags that are not wanted.
    #[must_use]
    pub fn skip(&self) -> &[String] {
        &self.skip
    }

    /// Returns whether a task with these tags runs: Ansible's `evaluate_tags`.
    #[must_use]
    pub fn selects(&self, tags: &BTreeSet<String>) -> bool {
        let has = |tag: &str| tags.contains(tag) || tag == "untagged" && tags.is_empty();
        let wants = |tag: &str| self.only.iter().any(|t| t == tag);
        let drops = |tag: &str| self.skip.iter().any(|t| t == tag);
        let wanted = has("always")
            || (wants("all") || wants("tagged") && !has("untagged")) && !has("never")
            || self.only.iter().any(|tag| has(tag));
        let dropped = match drops("all") {
            true => !has("always") || drops("always"),
            false => self.skip.iter().any(|tag| has(tag)) || drops("tagged") && !has("untagged"),
        };
        wanted && !dropped
    }
}

fn split(tags: &[String]) -> Vec<String> {
    let parts = tags.iter().flat_map(|tag| tag.split(','));
    let parts = parts.map(|tag| tag.trim().to_owned());
    parts.filter(|tag| !tag.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(only: &[&str], skip: &[&str], tags: &[&str]) -> bool {
        let own = |list: &[&str]| list.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        Selection::new(&own(only), &own(skip)).selects(&own(tags).into_iter().collect())
    }

    #[test]
    fn without_tags_all_but_never_runs() {
        assert!(selects(&[], &[], &[]));
        assert!(selects(&[], &[], &["a"]));
        assert!(!selects(&[], &[], &["never", "a"]));
        assert!(selects(&[], &[], &["never", "always"]));
    }

    #[test]
    fn a_named_tag_runs_what_has_it_and_what_always_runs() {
        assert!(selects(&["b,a"], &[], &["a", "c"]));
        assert!(selects(&["a"], &[], &["always"]));
        assert!(selects(&["a"], &[], &["never", "a"]));
        assert!(selects(&["all", "a"], &[], &["never", "a"]));
        assert!(!selects(&["a"], &[], &["b"]));
        assert!(!selects(&["a"], &[], &[]));
    }

    #[test]
    fn tagged_and_untagged_are_tags_of_their_own() {
        assert!(selects(&["tagged"], &[], &["a"]));
        assert!(!selects(&["tagged"], &[], &[]));
        assert!(!selects(&["tagged"], &[], &["never"]));
        assert!(selects(&["untagged"], &[], &[]));
        assert!(!selects(&["untagged"], &[], &["a"]));
        assert!(!selects(&[], &["tagged"], &["a"]));
        assert!(!selects(&[], &["untagged"], &[]));
    }

    #[test]
    fn a_skipped_tag_wins_over_always() {
        assert!(!selects(&[], &["a"], &["a", "always"]));
        assert!(!selects(&[], &["always"], &["always"]));
        assert!(selects(&[], &["all"], &["always"]));
        assert!(!selects(&[], &["all", "always"], &["always"]));
    }
}
