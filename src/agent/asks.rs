//! Answers the target's questions, but only those that the author's files ask.
//!
//! The target may be hostile. A lookup is answered only where the controller's own copy of the
//! file has that lookup at that place, with those arguments if they are literal; a file only if a
//! task, a lookup or a template can name it ([`Reads`]): a path that is merely written in the playbook
//! (`dest: /etc/shadow`) names a file of the target.

mod filetree;
mod password;
mod written;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{self, Disk, Files as _};
use amibake_playbook::fnmatch;
use amibake_playbook::reads::Reads;
use amibake_playbook::value::tagged;
use amibake_protocol::ask::{Ask, FileTest, Seen};
use amibake_protocol::bundle::Item;
use amibake_protocol::event::Place;
use amibake_protocol::job::{Entry, Options};
use password::Meant;
use serde_json::{Map, Value as Json};
pub(crate) use written::environment;
use written::{AuthorsText, Written, short};

use super::collect::Bundle;

/// How many lines after its place an expression may stand: a place is the begin of its text.
const REACH: u32 = 200;
/// The largest file whose text is searched.
const TEXT_BYTES: u64 = 4 << 20;
/// The largest file that is sent on request.
const FILE_BYTES: u64 = 4 << 30;

/// How many terms one lookup may have.
const MOST_TERMS: usize = 100;
/// How many paths one question may name.
const MOST_LOOKED_FOR: usize = 1000;
/// How many files one answer may tell of.
const MOST_SEEN: usize = 10_000;
/// How much one answer may hold, beside a file.
const ANSWER_BYTES: usize = 1 << 20;

/// What may be asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct AskPolicy {
    /// Whether lookups may run commands on this machine (`--allow-pipe`).
    pub(crate) allow_pipe: bool,
    /// Whether the user confirms each task (`--step`).
    pub(crate) step: bool,
    /// Inline texts that are no files of their own: the manifest's tasks, by the file named.
    pub(crate) texts: Vec<(PathBuf, String)>,
    /// The playbooks' folders, where names of password files begin.
    pub(crate) folders: Vec<PathBuf>,
    /// The files of this run's own passwords, which no expression may come to name.
    pub(crate) secrets: Vec<PathBuf>,
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Answered {
    /// A lookup's result: a list, as Ansible's lookup plugins return.
    Value(Json),
    File {
        path: PathBuf,
        mode: u32,
        size: u64,
    },
    /// No, and why.
    Refused(String),
}

/// A lookup that the target asks for.
struct Asked<'a> {
    plugin: &'a str,
    terms: Vec<&'a str>,
    /// The names of its options, those within terms (`pw length=8`) too.
    options: Vec<&'a str>,
}

/// How far the author's texts bear out a lookup that is asked for.
#[derive(Default)]
struct Borne {
    /// Some lookup of this plugin stands there.
    stands: bool,
    /// One with these very terms does.
    as_written: bool,
    /// One with computed terms does, and its text names each of these.
    named: bool,
    /// Every option that is given is named where one stands.
    with_options: bool,
}

impl AskPolicy {
    /// Answers `ask`, or refuses it. `given` are the author's texts that stand in no file of the
    /// bundle ([`given`]).
    pub(crate) async fn answer(&self, ask: &Ask, bundle: &Bundle, given: &[&str]) -> Answered {
        let answered = match ask {
            Ask::Lookup {
                place,
                plugin,
                terms,
                options,
            } => match Asked::of(plugin, terms, options) {
                Ok(asked) => {
                    let borne = self.borne(&asked, place, bundle, given);
                    match asked.plugin {
                        "filetree" if borne.stands => trees(&asked.terms, bundle.reads()),
                        _ => self.lookup(&asked, options, &borne, place).await,
                    }
                }
                Err(refused) => Err(refused),
            },
            Ask::Confirm { name } if self.step => confirm(name).await,
            Ask::Confirm { .. } => Err("--step was not given".to_owned()),
            Ask::File { path, .. } => Self::file(path, bundle),
            Ask::Look { paths, .. } => Self::look(paths, bundle),
            Ask::Resolve { path, .. } => Self::resolve(path, bundle),
            Ask::Test { path, test, .. } => file_test(path, test, bundle.reads()),
            Ask::Fetch { .. } | Ask::Keep { .. } => Err("a file comes by itself".to_owned()),
            Ask::KeepFacts { .. } => Err("facts are not kept".to_owned()),
            Ask::Turn { .. }
            | Ask::AnyError { .. }
            | Ask::Once { .. }
            | Ask::Came { .. }
            | Ask::Slot { .. }
            | Ask::SlotEnded { .. }
            | Ask::Tell { .. } => Err("there are no other hosts".to_owned()),
        };
        answered.unwrap_or_else(Answered::Refused)
    }

