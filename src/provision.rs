//! `provision:` made ready before a machine exists: parsed, checked, bundled.
//!
//! What it finds wrong, it says with its place, and nothing is launched. [`AgentProvisioner`] then runs it, and
//! the manifest's tests, through `agent`.

mod order;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics};
use amibake_playbook::files::Disk;
use amibake_playbook::reads::{self, Given};
use amibake_playbook::syntax::{self, AllUsed, Playbook};
use amibake_playbook::tags::Selection;
use amibake_playbook::yaml;
use amibake_protocol::event::Place;
use amibake_protocol::job::{ControllerInfo, Entry, Options};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::agent::asks::AskPolicy;
use crate::agent::collect::{Bundle, CollectError};
use crate::agent::program::Programs;
use crate::agent::{self, AfterReboot, AgentError, Ended, Privilege, RunRequest};
use crate::ansible_config::SearchPaths;
use crate::bake::Provisioner;
use crate::connector::Session;
use crate::event::Events;
use crate::exit::{Exit, Failure};
use crate::guest::{image_tests, prepare};
use crate::manifest::{ImageTest, Provision, Step};
use crate::plan::{BakePlan, OnError};
use crate::targets::{Machine, Role};
use crate::vault::Vault;

/// All that travels to the builder.
pub(crate) struct Work {
    /// What is run, in order.
    pub(crate) entries: Vec<Entry>,
    pub(crate) bundle: Bundle,
    pub(crate) asks: AskPolicy,
    pub(crate) warnings: Vec<String>,
    /// How many tasks there are, as far as is known.
    pub(crate) tasks: usize,
    /// The same for each step.
    pub(crate) tasks_of: Vec<usize>,
}

/// Why the work cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    #[error("{0}")]
    Playbook(Diagnostics),
    #[error("the files of `provision` cannot be read")]
    Collect(#[source] CollectError),
}

/// Runs the work on a builder, and the tests on a candidate.
pub(crate) struct AgentProvisioner<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) work: &'a Work,
    pub(crate) events: &'a Events,
    /// Ends the running task on the machine.
    pub(crate) cancel: &'a CancellationToken,
}

#[async_trait]
impl Provisioner for AgentProvisioner<'_> {
    async fn provision(
        &self,
        session: &dyn Session,
        plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure> {
        let entries = self.work.entries.clone();
        if entries.is_empty() {
            return Ok(());
        }
        let (bundle, tasks) = (&self.work.bundle, self.work.tasks);
        let ended = self.run(session, plan, entries, bundle, tasks).await?;
        let Some(why) = why(&ended) else {
            return Ok(());
        };
        let message = match &ended.failed {
            Some(task) => format!(
                "task {} `{}` failed on {} ({}:{})",
                task.index, task.name, machine.id, task.place.file, task.place.line
            ),
            None => format!("provisioning failed on {}", machine.id),
        };
        let failure = Failure::new(Unsuccessful {
            message,
            source: why,
        });
        Err(match plan.on_error {
            OnError::Destroy => failure.with_hint(
                "`--on-error keep` keeps the machine for debugging, until its timer shuts it down",
            ),
            OnError::Keep => failure,
        })
    }

    async fn test(
        &self,
        session: &dyn Session,
        plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure> {
        let Some(text) = image_tests::test_tasks(&plan.tests) else {
            return Ok(());
        };
        let tests = Entry::Tasks {
            path: plan.manifest.clone(),
            text,
            vars: serde_json::Map::new(),
        };
        let ended = self
            .run(
                session,
                plan,
                vec![tests],
                &Bundle::default(),
                plan.tests.len(),
            )
            .await?;
        let Some(why) = why(&ended) else {
            return Ok(());
        };
        let names: Vec<String> = plan.tests.iter().map(image_tests::test_name).collect();
        let failed = ended.failed.as_ref().map(|task| {
            let Place { file, line, .. } = &task.place;
            let is_it =
                |(test, name): (&ImageTest, &String)| *name == task.name && test.span.line == *line;
            FailedTest {
                nth: plan.tests.iter().zip(&names).position(is_it),
                told: format!("{} ({file}:{line})", task.name),
            }
        });
        let message = verdict(&names, failed.as_ref(), &machine.id);
        let failure = Failure::new(Unsuccessful {
            message,
            source: why,
        });
        Err(failure.of_kind(Exit::GateFailed))
    }
}

impl AgentProvisioner<'_> {
    async fn run(
        &self,
        session: &dyn Session,
        plan: &BakePlan,
        entries: Vec<Entry>,
        bundle: &Bundle,
        tasks: usize,
    ) -> Result<Ended, Failure> {
        let rebooted = Rebooted {
            session,
            plan,
            events: self.events,
        };
        let request = RunRequest {
            programs: self.programs,
            privilege: Privilege::Root { password: None },
            entries,
            options: Options {
                secrets: plan.secrets.clone(),
                roles_path: plan.search.roles.clone(),
                collections_path: plan.search.collections.clone(),
                ..options(&session.user().await, &plan.name)
            },
            bundle,
            asks: &self.work.asks,
            after_reboot: Some(&rebooted),
            fact_cache: None,
            turns: None,
            tasks,
        };
        agent::run_reported(session.transport(), &request, self.events, self.cancel)
            .await
            .map_err(failed)
    }
}

