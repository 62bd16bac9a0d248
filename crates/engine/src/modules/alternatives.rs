//! `community.general.alternatives`: which of several programs a name stands for, by
//! `update-alternatives`.

use std::path::Path;

use amibake_playbook::pyre::{Captures, Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, required_bin};

pub(super) struct Alternatives;

impl ActionModule for Alternatives {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let program = required_bin("update-alternatives", context)?;
        let subcommands = subcommands(args.raw("subcommands"))?;
        let name = args.required("name")?;
        let shown = Command::new([program.as_str(), "--display", name]).env("LC_ALL", "C");
        let shown = shown.run(context).map_err(|e| e.failure(&shown))?;
        let now = match shown.rc {
            0 => Now::parse(&shown.stdout, subcommands.as_deref()),
            _ => Now::default(),
        };
        let mut run = Run {
            before: Map::new(),
            after: Map::new(),
            messages: Vec::new(),
            subcommands,
            program,
            name,
            args,
            now,
            context,
        };
        run.run()?;
        let changed = !run.messages.is_empty();
        let fields = json!({
            "msg": run.messages.join(" "), "diff": {"before": run.before, "after": run.after},
        });
        Ok(Outcome::of(changed, fields))
    }
}

/// A further link that goes with an alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subcommand {
    name: String,
    path: String,
    link: Option<String>,
}

impl Subcommand {
    fn json(&self) -> Json {
        json!({"name": self.name, "path": self.path, "link": self.link})
    }
}

fn subcommands(given: Option<&Json>) -> Result<Option<Vec<Subcommand>>, Failure> {
    let Some(Json::Array(items)) = given else {
        return Ok(None);
    };
    let subcommand = |item: &Json| {
        let field = |name: &str| {
            let text = item.get(name).and_then(Json::as_str).map(str::to_owned);
            text.ok_or_else(|| {
                let msg = format!("missing required arguments: {name} found in subcommands");
                Failure::new(msg)
            })
        };
        Ok(Subcommand {
            name: field("name")?,
            path: field("path")?,
            link: Some(field("link")?),
        })
    };
    items
        .iter()
        .map(subcommand)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// One of the programs that a name may stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alternative {
    path: String,
    priority: i64,
    family: String,
    subcommands: Vec<Subcommand>,
}

/// What `update-alternatives --display` shows.
#[derive(Debug, Default)]
struct Now {
    mode: Option<String>,
    path: Option<String>,
    link: Option<String>,
    alternatives: Vec<Alternative>,
}

impl Now {
    fn parse(shown: &str, given: Option<&[Subcommand]>) -> Self {
        let first = |pattern| found(pattern, shown).into_iter().next()?.into_iter().nth(1);
        let Some(mode) = first(r"(?m)\s-\s(?:status\sis\s)?(\w*)(?:\smode|.)$") else {
            return Self::default();
        };
        let mut links: Vec<(String, String)> =
            found(r"(?m)^\s*(?:slave|follower) (\S+) is (.*)$", shown)
                .into_iter()
                .filter_map(|groups| Some((groups.get(1)?.clone(), groups.get(2)?.clone())))
                .collect();
        if links.is_empty() {
            let given = given.unwrap_or_default().iter();
            links = given
                .filter_map(|sub| Some((sub.name.clone(), sub.link.clone()?)))
                .collect();
        }
        Self {
            mode: Some(mode),
            path: first(r"(?m)^\s*link currently points to (.*)$"),
            link: first(r"(?m)^\s*link \w+ is (.*)$"),
            alternatives: alternatives(shown, &links),
        }
    }

    fn alternative(&self, path: Option<&str>) -> Option<&Alternative> {
        self.alternatives
            .iter()
            .find(|a| Some(a.path.as_str()) == path)
    }
}

