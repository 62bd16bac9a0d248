//! On which hosts the agent is started as root: only where something becomes another user, since others may have
//! no `sudo`.

use std::path::Path;

use amibake_playbook::files::Files as _;
use amibake_playbook::syntax::{Play, Playbook};
use amibake_playbook::yaml::{self, Kind, Node};

use crate::vault::Opened;

/// Returns whether anything in the playbook's files becomes another user.
pub(super) fn needed(playbook: &Playbook, files: &Opened) -> bool {
    playbook.files.iter().any(|file| becomes_in(files, file))
}

/// Returns whether anything in these plays does. This machine is not to be root's for what is done on others.
pub(super) fn needed_by<'p>(
    mut plays: impl Iterator<Item = &'p Play>,
    playbook: &Playbook,
    files: &Opened,
) -> bool {
    plays.any(|play| match written(play, files) {
        Some(node) if names_files(&node) => {
            let mut others = playbook
                .files
                .iter()
                .filter(|file| *file != play.span.file());
            becomes(&node) || others.any(|file| becomes_in(files, file))
        }
        Some(node) => becomes(&node),
        None => needed(playbook, files),
    })
}

/// Returns a play as it stands in its file.
fn written(play: &Play, files: &Opened) -> Option<Node> {
    let document = yaml::load(files, play.span.file()).ok()?;
    let items = document.root.as_seq()?;
    items.iter().find(|item| item.span == play.span).cloned()
}

/// Returns whether a play reads other files.
fn names_files(node: &Node) -> bool {
    match &node.kind {
        Kind::Map(pairs) => pairs.iter().any(|(key, value)| {
            let name = key.scalar_text().unwrap_or_default();
            let bare = name.rsplit('.').next().unwrap_or_default();
            let names = bare.starts_with("include_") || bare.starts_with("import_");
            names || matches!(bare, "roles" | "vars_files") || names_files(value)
        }),
        Kind::Seq(items) => items.iter().any(names_files),
        _ => false,
    }
}

fn becomes_in(files: &Opened, path: &Path) -> bool {
    files.is_file(path) && yaml::load(files, path).is_ok_and(|document| becomes(&document.root))
}

fn becomes(node: &Node) -> bool {
    match &node.kind {
        Kind::Map(pairs) => pairs.iter().any(|(key, value)| {
            let named = key.scalar_text();
            let is_keyword = matches!(named.as_deref(), Some("become" | "ansible_become"));
            (is_keyword && value.kind != Kind::Bool(false)) || becomes(value)
        }),
        Kind::Seq(items) => items.iter().any(becomes),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use amibake_playbook::syntax;

    use super::*;

    #[test]
    fn a_play_alone_is_asked_whether_it_becomes_anyone_unless_it_reads_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yml");
        let text = "- {hosts: web, become: true, tasks: []}\n- {hosts: localhost, tasks: [debug: {msg: a}]}\n\
                    - {hosts: localhost, tasks: [include_tasks: more.yml]}\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("more.yml"), "- debug:\n").unwrap();
        let files = Opened::default();
        let playbook = syntax::parse(&files, &path, &syntax::Options::default()).unwrap();
        assert!(needed(&playbook, &files));
        let by = |play: usize| needed_by(playbook.plays[play..=play].iter(), &playbook, &files);
        assert_eq!([by(0), by(1), by(2)], [true, false, false]);
        std::fs::write(folder.path().join("more.yml"), "- {debug:, become: true}\n").unwrap();
        assert!(needed_by(playbook.plays[2..].iter(), &playbook, &files));
    }
}