    async fn lookup(
        &self,
        asked: &Asked<'_>,
        options: &Map<String, Json>,
        borne: &Borne,
        place: &Place,
    ) -> Result<Answered, String> {
        let Asked { plugin, terms, .. } = asked;
        if !borne.stands {
            return Err(format!("no lookup of {plugin} stands there"));
        }
        match *plugin {
            "env" if borne.as_written || borne.named => variables(terms),
            "env" => Err("the variable is not named there".to_owned()),
            "password" if borne.with_options => self.passwords(terms, options, borne, place).await,
            "password" => Err("an option of the lookup is not named there".to_owned()),
            "pipe" | "lines" if !self.allow_pipe => Err(format!(
                "{plugin} runs commands on the controller; --allow-pipe permits it"
            )),
            "pipe" | "lines" if borne.as_written => commands(plugin, terms).await,
            "pipe" | "lines" => Err("only a command written as it is may be run".to_owned()),
            other => Err(format!("the controller has no lookup {other}")),
        }
    }

    async fn passwords(
        &self,
        terms: &[&str],
        options: &Map<String, Json>,
        borne: &Borne,
        place: &Place,
    ) -> Result<Answered, String> {
        let around = |folder: &&PathBuf| Path::new(&place.file).starts_with(folder);
        let base = self.folders.iter().find(around).or(self.folders.first());
        let base = base.map_or(Path::new("."), PathBuf::as_path);
        let meant = match borne.as_written {
            true => Meant::Written,
            false => Meant::Computed(self),
        };
        let mut values = Vec::new();
        for term in terms {
            let value = password::password(term, options, meant, base).await?;
            values.push(Json::from(value));
        }
        Ok(Answered::Value(values.into()))
    }

    fn file(path: &Path, bundle: &Bundle) -> Result<Answered, String> {
        if !amibake_protocol::bundle::is_sound(path) {
            return Err("the path is not absolute and plain".to_owned());
        }
        if !bundle.reads().permits(path) {
            return Err(format!("nothing in the playbook names {}", path.display()));
        }
        let found = path.metadata().map_err(|e| e.to_string())?;
        match found.is_file() && found.len() <= FILE_BYTES {
            true => Ok(Answered::File {
                path: path.to_path_buf(),
                mode: found.permissions().mode() & 0o777,
                size: found.len(),
            }),
            false => Err("it is not a file that can be sent".to_owned()),
        }
    }

    /// Tells which of `paths` are there: those that the playbook can name, and of its own folders
    /// whether there is anything.
    fn look(paths: &[PathBuf], bundle: &Bundle) -> Result<Answered, String> {
        if paths.len() > MOST_LOOKED_FOR {
            return Err(format!(
                "at most {MOST_LOOKED_FOR} paths are looked for at once"
            ));
        }
        let (mut all, mut left) = (Vec::new(), MOST_SEEN);
        for path in paths {
            let one = seen(path, bundle.reads(), left)?;
            if let Seen::Items { items } = &one {
                left -= items.len();
            }
            all.push(one);
        }
        let all = serde_json::to_value(all).map_err(|e| e.to_string())?;
        Ok(Answered::Value(all))
    }

    /// Tells where the links of a path lead that the playbook itself has resolved.
    fn resolve(path: &Path, bundle: &Bundle) -> Result<Answered, String> {
        match bundle.reads().resolves(path) {
            true => {
                let real = Disk::here().real(path);
                Ok(Answered::Value(real.to_string_lossy().into()))
            }
            false => Err(format!(
                "no `realpath` in the playbook names {}",
                path.display()
            )),
        }
    }

