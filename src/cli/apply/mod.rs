//! `apply`: runs a playbook on machines that exist.
//!
//! Everything is parsed and checked before the first connection; then [`run`] provisioner it to `agent`.

mod connection;
mod hosts;
mod list;
mod newcomers;
mod others;
mod play_hosts;
mod privilege;
mod prompts;
mod run;
mod settings;
mod target;
mod vars;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use amibake_playbook::diagnostic::Diagnostics;
use amibake_playbook::syntax::{self, Play, Playbook};
use amibake_playbook::tags::Selection;
use amibake_protocol::job::{Become, Gathering, HostVars, Options};

use self::hosts::Chosen;
use self::play_hosts::PlayHosts;
use self::settings::Settings;
pub(super) use self::target::TargetArgs;
use super::{CommandContext, Form, Reporting, used};
use crate::exit::{Answer, Failure};
use crate::fact_cache::FactCache;
use crate::inventory::Inventory;
use crate::provision;
use crate::vault::{Opened, VaultArgs};

/// Run a playbook on existing machines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Playbook to run
    playbook: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Extra variables: k=v, JSON or @file; they take precedence over all others
    #[arg(short, long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Change nothing; report what would change
    #[arg(short = 'C', long)]
    check: bool,
    /// Show changes to files as diffs
    #[arg(short = 'D', long)]
    diff: bool,
    /// Run tasks with become, unless they say otherwise
    #[arg(short = 'b', long = "become")]
    privileged: bool,
    /// User to become
    #[arg(long, value_name = "USER", default_value = "root")]
    become_user: String,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    /// File with the sudo password
    #[arg(long, value_name = "FILE", conflicts_with = "ask_become_pass")]
    become_password_file: Option<PathBuf>,
    /// Folders with roles, separated by colons
    #[arg(long, value_name = "PATH", value_delimiter = ':')]
    roles_path: Vec<PathBuf>,
    /// Folders with collections, separated by colons
    #[arg(long, value_name = "PATH", value_delimiter = ':')]
    collections_path: Vec<PathBuf>,
    /// Run handlers even after a failure
    #[arg(long)]
    force_handlers: bool,
    /// Forget the facts that earlier runs kept of the hosts
    #[arg(long)]
    flush_cache: bool,
    /// At most so many hosts at the same task at once; default: all
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    forks: Option<u32>,
    /// Confirm each task before it runs
    #[arg(long)]
    step: bool,
    /// Allow the lookups `pipe` and `lines` to run commands on this machine
    #[arg(long)]
    allow_pipe: bool,
    #[command(flatten)]
    vault: VaultArgs,
    /// Print events to stdout as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Show more detail; repeatable
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Which tasks.
#[derive(Debug, clap::Args)]
struct ChoiceArgs {
    /// Only tasks with one of these tags
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',')]
    tags: Vec<String>,
    /// Skip tasks with any of these tags
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Start at the task with this name
    #[arg(long, value_name = "NAME")]
    start_at_task: Option<String>,
    /// List the tasks and run nothing
    #[arg(long)]
    list_tasks: bool,
    /// List the tags and run nothing
    #[arg(long)]
    list_tags: bool,
    /// List modules, filters, tests and lookups, how each is supported, and run nothing
    #[arg(long)]
    report: bool,
}

impl ChoiceArgs {
    fn listed(&self) -> list::Wanted {
        let mut tags = self.tags.clone();
        // As Ansible does: who asks for the tags wants those of tasks that never run, too.
        if self.list_tags && tags.is_empty() && self.skip_tags.is_empty() {
            tags.extend(["never", "all"].map(str::to_owned));
        }
        list::Wanted {
            tasks: self.list_tasks,
            tags: self.list_tags,
            of: Selection::new(&tags, &self.skip_tags),
        }
    }
}

/// What is run, where, and how it was read.
struct Prepared {
    playbook: Playbook,
    chosen: Vec<Chosen>,
    syntax: syntax::Options,
    inventory: Inventory,
    /// What all hosts share.
    options: Options,
    /// What the inventory says of hosts, for those who ask.
    told: BTreeMap<String, HostVars>,
    /// Whether the run may add hosts.
    adds_hosts: bool,
    fact_cache: Option<FactCache>,
}