fn alternatives(shown: &str, links: &[(String, String)]) -> Vec<Alternative> {
    let pattern =
        r"(?m)^(\/.*)\s-\s(?:family\s(\S+)\s)?priority\s(\d+)((?:\s+(?:slave|follower).*)*)";
    let subcommand = |groups: Vec<String>| {
        let [_, name, path] = groups.try_into().ok()?;
        let link = links.iter().find(|(known, _)| *known == name);
        let link = link.map(|(_, link)| link.clone());
        (path != "(null)").then_some(Subcommand { name, path, link })
    };
    let alternative = |groups: Vec<String>| {
        let [_, path, family, priority, rest] = groups.try_into().ok()?;
        let subcommands = found(r"(?m)^\s+(?:slave|follower) (.*): (.*)$", &rest);
        Some(Alternative {
            path,
            family,
            priority: priority.parse().ok()?,
            subcommands: subcommands.into_iter().filter_map(subcommand).collect(),
        })
    };
    found(pattern, shown)
        .into_iter()
        .filter_map(alternative)
        .collect()
}

/// Returns the groups of all that `pattern` finds; a group that took no part is empty.
fn found(pattern: &str, text: &str) -> Vec<Vec<String>> {
    let Ok(regex) = Regex::new(pattern, Flags::default()) else {
        return Vec::new();
    };
    let groups = |captures: &Captures| {
        let group = |index| {
            let text = captures.get(index).and_then(|range| text.get(range));
            text.unwrap_or_default().to_owned()
        };
        (0..captures.len()).map(group).collect()
    };
    let all = regex.find_all(text.as_bytes()).unwrap_or_default();
    all.iter().map(groups).collect()
}

struct Run<'r, 'c> {
    program: String,
    name: &'r str,
    args: &'r Args,
    subcommands: Option<Vec<Subcommand>>,
    now: Now,
    messages: Vec<String>,
    before: Map<String, Json>,
    after: Map<String, Json>,
    context: &'r mut Context<'c>,
}

impl Run<'_, '_> {
    fn run(&mut self) -> Result<(), Failure> {
        let path = self.args.str("path").map(str::to_owned);
        let state = self.args.str("state").unwrap_or("selected");
        if self.context.diff && self.now.mode.is_some() {
            self.note_before(path.as_deref());
        }
        if state == "absent" {
            return match &path {
                Some(path) if self.now.alternative(Some(path)).is_some() => self.remove(path),
                _ => Ok(()),
            };
        }
        if let Some(path) = &path
            && self.is_to_install(path)
        {
            self.install(path)?;
        }
        if state == "selected" && !self.is_selected(path.as_deref()) {
            self.select(path.as_deref())?;
        }
        if state == "auto" && self.now.mode.as_deref() == Some("manual") {
            self.reset()?;
        }
        Ok(())
    }

    fn note_before(&mut self, path: Option<&str>) {
        let mut before = json!({"state": "absent"});
        if let Some(alternative) = self.now.alternative(path) {
            let manual = self.now.mode.as_deref() == Some("manual");
            let other = self.now.path.as_deref() != path;
            before = json!({
                "state": if manual && other { "selected" } else { "present" },
                "path": alternative.path, "priority": alternative.priority, "link": self.now.link,
            });
            if !alternative.subcommands.is_empty() {
                before["subcommands"] = listed(&alternative.subcommands);
            }
        }
        self.before = before.as_object().cloned().unwrap_or_default();
    }

    fn is_to_install(&self, path: &str) -> bool {
        let Some(known) = self.now.alternative(Some(path)) else {
            return true;
        };
        let priority = self.args.int("priority");
        let same = |wanted: &Vec<Subcommand>| {
            known.subcommands.iter().all(|s| wanted.contains(s))
                && wanted.iter().all(|s| known.subcommands.contains(s))
        };
        priority.is_some_and(|priority| priority != known.priority)
            || self
                .subcommands
                .as_ref()
                .is_some_and(|wanted| !same(wanted))
    }

    fn is_selected(&self, path: Option<&str>) -> bool {
        let now = self.now.path.as_deref();
        let known = self.now.alternative(now);
        let family = self.args.str("family");
        (path.is_some() && now == path)
            || known.is_some_and(|known| Some(known.family.as_str()) == family)
    }