    /// Looks for a lookup near `place`, and in the texts that have no place.
    fn borne(&self, asked: &Asked<'_>, place: &Place, bundle: &Bundle, given: &[&str]) -> Borne {
        let mut borne = Borne::default();
        for text in self.texts_at(place, bundle).unwrap_or_default() {
            borne.by(&text, asked, |line| is_near(place, line));
        }
        for text in given {
            borne.by(text, asked, |_| true);
        }
        borne
    }

    /// Returns the author's text of the file that `place` names, which must be part of the run: of
    /// a manifest, that of each step of tasks, on its own lines.
    fn texts_at(&self, place: &Place, bundle: &Bundle) -> Result<Vec<Cow<'_, str>>, String> {
        let path = Path::new(&place.file);
        let inline = self.texts.iter().filter(|(known, _)| known == path);
        let inline: Vec<Cow<'_, str>> = inline.map(|(_, text)| text.into()).collect();
        if !inline.is_empty() {
            return Ok(inline);
        }
        let known = bundle.items().iter().any(|item| item.path == path);
        let is_text = path.metadata().is_ok_and(|m| m.len() <= TEXT_BYTES);
        match known && is_text {
            true => bundle
                .text_of(path)
                .map(|text| vec![text.into()])
                .map_err(|e| e.to_string()),
            false => Err(format!("{} is not a file of this run", place.file)),
        }
    }
}

impl<'a> Asked<'a> {
    fn of(
        plugin: &'a str,
        terms: &'a [Json],
        options: &'a Map<String, Json>,
    ) -> Result<Self, String> {
        if terms.len() > MOST_TERMS {
            return Err(format!("a lookup has at most {MOST_TERMS} terms here"));
        }
        let terms: Option<Vec<&str>> = terms.iter().map(Json::as_str).collect();
        let terms = terms.ok_or("a lookup of the controller takes texts only")?;
        let within = terms.iter().flat_map(|term| term.split_whitespace());
        let within = within.filter_map(|word| Some(word.split_once('=')?.0));
        let options = options.keys().map(String::as_str).chain(within).collect();
        Ok(Self {
            plugin: short(plugin),
            terms,
            options,
        })
    }
}

impl Borne {
    /// Adds what one of the author's texts says, where `near` holds for the line.
    fn by(&mut self, text: &str, asked: &Asked<'_>, near: impl Fn(u32) -> bool) {
        let text = AuthorsText::of(text);
        let here = |w: &Written<'_>| w.plugin == asked.plugin && near(w.line);
        let (mut stands, mut computed) = (false, false);
        for lookup in text.lookups().into_iter().filter(here) {
            stands = true;
            match lookup.literal {
                Some(literal) => self.as_written |= literal == asked.terms,
                None => computed = true,
            }
        }
        let mut terms = asked.terms.iter();
        let mut options = asked.options.iter();
        self.stands |= stands;
        self.named |= computed && terms.all(|term| text.has_word(term));
        self.with_options |= stands && options.all(|name| text.has_word(name));
    }
}

