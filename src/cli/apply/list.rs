//! `--list-tasks` and `--list-tags`, as `ansible-playbook` prints them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use amibake_playbook::syntax::{self, Play, Playbook};
use amibake_playbook::tags::Selection;
use amibake_playbook::yaml::Node;

/// What of a playbook is printed.
pub(super) struct Wanted {
    pub(super) tasks: bool,
    pub(super) tags: bool,
    /// Of these tasks.
    pub(super) of: Selection,
}

pub(super) fn render(path: &Path, playbook: &Playbook, wanted: &Wanted) -> String {
    let mut text = format!("\nplaybook: {}\n", path.display());
    for (play, number) in playbook.plays.iter().zip(1..) {
        let (name, hosts) = (&play.name, keyword(play, "hosts", ":").unwrap_or_default());
        let tags = keyword(play, "tags", ", ").unwrap_or_default();
        let _infallible = writeln!(text, "\n  play #{number} ({hosts}): {name}\tTAGS: [{tags}]");
        let tasks = syntax::list(play, &wanted.of);
        if wanted.tasks {
            text += "    tasks:\n";
            for task in &tasks {
                let tags = joined(task.tags.iter().map(String::as_str));
                let _infallible = writeln!(text, "      {}\tTAGS: [{tags}]", task.name);
            }
        }
        if wanted.tags {
            let mut all: BTreeSet<&str> = tasks
                .iter()
                .flat_map(|task| task.tags.iter().map(String::as_str))
                .collect();
            all.extend(tags.split(", ").filter(|tag| !tag.is_empty()));
            let _infallible = writeln!(text, "      TASK TAGS: [{}]", joined(all));
        }
    }
    text
}

/// Returns a play's keyword as text, the items of a list joined.
fn keyword(play: &Play, name: &str, between: &str) -> Option<String> {
    let (_, node) = play.keywords.iter().find(|(key, _)| key == name)?;
    match node.as_seq() {
        Some(items) => {
            let texts: Vec<String> = items.iter().filter_map(Node::scalar_text).collect();
            Some(texts.join(between))
        }
        None => node.scalar_text(),
    }
}

fn joined<'a>(tags: impl IntoIterator<Item = &'a str>) -> String {
    tags.into_iter().collect::<Vec<_>>().join(", ")
}