/// A machine of ours that a task has rebooted. Its timer was armed again by its user data, as at each boot.
struct Rebooted<'a> {
    session: &'a dyn Session,
    plan: &'a BakePlan,
    events: &'a Events,
}

#[async_trait]
impl AfterReboot for Rebooted<'_> {
    async fn make_ready(&self) -> Result<bool, Failure> {
        let limit = self.plan.builder.timeouts.connect;
        match prepare::wait_until_ready(self.session, limit, Role::Builder).await {
            Ok(ready) => {
                for warning in ready.warnings {
                    self.events.warn(warning);
                }
                Ok(true)
            }
            Err(error) if error.is_about_the_link() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A test of the manifest that failed.
struct FailedTest {
    /// Which of all, from 0.
    nth: Option<usize>,
    /// Its name and its place.
    told: String,
}

/// Returns which of the tests failed, which passed before it, and which were not reached.
fn verdict(tests: &[String], failed: Option<&FailedTest>, machine: &str) -> String {
    let Some(FailedTest { nth, told }) = failed else {
        return format!("the candidate's tests failed on {machine}");
    };
    let Some(nth) = *nth else {
        return format!("the candidate failed a test on {machine}: {told}");
    };
    let all = tests.len();
    let mut verdict = format!(
        "the candidate failed test {} of {all} on {machine}: {told}",
        nth + 1
    );
    for (what, tests) in [
        ("passed", &tests[..nth]),
        ("not reached", &tests[nth + 1..]),
    ] {
        if !tests.is_empty() {
            verdict += &format!("; {what}: {}", tests.join(", "));
        }
    }
    verdict
}

/// A run that did not end well, and the machine's own words for why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Unsuccessful {
    message: String,
    source: Why,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Why(String);

/// Returns why a run did not end well, if so.
fn why(ended: &Ended) -> Option<Why> {
    let task = || match &ended.failed {
        Some(task) => task.why.clone(),
        None => "a task failed".to_owned(),
    };
    let why = match (&ended.error, ended.recap.has_failed()) {
        (Some(error), _) => error.clone(),
        (None, false) => return None,
        (None, true) => task(),
    };
    Some(Why(why))
}

/// Returns what an agent's failure means for the command.
pub(crate) fn failed(error: AgentError) -> Failure {
    let hint = error.hint();
    let mut failure = Failure::new(error);
    failure.hint = hint.map(str::to_owned);
    failure
}

/// Parses and checks `steps` of the manifest at `manifest`, and gathers their files.
///
/// `facts` are those of the target that are known beforehand (`distribution`, `architecture`), `search` is where
/// roles and collections lie that are not beside their playbook.
pub(crate) fn ready(
    steps: &[Step],
    manifest: &Path,
    facts: BTreeMap<String, String>,
    search: &SearchPaths,
) -> Result<Work, ProvisionError> {
    let options = syntax::Options {
        facts,
        strict: true,
        ..found_in(search)
    };
    let mut work = Work {
        entries: Vec::new(),
        bundle: Bundle::default(),
        asks: AskPolicy::default(),
        warnings: Vec::new(),
        tasks: 0,
        tasks_of: Vec::new(),
    };
    let everything = Selection::new(&[], &[]);
    let mut all = Playbook::default();
    let mut order = order::Order::default();
    for whole in steps {
        let step = &whole.provision;
        let path = match step {
            Provision::Playbook { path, .. } => path,
            Provision::Role { .. } | Provision::Tasks { .. } => manifest,
        };
        work.asks
            .folders
            .extend(path.parent().map(Path::to_path_buf));
        let playbook = parse(whole, manifest, &options).map_err(ProvisionError::Playbook)?;
        let tasks = syntax::task_count(&playbook, &everything);
        work.tasks += tasks;
        work.tasks_of.push(tasks);
        work.warnings
            .extend(playbook.warnings.iter().map(ToString::to_string));
        let late = order.after(whole, &playbook);
        work.warnings.extend(late.iter().map(ToString::to_string));
        merge(&mut all, playbook);
        work.entries.push(entry(step, manifest));
        if let Provision::Tasks { yaml, .. } = step {
            work.asks.texts.push((manifest.to_owned(), yaml.clone()));
        }
    }
    // Inline tasks travel as text: the manifest itself stays here.
    all.files.remove(manifest);
    let given = Given {
        vars: steps.iter().map(|step| vars_of(&step.provision)).collect(),
        inline: steps.iter().filter_map(inline_tasks).collect(),
        options,
        ..here()
    };
    let found = reads::needed(&Disk::here(), &all, &given);
    work.bundle = Bundle::of(found, &Vault::default()).map_err(ProvisionError::Collect)?;
    work.warnings.extend_from_slice(work.bundle.notes());
    Ok(work)
}

fn found_in(search: &SearchPaths) -> syntax::Options {
    syntax::Options {
        roles_path: search.roles.clone(),
        collections_path: search.collections.clone(),
        ..syntax::Options::default()
    }
}

/// Adds the files, roles and folders of one playbook to those of others.
fn merge(all: &mut Playbook, one: Playbook) {
    all.files.extend(one.files);
    all.roles.extend(one.roles);
    all.folders.extend(one.folders);
}

/// Returns what is known of this machine where files of a playbook are read.
pub(crate) fn here() -> Given<'static> {
    Given {
        home: std::env::home_dir().filter(|home| home.is_absolute()),
        working_folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        ..Given::default()
    }
}

fn vars_of(step: &Provision) -> &serde_json::Map<String, serde_json::Value> {
    match step {
        Provision::Playbook { vars, .. }
        | Provision::Role { vars, .. }
        | Provision::Tasks { vars, .. } => vars,
    }
}

/// Returns the tasks of a step that has them in the manifest itself.
pub(crate) fn inline_tasks(step: &Step) -> Option<yaml::Node> {
    let Provision::Tasks { yaml, .. } = &step.provision else {
        return None;
    };
    let document = yaml::parse_part(&step.span.source, yaml);
    document.ok().map(|document| document.root)
}

/// Adds what `steps` use to `used`, and returns what is wrong with them.
pub(crate) fn survey(
    steps: &[Step],
    manifest: &Path,
    facts: BTreeMap<String, String>,
    search: &SearchPaths,
    used: &mut AllUsed,
) -> Vec<Diagnostic> {
    let options = syntax::Options {
        facts,
        strict: true,
        survey: true,
        ..found_in(search)
    };
    let mut wrong = Vec::new();
    for step in steps {
        match parse(step, manifest, &options) {
            Ok(playbook) => {
                used.extend(&playbook.used);
                wrong.extend(playbook.wrong);
            }
            Err(Diagnostics(more)) => wrong.extend(more),
        }
    }
    wrong
}

fn parse(step: &Step, manifest: &Path, options: &syntax::Options) -> Result<Playbook, Diagnostics> {
    match &step.provision {
        Provision::Playbook { path, .. } => {
            let playbook = syntax::parse(&Disk::here(), path, options)?;
            match playbook.localhost_beside_others() {
                wrong if wrong.is_empty() => Ok(playbook),
                wrong => Err(Diagnostics(wrong)),
            }
        }
        Provision::Role { path, .. } => syntax::parse_role(&Disk::here(), path, options),
        Provision::Tasks { yaml, .. } => {
            let document = yaml::parse_part(&step.span.source, yaml).map_err(Diagnostics::from)?;
            syntax::parse_tasks(&Disk::here(), manifest, &document.root, options)
        }
    }
}

fn entry(step: &Provision, manifest: &Path) -> Entry {
    match step {
        Provision::Playbook { path, vars } => Entry::Playbook {
            path: path.clone(),
            vars: vars.clone(),
        },
        Provision::Role { path, vars } => Entry::Role {
            path: path.clone(),
            vars: vars.clone(),
        },
        Provision::Tasks { yaml, vars } => Entry::Tasks {
            path: manifest.to_owned(),
            text: yaml.clone(),
            vars: vars.clone(),
        },
    }
}

/// Returns what tasks are told of this machine.
pub(crate) fn controller() -> ControllerInfo {
    let system = rustix::system::uname();
    ControllerInfo {
        hostname: system.nodename().to_string_lossy().into_owned(),
        user: local_user(),
        ..ControllerInfo::default()
    }
}

/// Returns who runs this program.
pub(crate) fn local_user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".into())
}