/// Returns what lies at a path, of whose last part a shell pattern may be the name, if that is no more than `most`.
fn seen(path: &Path, reads: &Reads, most: usize) -> Result<Seen, String> {
    let (told, own) = (reads.tells(path), reads.is_own(path));
    if !told && !own {
        return Err(format!("nothing in the playbook names {}", path.display()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let pattern = name
        .contains(['*', '?', '['])
        .then(|| fnmatch::Pattern::new(&name));
    let folder = path.parent().unwrap_or(Path::new("/"));
    let there: Vec<PathBuf> = match pattern {
        Some(pattern) => {
            let names = Disk::here().list(folder).unwrap_or_default();
            let names = names
                .iter()
                .filter(|name| !name.starts_with('.') && pattern.matches(name));
            names.map(|name| folder.join(name)).collect()
        }
        None => vec![path.to_path_buf()],
    };
    if !told {
        return Ok(match there.iter().any(|path| path.exists()) {
            true => Seen::Withheld,
            false => Seen::Nothing,
        });
    }
    let mut items: Vec<Item> = Vec::new();
    for path in there.iter().filter(|path| reads.tells(path)) {
        let Some(more) = Bundle::seen(path, most - items.len()) else {
            continue;
        };
        items.extend(more);
    }
    Ok(match items.is_empty() {
        true => Seen::Nothing,
        false => Seen::Items { items },
    })
}

/// Tests a path of this machine that a test in the playbook can name.
fn file_test(path: &Path, test: &FileTest, reads: &Reads) -> Result<Answered, String> {
    let told = |path: &Path| match reads.tells(path) {
        true => Ok(()),
        false => Err(format!("nothing in the playbook names {}", path.display())),
    };
    told(path)?;
    let held = match test {
        FileTest::Link => path.is_symlink(),
        FileTest::Mount => files::is_mount(path),
        FileTest::SameFile(other) => {
            told(other)?;
            files::are_same(path, other).map_err(|e| e.to_string())?
        }
    };
    Ok(Answered::Value(held.into()))
}

/// Returns the texts of the command line, the inventory and the manifest's variables: the
/// author's too, though no file of the bundle has them.
pub(super) fn given<'a>(options: &'a Options, entries: &'a [Entry]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let vars = entries.iter().map(|entry| match entry {
        Entry::Playbook { vars, .. } | Entry::Role { vars, .. } | Entry::Tasks { vars, .. } => vars,
    });
    let maps = [
        &options.extra_vars,
        &options.all_vars,
        &options.group_vars,
        &options.host_vars,
    ];
    for map in maps.into_iter().chain(vars) {
        map.values().for_each(|value| texts_in(value, &mut found));
    }
    found
}

