//! Files of the controller that tasks certainly read and that are not there. Where something of the playbook may
//! write files on the controller, or end the play, nothing is said: the run looks when it gets there.

use std::path::{Path, PathBuf};

use super::reach::Reachability;
use super::walk::{Walk, ends, normal};
use super::{Task, known};
use crate::diagnostic::Diagnostic;
use crate::yaml::{Kind, Node};

/// Lookups that may write on the controller.
const WRITING: &[&str] = &["password", "pipe"];

/// A file that a task names: where that stands, the folder of its kind, the name.
struct Named<'t> {
    at: &'t Node,
    kind: &'static str,
    name: String,
}

impl Walk<'_> {
    /// Notes which literal files of a task are not there.
    pub(super) fn check_sources(&mut self, task: &Task) {
        if self.local || self.position.delegated.is_some() || may_write(task) {
            self.may_come = true;
        }
        if self.position.reach != Reachability::Yes || task.args.template.is_some() {
            return;
        }
        for named in sources(task).into_iter().chain(lookups(task)) {
            let folders = self.folders_of(named.kind);
            let mut paths = folders.iter().map(|folder| folder.join(&named.name));
            if !paths.any(|path| self.is_there(&normal(&path))) {
                let wrong = self.absent_at(&named, &folders);
                self.absent.push(wrong);
            }
        }
    }

    /// Notes that a lookup may write files.
    pub(super) fn note_writing(&mut self, lookup: &str) {
        self.may_come |= WRITING.contains(&known::bare(lookup));
    }

    /// Says what is not there and will not come.
    pub(super) fn tell_absent(&mut self) {
        if self.may_come {
            return;
        }
        for wrong in std::mem::take(&mut self.absent) {
            match self.options.strict {
                true => self.stop(wrong),
                false => {
                    let wrong = wrong.and_hint("the task fails if it is reached");
                    self.out.warnings.push(wrong);
                }
            }
        }
    }

    /// Returns every folder in which Ansible may look: those of all roles and files that lead here.
    fn folders_of(&self, kind: &str) -> Vec<PathBuf> {
        let files = self.within.iter().filter_map(|file| file.parent());
        let roles = self.role.iter().map(|(_, folder)| folder.as_path());
        let bases = self.bases.iter().map(PathBuf::as_path);
        let around = |folder: &Path| match folder.ends_with("tasks") {
            true => folder.parent().map(Path::to_path_buf),
            false => None,
        };
        let mut folders = Vec::new();
        for folder in roles.chain(files).chain(bases) {
            for folder in std::iter::once(folder.to_path_buf()).chain(around(folder)) {
                for folder in [folder.join(kind), folder] {
                    if !folders.contains(&folder) {
                        folders.push(folder);
                    }
                }
            }
        }
        folders
    }

    fn is_there(&self, path: &Path) -> bool {
        self.files.is_file(path) || self.files.is_dir(path) || self.files.link(path).is_some()
    }

    fn absent_at(&self, named: &Named<'_>, folders: &[PathBuf]) -> Diagnostic {
        let here = folders
            .iter()
            .filter_map(|folder| self.files.list(folder).ok());
        let names: Vec<String> = here.flatten().collect();
        let wrong = Diagnostic::new(&named.at.span, format!("there is no file `{}`", named.name))
            .nearest(&named.name, names.iter().map(String::as_str));
        let shown: Vec<String> = folders
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        match wrong.hint {
            Some(_) => wrong,
            None => wrong.hint(format!("looked in {}", shown.join(", "))),
        }
    }
}

/// Whether a task may write on the controller or end its play, or what it brings is not known.
fn may_write(task: &Task) -> bool {
    let keyword = |name: &str| task.keywords.iter().find(|(key, _)| key == name);
    let goes_elsewhere = ["delegate_to", "local_action", "connection"]
        .iter()
        .any(|name| {
            let found = keyword(name);
            found.is_some_and(|(_, value)| !value.is_null())
        });
    let connects =
        keyword("vars").is_some_and(|(_, vars)| vars.get("ansible_connection").is_some());
    let open = |name: &str| task.args.get(name).is_some_and(Node::is_template);
    let acts = match known::bare(&task.action) {
        "fetch" | "add_host" => true,
        "meta" => ends(task),
        "include_tasks" | "include_role" => {
            task.args.template.is_some()
                || ["file", "_raw_params", "name", "role"]
                    .into_iter()
                    .any(open)
        }
        "import_tasks" | "import_role" => false,
        action => action.contains("{{"),
    };
    goes_elsewhere || connects || acts
}

/// Returns the files that the parameters of a task name.
fn sources(task: &Task) -> Option<Named<'_>> {
    let given = |name: &str| task.args.get(name);
    let any = |names: &[&str]| names.iter().any(|name| given(name).is_some());
    let named = |parameters: &[&str], kind: &'static str| {
        let at = parameters.iter().find_map(|name| given(name))?;
        let name = literal(at)?;
        Some(Named { at, kind, name })
    };
    match known::bare(&task.action) {
        "copy" if !any(&["remote_src", "content"]) => named(&["src"], "files"),
        "template" => named(&["src"], "templates"),
        "unarchive" if !any(&["remote_src", "copy", "creates"]) => named(&["src"], "files"),
        "include_vars" if !any(&["dir"]) => named(&["file", "_raw_params"], "vars"),
        "script" if !any(&["creates", "removes"]) => {
            let mut script = named(&["cmd", "_raw_params"], "files")?;
            let first = script.name.split_whitespace().next()?.to_owned();
            script.name = first;
            Some(script)
        }
        _ => None,
    }
    .filter(|named| is_plain(&named.name))
}

