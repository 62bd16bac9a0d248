//! `install`, `list` and `remove`: roles and collections of other people's, as `ansible-galaxy` has them.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::CommandContext;
use crate::ansible_config::{AnsibleConfig, SearchPaths, Surroundings, with_surroundings};
use crate::bake::interrupted;
use crate::exit::{Answer, Failure};
use crate::galaxy::{self, Cache, Change, InstallError, Locking, Outcome, Request, Tell};

/// Install the roles and collections of a requirements file
#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// Requirements file, as `ansible-galaxy install -r` reads it
    #[arg(default_value = "requirements.yml", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    locking: LockArgs,
    /// Install again what is there, and replace a role or collection that nothing installed
    #[arg(long)]
    force: bool,
    /// Leave out what the roles and collections need themselves; no lock file is written
    #[arg(long, conflicts_with = "locked")]
    no_deps: bool,
    /// Take prereleases of collections too
    #[arg(long)]
    pre: bool,
    /// Fetch nothing: everything is in the cache already
    #[arg(long)]
    offline: bool,
    /// Galaxy server to ask, by its name in ansible.cfg or its address
    #[arg(short, long, value_name = "SERVER")]
    server: Option<String>,
    /// How many are fetched at once
    #[arg(short, long, value_name = "N", default_value_t = galaxy::AT_ONCE)]
    jobs: NonZeroUsize,
    #[command(flatten)]
    places: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct LockArgs {
    /// Install what FILE.lock says or nothing: it has to be there and to fit
    #[arg(long, conflicts_with = "upgrade")]
    locked: bool,
    /// Look for new versions of everything, and write FILE.lock anew
    #[arg(long)]
    upgrade: bool,
}

/// Where roles and collections lie.
#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Folder with roles; the default is the first in which Ansible looks
    #[arg(long, value_name = "PATH")]
    roles_path: Option<PathBuf>,
    /// Folder with collections; the default is the first in which Ansible looks
    #[arg(long, value_name = "PATH")]
    collections_path: Option<PathBuf>,
}

/// List the roles and collections that are where Ansible looks
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only these
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: PlaceArgs,
}

/// Remove roles and collections that were installed
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Names of roles, or of collections as NAMESPACE.NAME
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Remove what nothing installed, too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    places: PlaceArgs,
}

impl PlaceArgs {
    /// Returns where Ansible looks, or the folders that were named alone.
    fn search(&self) -> Result<SearchPaths, Failure> {
        let mut search = SearchPaths::here();
        let named = [
            (&self.roles_path, &mut search.roles),
            (&self.collections_path, &mut search.collections),
        ];
        for (named, paths) in named {
            if let Some(path) = named {
                *paths = vec![std::path::absolute(path).map_err(Failure::usage)?];
            }
        }
        Ok(search)
    }
}

impl InstallArgs {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let request = self.request(cx)?;
        let outcomes = installing(cx, move |cache, config, around, tell| {
            galaxy::install(&request, cache, config, around, tell)
        });
        Ok(Answer::text(told(&outcomes.await?)))
    }

    fn request(&self, cx: &CommandContext) -> Result<Request, Failure> {
        let search = self.places.search()?;
        let (roles, collections) = galaxy::usual_places(&search).ok_or_else(|| {
            Failure::usage("there is no folder to install to: Ansible looks in none")
                .with_hint("give --roles-path and --collections-path")
        })?;
        Ok(Request {
            file: std::path::absolute(&self.file).map_err(Failure::usage)?,
            roles,
            collections,
            locking: match (self.locking.locked, self.locking.upgrade) {
                (true, _) => Locking::Locked,
                (false, true) => Locking::Upgrade,
                (false, false) => Locking::Follow,
            },
            force: self.force,
            dependencies: !self.no_deps,
            prereleases: self.pre,
            offline: self.offline,
            at_once: self.jobs,
            server: self.server.clone(),
            pause: Duration::from_secs(1),
            cancel: cx.interrupt.cancel.clone(),
        })
    }
}