/// What decides how a host is run on.
struct Settling<'a> {
    playbook: &'a Playbook,
    plays: &'a PlayHosts,
    told: &'a BTreeMap<String, HostVars>,
    /// Whether the variables of hosts say that tasks become another user.
    by_vars: bool,
}

impl Args {
    pub(super) fn reporting(&self) -> Reporting {
        Reporting {
            form: match (self.json, self.step) {
                (true, _) => Form::JsonOnStdout,
                (false, true) => Form::LinesOnStdout,
                (false, false) => Form::HumanOnStdout,
            },
            verbosity: self.verbose,
        }
    }

    pub(super) async fn run(mut self, cx: &CommandContext) -> Result<Answer, Failure> {
        let settings = Settings::here();
        let (gathering, followed) = (settings.gathering, settings.followed.clone());
        let fact_cache = settings.fact_cache();
        self.heed(settings, cx);
        let vault = self.vault.vault().map_err(Failure::usage)?;
        let files = Opened::with(&vault);
        if self.choice.report {
            let playbook = self.parse(&files, self.syntax_options(&files)?, cx)?;
            return Ok(used::answer(&playbook.used, playbook.wrong));
        }
        if self.choice.list_tasks || self.choice.list_tags {
            let playbook = self.parse(&files, self.syntax_options(&files)?, cx)?;
            let text = list::render(&self.playbook, &playbook, &self.choice.listed());
            return Ok(Answer::text(text));
        }
        let inventory = hosts::inventory(
            &self.target,
            &self.playbook,
            &files,
            followed.merges_mappings,
            &cx.events,
        )?;
        let options = Options {
            gathering,
            settings: followed,
            ..self.options(&inventory, &files)?
        };
        let prepared = Prepared {
            fact_cache,
            ..self.prepare(&inventory, options, &files, cx)?
        };
        if self.step && prepared.chosen.len() > 1 {
            return Err(Failure::usage("--step is for one host at a time")
                .with_hint("choose one with --limit"));
        }
        run::run(&self, &prepared, &files, cx).await
    }

    /// Chooses the hosts, parses what is to be run on them, and tells them of it.
    fn prepare(
        &self,
        inventory: &Inventory,
        mut options: Options,
        files: &Opened,
        cx: &CommandContext,
    ) -> Result<Prepared, Failure> {
        let plays = PlayHosts::of(&self.target, &self.plays(files)?, &options);
        let mut chosen = hosts::choose(&self.target, inventory, &options, &plays, &cx.events)?;
        let syntax = syntax::Options {
            local: !chosen.is_empty() && chosen.iter().all(|host| host.options.local),
            local_plays: plays.local(&chosen),
            ..self.syntax_options(files)?
        };
        let mut playbook = self.parse(files, syntax.clone(), cx)?;
        hosts::check_plays(&self.target, &playbook, &options, &cx.events)?;
        options.prompted = prompts::ask(&playbook, &options)?;
        let told = others::asked_for(
            inventory,
            &playbook,
            &options,
            files,
            syntax.clone(),
            &chosen,
        );
        let adds_hosts = run::is_named(&playbook, files, "add_host");
        let settling = Settling {
            playbook: &playbook,
            plays: &plays,
            told: &told,
            by_vars: chosen.iter().any(|host| host.becomes),
        };
        for host in &mut chosen {
            self.settle(host, &settling, files);
            host.options.prompted.clone_from(&options.prompted);
            if adds_hosts && host.options.together.is_empty() {
                host.options.together = vec![host.name().to_owned()];
            }
        }
        let wrong = plays.of_several(std::mem::take(&mut playbook.one_host), &chosen);
        match wrong.is_empty() {
            true => Ok(Prepared {
                playbook,
                chosen,
                syntax,
                inventory: inventory.clone(),
                options,
                told,
                adds_hosts,
                fact_cache: None,
            }),
            false => Err(Failure::usage(Diagnostics(wrong))),
        }
    }