/// Returns the files that `lookup('file', …)` reads at the beginning of a template in a task's parameters.
fn lookups(task: &Task) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let looks = !known::bare(&task.action).starts_with("include_");
    for (_, at) in task.args.named.iter().filter(|_| looks) {
        let text = at.as_str().filter(|_| at.tag.is_none()).unwrap_or_default();
        // What stands in a condition may not be read.
        let sure = [" if ", " and ", " or ", "{%"]
            .iter()
            .all(|word| !text.contains(word));
        let inner = text.strip_prefix("{{").filter(|_| sure);
        if let Some((kind, name)) = inner.and_then(|text| looked_up(text.trim_start()))
            && is_plain(&name)
        {
            found.push(Named { at, kind, name });
        }
    }
    found
}

/// Reads `lookup('file', 'name')`.
fn looked_up(text: &str) -> Option<(&'static str, String)> {
    let quoted = |text: &str| {
        let text = text.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (inner, rest) = text[1..].split_once(quote)?;
        Some((inner.to_owned(), rest.trim_start().to_owned()))
    };
    let (plugin, rest) = quoted(text.strip_prefix("lookup(")?)?;
    let kind = match known::bare(&plugin) {
        "file" => "files",
        "template" => "templates",
        _ => return None,
    };
    let (name, rest) = quoted(rest.strip_prefix(',')?)?;
    rest.starts_with(')').then_some((kind, name))
}

fn literal(node: &Node) -> Option<String> {
    let plain = matches!(node.kind, Kind::Str(_)) && node.tag.is_none() && !node.is_template();
    node.as_str()
        .filter(|_| plain)
        .map(|name| name.trim().to_owned())
}

/// Whether a name is one of a file in the playbook's folders: nothing to expand, quote or fetch.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['/', '~'])
        && !name.contains(['$', '\'', '"', '\\', '{', '}', '\n'])
        && !name.contains("://")
}

#[cfg(test)]
mod tests {
    use crate::files::Disk;
    use crate::files::tests::project;
    use crate::syntax::{Options, parse};

    /// Returns what is said of `gone` in a playbook with these tasks.
    fn said(tasks: &str, strict: bool) -> (bool, bool) {
        let site = format!("- hosts: all\n  tasks:\n{tasks}");
        let files = [
            ("site.yml", site.as_str()),
            ("files/there", ""),
            ("templates/there", ""),
            ("vars/there", ""),
            (
                "roles/r/tasks/main.yml",
                "- copy: {src: there, dest: /a}\n- script: here\n",
            ),
            ("roles/r/files/here", ""),
        ];
        let dir = project(&files);
        let options = Options {
            strict,
            ..Options::default()
        };
        let has = |text: String| text.contains("there is no file `gone");
        match parse(&Disk::here(), &dir.path().join("site.yml"), &options) {
            Err(wrong) => (has(wrong.to_string()), true),
            Ok(playbook) => {
                let all: String = playbook.warnings.iter().map(ToString::to_string).collect();
                (has(all), false)
            }
        }
    }

    #[test]
    fn a_file_that_is_certainly_read_and_not_there_is_told() {
        for task in [
            "copy: {src: gone, dest: /a}",
            "copy: {src: gone/, dest: /a}",
            "template: {src: gone.j2, dest: /a}",
            "script: gone.sh with arguments",
            "include_vars: gone.yml",
            "include_vars: {file: gone.yml}",
            "unarchive: {src: gone.tgz, dest: /a}",
            "debug: {msg: \"{{ lookup('file', 'gone') | trim }}\"}",
            "import_role: {name: r}\n    - script: gone",
        ] {
            let tasks = format!("    - {task}\n");
            assert_eq!(said(&tasks, false), (true, false), "{task}");
            assert_eq!(said(&tasks, true), (true, true), "{task}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_there_may_come_or_may_not_be_read() {
        let gone = "    - copy: {src: gone, dest: /a}\n";
        for tasks in [
            "    - copy: {src: there, dest: /a}\n    - template: {src: there, dest: /a}\n    - include_vars: there\n    - script: there a\n".to_owned(),
            "    - copy: {src: gone, dest: /a, remote_src: true}\n".to_owned(),
            "    - copy: {src: '{{ gone }}', dest: /a}\n".to_owned(),
            "    - unarchive: {src: 'https://gone', dest: /a, remote_src: true}\n".to_owned(),
            "    - script: gone\n      args: {creates: /a}\n".to_owned(),
            "    - debug: {msg: \"{{ lookup('file', 'gone') if x else 1 }}\"}\n".to_owned(),
            "    - debug: {msg: \"{{ lookup('file', 'gone', errors='ignore') }}\"}\n".to_owned(),
            format!("{gone}      when: x\n"),
            format!("{gone}      ignore_errors: true\n"),
            "    - block: [copy: {src: gone, dest: /a}]\n      rescue: [debug: ]\n".to_owned(),
            format!("    - fetch: {{src: /a, dest: files/gone, flat: true}}\n{gone}"),
            format!("    - debug: {{msg: \"{{{{ lookup('password', 'files/gone') }}}}\"}}\n{gone}"),
            format!("    - meta: end_host\n      when: x\n{gone}"),
            format!("    - include_tasks: '{{{{ x }}}}'\n{gone}"),
            format!("    - debug:\n      delegate_to: '{{{{ x }}}}'\n{gone}"),
        ] {
            assert_eq!(said(&tasks, true), (false, false), "{tasks}");
        }
    }
}