/// Installs on a thread of its own, since that waits for programs and sockets. Interrupted, it ends by itself, so that
/// nothing half is left.
pub(super) async fn installing<T: Send + 'static>(
    cx: &CommandContext,
    work: impl FnOnce(&Cache, &AnsibleConfig, &Surroundings<'_>, Tell<'_>) -> Result<T, InstallError>
    + Send
    + 'static,
) -> Result<T, Failure> {
    let events = cx.events.clone();
    let whole = move || {
        let cache = Cache::here().map_err(Failure::new)?;
        let config = AnsibleConfig::here();
        if let Some(told) = config.told_passed_over() {
            events.warn(told);
        }
        let tell = |line| events.note(line);
        with_surroundings(|around| work(&cache, &config, around, &tell)).map_err(failed)
    };
    let done = tokio::task::spawn_blocking(whole).await;
    match done.map_err(Failure::new)? {
        Err(_) if cx.interrupt.cancel.is_cancelled() => Err(interrupted()),
        done => done,
    }
}

fn failed(error: InstallError) -> Failure {
    let (hint, is_usage) = (error.hint(), error.is_usage());
    let mut failure = match is_usage {
        true => Failure::usage(error),
        false => Failure::new(error),
    };
    failure.hint = hint;
    failure
}

/// Returns what became of each, a line each.
fn told(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for Outcome {
        kind,
        name,
        version,
        place,
        change,
    } in outcomes
    {
        let verb = match change {
            Change::Installed => "installed",
            Change::Replaced => "replaced",
            Change::Unchanged => "unchanged",
        };
        let version = match version.as_str() {
            "" => "",
            version => &format!(" {version}"),
        };
        let place = place.display();
        let _infallible = writeln!(text, "{verb} {kind} {name}{version} in {place}");
    }
    if outcomes.is_empty() {
        text.push_str("nothing is asked for\n");
    }
    text
}

impl ListArgs {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let search = self.places.search()?;
        let mut all = galaxy::installed(&search);
        if let Some(name) = self
            .names
            .iter()
            .find(|n| all.iter().all(|one| one.name != **n))
        {
            let looked = search.roles.iter().chain(&search.collections);
            let looked: Vec<String> = looked.map(|path| path.display().to_string()).collect();
            return Err(Failure::usage(format!("`{name}` is installed nowhere"))
                .with_hint(format!("looked in {}", looked.join(", "))));
        }
        all.retain(|one| self.names.is_empty() || self.names.contains(&one.name));
        if self.json {
            let one = |one: &galaxy::Installed| {
                json!({
                    "kind": one.kind.to_string(),
                    "name": one.name,
                    "version": one.version,
                    "path": one.place,
                })
            };
            let list: Vec<_> = all.iter().map(one).collect();
            return Ok(Answer::text(format!("{:#}\n", json!(list))));
        }
        Ok(Answer::text(table(&all)))
    }
}

fn table(all: &[galaxy::Installed]) -> String {
    let version = |one: &galaxy::Installed| one.version.clone().unwrap_or_else(|| "-".into());
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let names = widest(&mut all.iter().map(|one| one.name.len()));
    let versions = widest(&mut all.iter().map(|one| version(one).len()));
    let mut text = String::new();
    for one in all {
        let (kind, name, version) = (one.kind.to_string(), &one.name, version(one));
        let folder = one.place.parent().unwrap_or(Path::new("/")).display();
        let _infallible = writeln!(
            text,
            "{kind:10}  {name:names$}  {version:versions$}  {folder}"
        );
    }
    if all.is_empty() {
        text.push_str("nothing is installed where Ansible looks\n");
    }
    text
}

impl RemoveArgs {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let search = self.places.search()?;
        let mut answer = Answer::default();
        for name in &self.names {
            match galaxy::remove(name, &search, self.force) {
                Ok(gone) => {
                    let (kind, place) = (gone.kind, gone.place.display());
                    let _infallible = writeln!(answer.text, "removed {kind} {name} from {place}");
                }
                Err(error) => {
                    let failure = match &error {
                        galaxy::NotRemoved::NotInstalled(_) => {
                            Failure::usage(error).with_hint("--force removes it")
                        }
                        galaxy::NotRemoved::NotThere(_) => Failure::usage(error),
                        galaxy::NotRemoved::Failed(_) => Failure::new(error),
                    };
                    answer.failures.push(failure);
                }
            }
        }
        Ok(answer)
    }
}
