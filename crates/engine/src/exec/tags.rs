//! Which tasks `--tags` and `--skip-tags` select.

/// The tags of the command line.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    /// Empty means `all`.
    pub(super) only: Vec<String>,
    pub(super) skip: Vec<String>,
}

impl Selection {
    /// Returns whether a task with these tags runs: Ansible's `evaluate_tags`.
    pub(super) fn selects(&self, tags: &[String]) -> bool {
        let untagged = ["untagged".to_owned()];
        let tags = if tags.is_empty() { &untagged[..] } else { tags };
        self.wants(tags) && !self.drops(tags)
    }

    fn wants(&self, tags: &[String]) -> bool {
        let has = |tag: &str| tags.iter().any(|t| t == tag);
        let asked = |tag: &str| self.only.iter().any(|t| t == tag);
        if self.only.is_empty() || asked("all") {
            return !has("never") || self.names_one(tags);
        }
        has("always")
            || self.names_one(tags)
            || (asked("tagged") && !has("untagged") && !has("never"))
    }

    fn names_one(&self, tags: &[String]) -> bool {
        self.only
            .iter()
            .any(|tag| tag != "all" && tags.contains(tag))
    }

    fn drops(&self, tags: &[String]) -> bool {
        let has = |tag: &str| tags.iter().any(|t| t == tag);
        let asked = |tag: &str| self.skip.iter().any(|t| t == tag);
        if asked("all") {
            return !has("always") || asked("always");
        }
        self.skip.iter().any(|tag| tags.contains(tag)) || (asked("tagged") && !has("untagged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(only: &[&str], skip: &[&str], tags: &[&str]) -> bool {
        let own = |list: &[&str]| list.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        let selection = Selection {
            only: own(only),
            skip: own(skip),
        };
        selection.selects(&own(tags))
    }

    #[test]
    fn without_tags_all_but_never_runs() {
        assert!(selects(&[], &[], &[]));
        assert!(selects(&[], &[], &["a"]));
        assert!(!selects(&[], &[], &["never", "a"]));
    }

    #[test]
    fn a_named_tag_runs_what_has_it_and_what_always_runs() {
        assert!(selects(&["a"], &[], &["a", "b"]));
        assert!(selects(&["a"], &[], &["always"]));
        assert!(selects(&["a"], &[], &["never", "a"]));
        assert!(!selects(&["a"], &[], &["b"]));
        assert!(!selects(&["a"], &[], &[]));
    }

    #[test]
    fn tagged_and_untagged_are_tags_of_their_own() {
        assert!(selects(&["tagged"], &[], &["a"]));
        assert!(!selects(&["tagged"], &[], &[]));
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
    }
}