    /// Decides whether a host is touched, and as whom.
    fn settle(&self, host: &mut Chosen, settling: &Settling<'_>, files: &Opened) {
        let Settling {
            playbook, plays, ..
        } = settling;
        host.needs_root = self.privileged
            || match host.options.local {
                true => {
                    let own = plays.of_host(&host.options, &playbook.plays);
                    host.becomes || privilege::needed_by(own.into_iter(), playbook, files)
                }
                false => settling.by_vars || privilege::needed(playbook, files),
            };
        let gathers = host.options.gathering != Gathering::Explicit;
        host.is_touched = plays.touches(host.name(), &playbook.plays, gathers);
        if !plays.may_touch(host.name(), &playbook.plays, gathers) {
            host.leave_untouched();
        }
        host.options.others = hosts::others(settling.told, host.name());
    }

    /// Takes from `ansible.cfg` what the command line does not say, and names what is not followed.
    fn heed(&mut self, settings: Settings, cx: &CommandContext) {
        if self.roles_path.is_empty() {
            self.roles_path = settings.paths.roles;
        }
        if self.collections_path.is_empty() {
            self.collections_path = settings.paths.collections;
        }
        for unheeded in settings.unheeded {
            cx.events.warn(unheeded);
        }
    }

    /// Reads the plays, and nothing of what is in them; what is wrong with those, the parse will say.
    fn plays(&self, files: &Opened) -> Result<Vec<Play>, Failure> {
        let path = std::path::absolute(&self.playbook).map_err(Failure::usage)?;
        let read = syntax::read_playbook(files, &path, &self.syntax_options(files)?);
        Ok(read.map(|read| read.it).unwrap_or_default())
    }

    /// Parses the playbook and all that it reaches.
    fn parse(
        &self,
        files: &Opened,
        options: syntax::Options,
        cx: &CommandContext,
    ) -> Result<Playbook, Failure> {
        let path = std::path::absolute(&self.playbook).map_err(Failure::usage)?;
        let playbook = syntax::parse(files, &path, &options).map_err(Failure::usage)?;
        for warning in &playbook.warnings {
            cx.events.warn(warning.to_string());
        }
        Ok(playbook)
    }

    /// What is known when the playbook is parsed.
    fn syntax_options(&self, files: &Opened) -> Result<syntax::Options, Failure> {
        Ok(syntax::Options {
            roles_path: from_here(&self.roles_path),
            collections_path: from_here(&self.collections_path),
            local: self.target.local,
            tags: Selection::new(&self.choice.tags, &self.choice.skip_tags),
            survey: self.choice.report,
            extra_vars: vars::merge(&self.extra_vars, files)?,
            ..syntax::Options::default()
        })
    }

    /// The options that all hosts share.
    fn options(&self, inventory: &Inventory, files: &Opened) -> Result<Options, Failure> {
        let groups = inventory.groups();
        Ok(Options {
            check: self.check,
            diff: self.diff,
            tags: self.choice.tags.clone(),
            skip_tags: self.choice.skip_tags.clone(),
            start_at_task: self.choice.start_at_task.clone(),
            step: self.step,
            force_handlers: self.force_handlers,
            extra_vars: vars::merge(&self.extra_vars, files)?,
            privilege: Become {
                always: self.privileged,
                user: Some(self.become_user.clone()),
                method: None,
            },
            every_play: self.target.inventory.is_empty(),
            limited: hosts::leaves_out_controller(&self.target, &groups)?,
            groups,
            controller: hosts::controller(&self.target),
            verbosity: self.verbose,
            local: self.target.local,
            roles_path: from_here(&self.roles_path),
            collections_path: from_here(&self.collections_path),
            forks: self.forks,
            shuffle_seed: RandomState::new().hash_one(&self.playbook),
            home: provision::here().home,
            working_folder: provision::here().working_folder,
            ..Options::default()
        })
    }
}

/// Returns folders of the command line, which start at the working folder.
fn from_here(paths: &[PathBuf]) -> Vec<PathBuf> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    paths.iter().map(absolute).collect()
}
