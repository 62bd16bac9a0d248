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
        let (name, hosts) = (&play.name, hosts(play));
        let tags = syntax::tags(&play.keywords);
        let of_play = joined(&tags, ",");
        let _infallible = writeln!(
            text,
            "\n  play #{number} ({hosts}): {name}\tTAGS: [{of_play}]"
        );
        let tasks = syntax::list(play, &wanted.of);
        if wanted.tasks {
            text += "    tasks:\n";
            for task in &tasks {
                let tags = joined(&task.tags, ", ");
                let _infallible = writeln!(text, "      {}\tTAGS: [{tags}]", task.name);
            }
        }
        if wanted.tags {
            let of_tasks = tasks.iter().flat_map(|task| &task.tags);
            let all: BTreeSet<&String> = of_tasks.chain(&tags).collect();
            let _infallible = writeln!(text, "      TASK TAGS: [{}]", joined(all, ", "));
        }
    }
    text
}

/// Returns the patterns of a play's `hosts`.
fn hosts(play: &Play) -> String {
    let node = play.keywords.iter().find(|(key, _)| key == "hosts");
    let Some((_, node)) = node else {
        return String::new();
    };
    match node.as_seq() {
        Some(items) => {
            let texts: Vec<String> = items.iter().filter_map(Node::scalar_text).collect();
            texts.join(",")
        }
        None => node.scalar_text().unwrap_or_default(),
    }
}

fn joined<'a>(tags: impl IntoIterator<Item = &'a String>, between: &str) -> String {
    let tags: Vec<&str> = tags.into_iter().map(String::as_str).collect();
    tags.join(between)
}

#[cfg(test)]
mod tests {
    use amibake_playbook::files::Disk;

    use super::*;

    #[test]
    fn commas_part_the_tags_of_a_play() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("site.yml");
        std::fs::write(&path, "- hosts: [a, b]\n  tags: y,x\n  tasks: []\n").unwrap();
        let playbook = syntax::parse(&Disk::here(), &path, &syntax::Options::default()).unwrap();
        let wanted = Wanted {
            tasks: false,
            tags: true,
            of: Selection::new(&[], &[]),
        };
        let listed = render(Path::new("site.yml"), &playbook, &wanted);
        let expected = "
playbook: site.yml

  play #1 (a,b): a,b\tTAGS: [x,y]
      TASK TAGS: [x, y]
";
        assert_eq!(listed, expected);
    }
}
