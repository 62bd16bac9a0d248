//! `--report`: what playbooks use, and how each is supported.

use std::fmt::Write as _;

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics, Span};
use amibake_playbook::syntax::{AllUsed, Supported};

use crate::exit::{Answer, Failure};

/// Returns the list, and what is wrong besides.
pub(super) fn answer(used: &AllUsed, wrong: Vec<Diagnostic>) -> Answer {
    let mut answer = Answer::text(render(used));
    if !wrong.is_empty() {
        answer.failures.push(Failure::usage(Diagnostics(wrong)));
    }
    answer
}

/// Returns the list, a section for each kind.
fn render(used: &AllUsed) -> String {
    let width = used
        .iter()
        .map(|(_, name, ..)| name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut section = None;
    for (kind, name, supported, places) in used.iter() {
        if section != Some(kind) {
            let gap = if section.is_some() { "\n" } else { "" };
            let _infallible = writeln!(text, "{gap}{}", kind.plural());
            section = Some(kind);
        }
        let words = supported.words();
        let line = format!("  {name:width$}  {words:26} {}", shown(places, supported));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Returns how often something is used that works, and every place of what does not.
fn shown(places: &[Span], supported: Supported) -> String {
    match (supported, places.len()) {
        (Supported::Works, 1) => "1 place".to_owned(),
        (Supported::Works, count) => format!("{count} places"),
        _ => {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            places.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use amibake_playbook::files::Disk;
    use amibake_playbook::syntax::{self, Options};

    #[test]
    fn what_works_is_counted_and_what_does_not_has_its_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yml");
        let site = "- hosts: all\n  tasks:\n    - debug: {msg: '{{ a | upper }}'}\n    - debug:\n    - pacman: {name: a}\n";
        std::fs::write(&path, site).unwrap();
        let options = Options {
            survey: true,
            ..Options::default()
        };
        let playbook = syntax::parse(&Disk::here(), &path, &options).unwrap();
        let expected = format!(
            "modules
  ansible.builtin.debug     works                      2 places
  community.general.pacman  not in amibake yet         {}:5:7

filters
  ansible.builtin.upper     works                      1 place
",
            path.display()
        );
        assert_eq!(super::render(&playbook.used), expected);
    }
}