    fn install(&mut self, path: &str) -> Result<(), Failure> {
        if !Path::new(path).exists() {
            let msg = format!("Specified path {path} does not exist");
            return Err(Failure::new(msg));
        }
        let link = self.args.str("link").filter(|link| !link.is_empty());
        let Some(link) = link.map(str::to_owned).or_else(|| self.now.link.clone()) else {
            let msg =
                "Needed to install the alternative, but unable to do so as we are missing the link";
            return Err(Failure::new(msg));
        };
        let known = self.now.alternative(Some(path));
        let given = self.args.int("priority");
        let priority = given.or(known.map(|known| known.priority)).unwrap_or(50);
        let family = self.args.str("family");
        let mut argv: Vec<String> = ["--install", &link, self.name, path]
            .map(str::to_owned)
            .into();
        argv.push(priority.to_string());
        argv.extend(
            family
                .into_iter()
                .flat_map(|family| ["--family".to_owned(), family.to_owned()]),
        );
        for sub in self.subcommands.iter().flatten() {
            let link = sub.link.clone().unwrap_or_default();
            argv.extend([
                "--slave".to_owned(),
                link,
                sub.name.clone(),
                sub.path.clone(),
            ]);
        }
        if self.context.diff {
            let shown = self
                .subcommands
                .clone()
                .or(known.map(|known| known.subcommands.clone()));
            let mut after = json!({
                "state": "present", "path": path, "family": family, "priority": priority,
                "link": link,
            });
            if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
                after["subcommands"] = listed(&shown);
            }
            self.after = after.as_object().cloned().unwrap_or_default();
        }
        let told = format!("Install alternative '{path}' for '{}'.", self.name);
        self.update(argv, told)
    }

    fn remove(&mut self, path: &str) -> Result<(), Failure> {
        let argv = ["--remove", self.name, path].map(str::to_owned);
        if self.context.diff {
            self.after = Map::from_iter([("state".to_owned(), json!("absent"))]);
        }
        let told = format!("Remove alternative '{path}' from '{}'.", self.name);
        self.update(argv.into(), told)
    }

    /// A path says more than a family.
    fn select(&mut self, path: Option<&str>) -> Result<(), Failure> {
        let chosen = path.or(self.args.str("family")).unwrap_or_default();
        let argv = ["--set", self.name, chosen].map(str::to_owned);
        let told = format!("Set alternative '{chosen}' for '{}'.", self.name);
        self.note_state("selected");
        self.update(argv.into(), told)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        let argv = ["--auto", self.name].map(str::to_owned);
        let told = format!("Set alternative to auto for '{}'.", self.name);
        self.note_state("present");
        self.update(argv.into(), told)
    }

    fn note_state(&mut self, state: &str) {
        if self.context.diff {
            self.after.insert("state".to_owned(), json!(state));
        }
    }

    fn update(&mut self, arguments: Vec<String>, told: String) -> Result<(), Failure> {
        self.messages.push(told);
        if !self.context.check {
            let argv = std::iter::once(self.program.clone()).chain(arguments);
            Command::new(argv)
                .env("LC_ALL", "C")
                .checked(self.context)?;
        }
        Ok(())
    }
}

fn listed(subcommands: &[Subcommand]) -> Json {
    subcommands.iter().map(Subcommand::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "editor - manual mode\n  link best version is /usr/bin/vim\n  \
        link currently points to /bin/nano\n  link editor is /usr/bin/editor\n  \
        slave editor.1.gz is /usr/share/man/man1/editor.1.gz\n/bin/nano - priority 40\n  \
        slave editor.1.gz: /usr/share/man/man1/nano.1.gz\n/usr/bin/vim - priority 50\n";

    #[test]
    fn what_is_displayed_is_read() {
        let now = Now::parse(SHOWN, None);
        assert_eq!(now.mode.as_deref(), Some("manual"));
        assert_eq!(now.path.as_deref(), Some("/bin/nano"));
        assert_eq!(now.alternatives.len(), 2);
        let nano = now.alternative(Some("/bin/nano")).unwrap();
        assert_eq!(nano.priority, 40);
        let link = nano.subcommands[0].link.as_deref();
        assert_eq!(link, Some("/usr/share/man/man1/editor.1.gz"));
    }
}
