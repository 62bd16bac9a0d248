//! `--list-tasks` and `--list-tags`, as `ansible-playbook` prints them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use amibake_playbook::syntax::{self, Playbook};

pub(super) fn render(path: &Path, playbook: &Playbook, tags_only: bool) -> String {
    let mut text = format!("\nplaybook: {}\n", path.display());
    for (play, number) in playbook.plays.iter().zip(1..) {
        let _infallible = writeln!(text, "\n  play #{number} ({0}): {0}", play.name);
        let tasks = syntax::list(play);
        if tags_only {
            let all: BTreeSet<&String> = tasks.iter().flat_map(|task| &task.tags).collect();
            let _infallible = writeln!(text, "      TASK TAGS: [{}]", joined(all));
            continue;
        }
        text += "    tasks:\n";
        for task in tasks {
            let tags = joined(&task.tags);
            let _infallible = writeln!(text, "      {}\tTAGS: [{tags}]", task.name);
        }
    }
    text
}

fn joined<'a>(tags: impl IntoIterator<Item = &'a String>) -> String {
    let tags: Vec<&str> = tags.into_iter().map(String::as_str).collect();
    tags.join(", ")
}