fn texts_in<'a>(value: &'a Json, found: &mut Vec<&'a str>) {
    match value {
        data if tagged::is_data(data) => {}
        Json::String(text) if text.contains("{{") || text.contains("{%") => found.push(text),
        Json::Array(items) => items.iter().for_each(|item| texts_in(item, found)),
        Json::Object(map) => map.values().for_each(|item| texts_in(item, found)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Returns whether `line` is in reach of a place; line 0 stands for the whole file.
fn is_near(place: &Place, line: u32) -> bool {
    place.line == 0 || (place.line..=place.line.saturating_add(REACH)).contains(&line)
}

/// Tells what is below folders that the playbook names.
fn trees(folders: &[&str], reads: &Reads) -> Result<Answered, String> {
    let mut all = Vec::new();
    for folder in folders.iter().map(Path::new) {
        if !reads.permits(folder) {
            return Err(format!(
                "nothing in the playbook names {}",
                folder.display()
            ));
        }
        let found = filetree::below(folder, MOST_SEEN - all.len());
        all.extend(found.ok_or_else(|| format!("at most {MOST_SEEN} files are told of"))?);
    }
    Ok(Answered::Value(all.into()))
}

/// Asks the user on the terminal, in Ansible's words.
async fn confirm(name: &str) -> Result<Answered, String> {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let question = format!("Perform task: TASK: {name} (N)o/(y)es/(c)ontinue: ");
    let asked = tokio::task::spawn_blocking(move || on_terminal(&question)).await;
    let answer = asked.map_err(|e| e.to_string())?;
    let answer = answer.map_err(|e| format!("no terminal to ask on: {e}"))?;
    Ok(Answered::Value(answer.trim().to_lowercase().into()))
}

fn on_terminal(question: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(answer)
}

/// Returns variables of this process's environment.
fn variables(names: &[&str]) -> Result<Answered, String> {
    let value = |name: &&str| std::env::var(name).map_or(Json::Null, Json::from);
    let mut values = Vec::new();
    let mut bytes = 0;
    for name in names {
        let value = value(name);
        bytes += value.as_str().map_or(0, str::len);
        if bytes > ANSWER_BYTES {
            return Err("the variables are too long".to_owned());
        }
        values.push(value);
    }
    Ok(Answered::Value(values.into()))
}

async fn commands(plugin: &str, terms: &[&str]) -> Result<Answered, String> {
    let mut values = Vec::new();
    for command in terms {
        let mut child = tokio::process::Command::new("/bin/sh");
        child.args(["-c", command]).kill_on_drop(true);
        let output = child.output().await.map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(format!("`{command}` failed: {}", output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        match plugin {
            "lines" => values.extend(text.lines().map(Json::from)),
            _ => values.push(Json::from(text.trim_end())),
        }
    }
    Ok(Answered::Value(values.into()))
}

#[cfg(test)]
mod tests {
    use amibake_playbook::reads::Given;

    use super::*;
    use crate::vault::Vault;

    const PLAYBOOK: &str = "\
- hosts: all
  tasks:
    - debug: {msg: \"{{ lookup('env', 'HOME') }}\"}
    - debug: {msg: \"{{ lookup('pipe', 'echo hi') }}\"}
    - debug: {msg: /etc/hostname}
    - copy: {src: 'big', dest: /etc/shadow}
    - include_vars: '{{ named_in_the_run }}.yml'
    - debug: {msg: \"{{ (playbook_dir ~ '/linked/file') | realpath }}\"}
    - debug: {msg: \"{{ [playbook_dir ~ '/../up/' ~ x, playbook_dir ~ '/sub'] | map('realpath') }}\"}
    - debug: {msg: \"{{ '/' is mount or '/proc' is same_file('/nowhere') or (playbook_dir ~ '/tree/link') is link }}\"}
    - debug: {var: item.path}
      with_community.general.filetree: tree/
";

    fn playbook() -> (tempfile::TempDir, PathBuf, Bundle) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("site.yml");
        std::fs::write(&path, PLAYBOOK).unwrap();
        let big = temp.path().join("big");
        std::fs::write(&big, vec![0; 5 << 20]).unwrap();
        std::fs::write(temp.path().join("secrets.yml"), "a: 1").unwrap();
        std::fs::create_dir_all(temp.path().join("tree/deep")).unwrap();
        std::fs::write(temp.path().join("tree/page.j2"), "{{ x }}").unwrap();
        std::fs::write(temp.path().join("tree/deep/x"), "x").unwrap();
        std::os::unix::fs::symlink("page.j2", temp.path().join("tree/link")).unwrap();
        let options = amibake_playbook::syntax::Options::default();
        let files = amibake_playbook::files::Disk::here();
        let playbook = amibake_playbook::syntax::parse(&files, &path, &options).unwrap();
        let found = amibake_playbook::reads::needed(&files, &playbook, &Given::default());
        let bundle = Bundle::of(found, &Vault::default()).unwrap();
        (temp, path, bundle)
    }

    fn env(file: &Path, line: u32, name: &str) -> Ask {
        Ask::Lookup {
            place: Place {
                file: file.to_string_lossy().into_owned(),
                line,
                column: 1,
            },
            plugin: "env".to_owned(),
            terms: vec![name.into()],
            options: serde_json::Map::new(),
        }
    }

    #[tokio::test]
    async fn what_the_playbook_asks_is_answered() {
        let (temp, path, bundle) = playbook();
        let answer = AskPolicy::default()
            .answer(&env(&path, 3, "HOME"), &bundle, &[])
            .await;
        let home = std::env::var("HOME").ok();
        assert_eq!(answer, Answered::Value(serde_json::json!([home])));
        let anywhere = env(&path, 0, "HOME");
        assert_eq!(
            AskPolicy::default().answer(&anywhere, &bundle, &[]).await,
            answer
        );
        let place = |line| Place {
            file: path.to_string_lossy().into_owned(),
            line,
            column: 1,
        };
        let ask = Ask::File {
            place: place(5),
            path: temp.path().join("big"),
        };
        let answer = AskPolicy::default().answer(&ask, &bundle, &[]).await;
        assert!(matches!(answer, Answered::File { .. }), "{answer:?}");
    }

    #[tokio::test]
    async fn a_tree_is_told_where_the_playbook_goes_over_it_and_no_other() {
        let (temp, path, bundle) = playbook();
        std::fs::create_dir_all(temp.path().join("other")).unwrap();
        let asks = AskPolicy::default();
        let ask = |line, folder: &str| {
            let folder = temp.path().join(folder);
            let Ask::Lookup { place, options, .. } = env(&path, line, "") else {
                unreachable!("that is what `env` makes");
            };
            Ask::Lookup {
                place,
                options,
                plugin: "filetree".to_owned(),
                terms: vec![folder.to_string_lossy().into()],
            }
        };
        let Answered::Value(found) = asks.answer(&ask(12, "tree"), &bundle, &[]).await else {
            panic!("the tree is told");
        };
        let told: Vec<(&str, &str)> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                (
                    item["path"].as_str().unwrap(),
                    item["state"].as_str().unwrap(),
                )
            })
            .collect();
        let tree = [
            ("deep", "directory"),
            ("link", "link"),
            ("page.j2", "file"),
            ("deep/x", "file"),
        ];
        assert_eq!(told, tree);
        for (line, folder) in [
            (12, "other"),
            (12, "tree/../other"),
            (12, ""),
            (1_000, "tree"),
        ] {
            let answer = asks.answer(&ask(line, folder), &bundle, &[]).await;
            assert!(matches!(answer, Answered::Refused(_)), "{line} {folder}");
        }
    }

    #[tokio::test]
    async fn a_hostile_agent_gets_nothing_by_asking() {
        let (temp, path, bundle) = playbook();
        let asks = AskPolicy::default();
        let other = Path::new("/etc/passwd");
        let mut forged = vec![
            env(&path, 3, "AWS_SECRET_ACCESS_KEY"),
            env(&path, 4, "HOME"),
            env(&path, 3_000_000_000, "HOME"),
            env(other, 1, "HOME"),
            env(&temp.path().join("../site.yml"), 3, "HOME"),
        ];
        let place = Place {
            file: path.to_string_lossy().into_owned(),
            line: 1,
            column: 1,
        };
        for wanted in [
            "/etc/shadow",
            "/etc/hostname", // the playbook has it, and as no file
            "/etc/hostname/../shadow",
            "/etc/host",
            "site.yml",
            "../../etc/shadow",
        ] {
            let (place, path) = (place.clone(), wanted.into());
            forged.push(Ask::File { place, path });
        }
        let elsewhere = [
            "/etc/shadow",
            "/etc/host*",
            "/root/.ssh/id_rsa",
            "site.yml",
            "/etc/../etc/shadow",
        ];
        for wanted in elsewhere {
            let (place, paths) = (place.clone(), vec![wanted.into()]);
            forged.push(Ask::Look { place, paths });
        }
        let below = temp.path().display();
        let links = [
            "/etc/localtime".to_owned(),
            "big".to_owned(),
            format!("{below}/link"),
            format!("{below}/big"),
            // Named, and by the way it would be told where `/etc/ssl` and the link lead.
            format!("/etc/ssl/../..{below}/linked/file"),
            format!("{below}/link/../linked/file"),
        ];
        for path in links {
            let (place, path) = (place.clone(), path.into());
            forged.push(Ask::Resolve { place, path });
        }
        forged.push(Ask::File {
            place: place.clone(),
            path: temp.path().join("secrets.yml"),
        });
        forged.push(Ask::Lookup {
            place: place.clone(),
            plugin: "pipe".to_owned(),
            terms: vec!["echo hi".into()],
            options: serde_json::Map::new(),
        });
        for ask in forged {
            let answer = asks.answer(&ask, &bundle, &[]).await;
            assert!(
                matches!(answer, Answered::Refused(_)),
                "{ask:?}: {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn of_the_playbooks_own_folder_is_told_what_is_there_and_not_what_it_holds() {
        let (temp, path, bundle) = playbook();
        let paths = ["secrets.yml", "nothing.yml", "big", "s*s.yml", "files/none"];
        let ask = Ask::Look {
            place: Place {
                file: path.to_string_lossy().into_owned(),
                line: 1,
                column: 1,
            },
            paths: paths.map(|name| temp.path().join(name)).to_vec(),
        };
        let Answered::Value(value) = AskPolicy::default().answer(&ask, &bundle, &[]).await else {
            panic!("refused");
        };
        let seen: Vec<Seen> = serde_json::from_value(value).unwrap();
        let [
            Seen::Withheld,
            Seen::Nothing,
            Seen::Items { items },
            Seen::Withheld,
            Seen::Nothing,
        ] = &seen[..]
        else {
            panic!("{seen:?}");
        };
        assert_eq!(items[0].path, temp.path().join("big"));
    }

    #[tokio::test]
    async fn links_are_resolved_where_the_playbook_resolves_them() {
        let (temp, path, bundle) = playbook();
        let base = temp.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("there")).unwrap();
        std::os::unix::fs::symlink("there", base.join("linked")).unwrap();
        for (asked, expected) in [
            ("linked/file", "there/file"),
            ("../up/any", "../up/any"),
            ("sub/../linked/file", "there/file"),
        ] {
            let ask = Ask::Resolve {
                place: Place {
                    file: path.to_string_lossy().into_owned(),
                    line: 8,
                    column: 1,
                },
                path: temp.path().join(asked),
            };
            let answer = AskPolicy::default().answer(&ask, &bundle, &[]).await;
            let real = Disk::here().real(&base.join(expected));
            let real = real.to_string_lossy().into_owned();
            assert_eq!(answer, Answered::Value(real.into()), "{asked}");
        }
    }

    #[tokio::test]
    async fn tests_of_paths_are_answered_where_the_playbook_makes_them() {
        let (temp, path, bundle) = playbook();
        let Ask::Lookup { place, .. } = env(&path, 10, "") else {
            unreachable!("that is what `env` makes");
        };
        let link = temp.path().join("tree/link");
        let page = temp.path().join("tree/page.j2");
        let answer = async |path: &Path, test: FileTest| {
            let ask = Ask::Test {
                place: place.clone(),
                path: path.to_owned(),
                test,
            };
            AskPolicy::default().answer(&ask, &bundle, &[]).await
        };
        let same = |path: &Path| FileTest::SameFile(path.to_owned());
        for (path, test, held) in [
            (Path::new("/"), FileTest::Mount, true),
            (Path::new("/proc"), FileTest::Mount, true),
            (&*link, FileTest::Mount, false),
            (&*link, FileTest::Link, true),
            (Path::new("/"), FileTest::Link, false),
            (&*page, FileTest::Link, false),
            (&*link, same(&page), true),
            (&*page, same(Path::new("/")), false),
        ] {
            let answer = answer(path, test).await;
            assert_eq!(answer, Answered::Value(held.into()), "{}", path.display());
        }
        let other = Path::new("/etc/localtime");
        for (path, test) in [
            (other, FileTest::Link),
            (Path::new("/sys"), FileTest::Mount),
            (Path::new("/proc/../etc/localtime"), FileTest::Link),
            (&*link, same(other)),
        ] {
            let answer = answer(path, test).await;
            assert!(matches!(answer, Answered::Refused(_)), "{}", path.display());
        }
    }

    #[tokio::test]
    async fn variables_given_without_a_file_may_ask_too() {
        let (_temp, path, bundle) = playbook();
        let vars = serde_json::json!({"a": ["{{ lookup('env', 'AMIBAKE_NOT_SET') }}"]});
        let options = Options {
            group_vars: vars.as_object().unwrap().clone(),
            ..Options::default()
        };
        let given = given(&options, &[]);
        let ask = env(&path, 1, "AMIBAKE_NOT_SET");
        let answer = AskPolicy::default().answer(&ask, &bundle, &given).await;
        assert_eq!(answer, Answered::Value(serde_json::json!([null])));
        let refused = AskPolicy::default().answer(&ask, &bundle, &[]).await;
        assert!(matches!(refused, Answered::Refused(_)));
    }

    #[tokio::test]
    async fn each_step_of_inline_tasks_may_ask() {
        let step = |line: usize, name: &str| {
            let task = format!("- debug: {{msg: \"{{{{ lookup('env', '{name}') }}}}\"}}\n");
            let text = format!("{}{task}", "\n".repeat(line - 1));
            (PathBuf::from("/m/web.yaml"), text)
        };
        let asks = AskPolicy {
            texts: vec![step(5, "AMIBAKE_NOT_SET"), step(9, "AMIBAKE_NEITHER")],
            ..AskPolicy::default()
        };
        let manifest = Path::new("/m/web.yaml");
        let answer = async |line, name| {
            let ask = env(manifest, line, name);
            asks.answer(&ask, &Bundle::default(), &[]).await
        };
        let nothing = Answered::Value(serde_json::json!([null]));
        assert_eq!(answer(5, "AMIBAKE_NOT_SET").await, nothing);
        assert_eq!(answer(9, "AMIBAKE_NEITHER").await, nothing);
        for (line, name) in [(9, "AMIBAKE_NOT_SET"), (9, "HOME")] {
            let answer = answer(line, name).await;
            assert!(matches!(answer, Answered::Refused(_)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_password_is_made_where_the_playbook_says() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("site.yml");
        let password = "{{ lookup('password', 'pw/' ~ h, length=n) }}";
        let play = format!("- hosts: all\n  vars: {{p: \"{password}\"}}\n  tasks: []\n");
        std::fs::write(&path, play).unwrap();
        let options = amibake_playbook::syntax::Options::default();
        let files = amibake_playbook::files::Disk::here();
        let playbook = amibake_playbook::syntax::parse(&files, &path, &options).unwrap();
        let found = amibake_playbook::reads::needed(&files, &playbook, &Given::default());
        let bundle = Bundle::of(found, &Vault::default()).unwrap();
        let asks = AskPolicy {
            folders: vec![temp.path().to_path_buf()],
            ..AskPolicy::default()
        };
        let ask = |term: &str, line| Ask::Lookup {
            place: Place {
                file: path.to_string_lossy().into_owned(),
                line,
                column: 1,
            },
            plugin: "password".to_owned(),
            terms: vec![term.into()],
            options: Map::from_iter([("length".to_owned(), Json::from(7))]),
        };
        let made = asks.answer(&ask("pw/web1", 2), &bundle, &[]).await;
        let file = std::fs::read_to_string(temp.path().join("pw/web1")).unwrap();
        assert_eq!(file.trim_end().len(), 7);
        assert_eq!(made, Answered::Value(serde_json::json!([file.trim_end()])));
        for (term, line) in [
            ("pw/web1", 3),
            ("site.yml", 2),
            ("/etc/hostname", 2),
            ("pw/web2 seed=a", 2),
        ] {
            let answer = asks.answer(&ask(term, line), &bundle, &[]).await;
            assert!(matches!(answer, Answered::Refused(_)), "{term}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_yaml_reads_may_be_asked_and_not_its_quotes() {
        let text = "- debug: {msg: '{{ lookup(''env'', ''AMIBAKE_NOT_SET'') }}'}\n\
                    - debug: {msg: '{{ lookup(\"pipe\", \"echo ''a  b''\") }}'}\n";
        let manifest = PathBuf::from("/m/web.yaml");
        let asks = AskPolicy {
            allow_pipe: true,
            texts: vec![(manifest.clone(), text.to_owned())],
            ..AskPolicy::default()
        };
        let answer = async |line, plugin: &str, term: &str| {
            let Ask::Lookup { place, options, .. } = env(&manifest, line, "") else {
                unreachable!("that is what `env` makes");
            };
            let (plugin, terms) = (plugin.to_owned(), vec![term.into()]);
            let ask = Ask::Lookup {
                place,
                plugin,
                terms,
                options,
            };
            asks.answer(&ask, &Bundle::default(), &[]).await
        };
        let nothing = Answered::Value(serde_json::json!([null]));
        assert_eq!(answer(1, "env", "AMIBAKE_NOT_SET").await, nothing);
        let said = Answered::Value(serde_json::json!(["a  b"]));
        assert_eq!(answer(2, "pipe", "echo 'a  b'").await, said);
        for (plugin, term) in [
            ("pipe", "echo ''a  b''"),
            ("pipe", "echo 'a"),
            ("env", "HOME"),
            ("env", "'AMIBAKE_NOT_SET'"),
            ("env", ""),
        ] {
            let answer = answer(1, plugin, term).await;
            assert!(
                matches!(answer, Answered::Refused(_)),
                "{plugin} {term}: {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_permitted_pipe_runs_only_what_is_written() {
        let (_temp, path, bundle) = playbook();
        let asks = AskPolicy {
            allow_pipe: true,
            ..AskPolicy::default()
        };
        let pipe = |command: &str| Ask::Lookup {
            place: Place {
                file: path.to_string_lossy().into_owned(),
                line: 4,
                column: 1,
            },
            plugin: "pipe".to_owned(),
            terms: vec![command.into()],
            options: serde_json::Map::new(),
        };
        let hi = asks.answer(&pipe("echo hi"), &bundle, &[]).await;
        assert_eq!(hi, Answered::Value(serde_json::json!(["hi"])));
        let evil = asks.answer(&pipe("cat /etc/shadow"), &bundle, &[]).await;
        assert!(matches!(evil, Answered::Refused(_)));
    }
}