/// Returns the options of a run on a machine of ours: each play is for it.
pub(crate) fn options(login_user: &str, hostname: &str) -> Options {
    let everyone = vec![hostname.to_owned()];
    Options {
        login_user: login_user.to_owned(),
        inventory_hostname: hostname.to_owned(),
        home: here().home,
        working_folder: here().working_folder,
        groups: BTreeMap::from([
            ("all".to_owned(), everyone.clone()),
            ("ungrouped".to_owned(), everyone),
        ]),
        every_play: true,
        controller: controller(),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::chain;
    use crate::manifest::{self, TargetKind};

    /// In whichever style they are written.
    #[test]
    fn what_is_wrong_with_inline_tasks_is_told_with_the_manifest_s_own_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        let head = "name: web\nsource: {ubuntu: '24.04'}\n";
        for (tasks, place, shown) in [
            (
                "provision: [{tasks: [{nomodule: {a: b}}]}]\n",
                "3:23: `nomodule` is neither a module",
                "3 | provision: [{tasks: [{nomodule: {a: b}}]}]",
            ),
            (
                "provision:\n  - tasks: [{ping: }, # a ] and a comment\n      {name: 'a ] b', nomodule: }]\n",
                "5:23: `nomodule` is neither a module",
                "5 |       {name: 'a ] b', nomodule: }]",
            ),
            (
                "provision:\n  - tasks:\n    - nomodule: {a: b}\n",
                "5:7: `nomodule` is neither a module",
                "5 |     - nomodule: {a: b}",
            ),
        ] {
            std::fs::write(&path, format!("{head}{tasks}")).unwrap();
            let now = time::OffsetDateTime::now_utc();
            let read = manifest::load(&path, TargetKind::Ec2, &manifest::Given::default(), now);
            let steps = &read.unwrap().images[0].provision;
            let said = ready(steps, &path, BTreeMap::new(), &SearchPaths::default());
            let said = said.err().unwrap();
            let said = chain(&said);
            assert!(
                said.contains(&format!("{}:{place}", path.display())),
                "{said}"
            );
            assert!(said.contains(shown), "{said}");
        }
    }

    #[test]
    fn a_candidate_that_fails_is_told_with_what_it_passed() {
        let tests = [
            "`true` ends with 0",
            "port 80 answers",
            "service web is running",
        ];
        let tests = tests.map(str::to_owned);
        let told = |nth, told: &str| {
            let told = told.to_owned();
            verdict(&tests, Some(&FailedTest { nth, told }), "i-1")
        };
        assert_eq!(
            told(Some(1), "port 80 answers (/m.yaml:9)"),
            "the candidate failed test 2 of 3 on i-1: port 80 answers (/m.yaml:9); passed: `true` ends with 0; not reached: service web is running"
        );
        assert_eq!(
            told(None, "something else (/m.yaml:9)"),
            "the candidate failed a test on i-1: something else (/m.yaml:9)"
        );
        assert_eq!(
            verdict(&tests, None, "i-1"),
            "the candidate's tests failed on i-1"
        );
    }
}
