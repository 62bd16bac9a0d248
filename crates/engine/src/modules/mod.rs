//! The modules, one file each, and the registry that names them.
//!
//! Their parameters stand in [`amibake_playbook::argspec`]; what needs the play's state (`set_fact`,
//! `include_tasks`, `debug`, …) is the executor's own and not listed here.

mod acl;
mod archive;
mod assemble;
mod async_status;
mod authorized_key;
mod blockinfile;
mod copy;
mod cron;
mod edit;
mod expect;
mod fetch;
mod file;
mod find;
mod get_url;
mod identifier;
mod ini_file;
mod iptables;
mod known_hosts;
mod lineinfile;
mod modprobe;
mod mount;
mod mount_facts;
mod mysql;
mod openssh_keypair;
mod openssl_dhparam;
mod pam_limits;
mod pamd;
mod paths;
mod postgresql;
mod replace;
mod selinux;
mod slurp;

pub(crate) use async_status::FOLDER as ASYNC_FOLDER;
pub(crate) use fetch::FOLDER as FETCHED_FOLDER;
pub(crate) use service::MANAGERS as SERVICE_MANAGERS;
mod stat;
mod sudoers;
mod sysctl;
mod tempfile;
mod text_file;
mod ufw;
mod unarchive;
mod uri;
mod wait_for;

mod alternatives;
mod apt;
mod apt_key;
mod apt_repository;
mod command;
mod deb822_repository;
mod debconf;
mod debops_divert;
mod download;
mod dpkg_divert;
mod dpkg_selections;
mod getent;
mod git;
mod group;
mod hostname;
mod locale_gen;
mod package_facts;
mod pip;
mod script;
mod service;
mod service_facts;
mod setup;
mod supervisorctl;
mod systemd;
mod sysvinit;
mod timezone;
mod user;

#[cfg(test)]
mod races;

use amibake_playbook::argspec;

use crate::args::Args;
use crate::attrs;
use crate::change;
use crate::module::{ActionModule, Context, Failure, Outcome, StateModule};

/// A module of either kind.
#[derive(Clone, Copy)]
pub enum Module {
    /// It runs something.
    Action(&'static dyn ActionModule),
    /// It makes a state true.
    State(&'static dyn ErasedState),
}

/// Modules about files and the network, by fully qualified name.
const FILES: &[(&str, Module)] = &[
    (
        "ansible.builtin.blockinfile",
        Module::State(&blockinfile::BlockInFile),
    ),
    ("ansible.builtin.copy", Module::State(&copy::Copy)),
    ("ansible.builtin.template", Module::State(&copy::Copy)),
    ("ansible.builtin.file", Module::State(&file::File)),
    (
        "ansible.builtin.lineinfile",
        Module::State(&lineinfile::LineInFile),
    ),
    (
        "ansible.builtin.assemble",
        Module::State(&assemble::Assemble),
    ),
    ("ansible.builtin.fetch", Module::Action(&fetch::Fetch)),
    (
        "ansible.builtin.async_status",
        Module::Action(&async_status::AsyncStatus),
    ),
    ("ansible.builtin.slurp", Module::Action(&slurp::Slurp)),
    ("ansible.builtin.stat", Module::Action(&stat::Stat)),
    (
        "ansible.builtin.tempfile",
        Module::Action(&tempfile::TempFile),
    ),
    (
        "ansible.builtin.wait_for",
        Module::Action(&wait_for::WaitFor),
    ),
    ("ansible.posix.sysctl", Module::State(&sysctl::Sysctl)),
    ("ansible.builtin.get_url", Module::Action(&get_url::GetUrl)),
    ("ansible.builtin.uri", Module::Action(&uri::Web)),
    ("ansible.builtin.find", Module::Action(&find::Find)),
    (
        "ansible.builtin.unarchive",
        Module::Action(&unarchive::Unarchive),
    ),
    ("ansible.builtin.replace", Module::State(&replace::Replace)),
    (
        "community.general.archive",
        Module::Action(&archive::Archive),
    ),
];

/// Modules about the system, by fully qualified name.
const SYSTEM: &[(&str, Module)] = &[
    ("ansible.builtin.apt", Module::Action(&apt::Apt)),
    ("ansible.builtin.package", Module::Action(&apt::Package)),
    ("ansible.builtin.command", Module::Action(&command::Command)),
    ("ansible.builtin.expect", Module::Action(&expect::Expect)),
    ("ansible.builtin.getent", Module::Action(&getent::GetEnt)),
    ("ansible.builtin.git", Module::Action(&git::Git)),
    ("ansible.builtin.group", Module::State(&group::Group)),
    (
        "ansible.builtin.mount_facts",
        Module::Action(&mount_facts::MountFacts),
    ),
    (
        "ansible.builtin.package_facts",
        Module::Action(&package_facts::PackageFacts),
    ),
    ("ansible.builtin.pip", Module::Action(&pip::Pip)),
    ("ansible.builtin.raw", Module::Action(&script::Raw)),
    ("ansible.builtin.script", Module::Action(&script::Script)),
    ("ansible.builtin.service", Module::Action(&service::Service)),
    (
        "ansible.builtin.service_facts",
        Module::Action(&service_facts::ServiceFacts),
    ),
    ("ansible.builtin.setup", Module::Action(&setup::Setup)),
    ("ansible.builtin.shell", Module::Action(&command::Shell)),
    (
        "ansible.builtin.systemd_service",
        Module::Action(&systemd::Systemd),
    ),
    (
        "ansible.builtin.sysvinit",
        Module::Action(&sysvinit::SysVInit),
    ),
    ("ansible.builtin.user", Module::State(&user::User)),
    ("community.mysql.mysql_db", Module::Action(&mysql::MysqlDb)),
    (
        "community.mysql.mysql_query",
        Module::Action(&mysql::MysqlQuery),
    ),
    (
        "community.mysql.mysql_user",
        Module::Action(&mysql::MysqlUser),
    ),
    (
        "community.mysql.mysql_variables",
        Module::Action(&mysql::MysqlVariables),
    ),
    (
        "community.postgresql.postgresql_db",
        Module::Action(&postgresql::PostgresqlDb),
    ),
    (
        "community.postgresql.postgresql_ext",
        Module::Action(&postgresql::PostgresqlExt),
    ),
    (
        "community.postgresql.postgresql_privs",
        Module::Action(&postgresql::PostgresqlPrivs),
    ),
    (
        "community.postgresql.postgresql_user",
        Module::Action(&postgresql::PostgresqlUser),
    ),
    (
        "community.general.supervisorctl",
        Module::Action(&supervisorctl::Supervisorctl),
    ),
    ("ansible.builtin.apt_key", Module::Action(&apt_key::AptKey)),
    (
        "ansible.builtin.apt_repository",
        Module::Action(&apt_repository::AptRepository),
    ),
    (
        "ansible.builtin.deb822_repository",
        Module::Action(&deb822_repository::Deb822Repository),
    ),
    ("ansible.builtin.debconf", Module::Action(&debconf::Debconf)),
    (
        "ansible.builtin.dpkg_selections",
        Module::Action(&dpkg_selections::DpkgSelections),
    ),
    (
        "ansible.builtin.hostname",
        Module::Action(&hostname::Hostname),
    ),
    (
        "community.general.alternatives",
        Module::Action(&alternatives::Alternatives),
    ),
    (
        "community.general.dpkg_divert",
        Module::Action(&dpkg_divert::DpkgDivert),
    ),
    (
        "debops.debops.dpkg_divert",
        Module::Action(&debops_divert::DpkgDivert),
    ),
    (
        "community.general.locale_gen",
        Module::Action(&locale_gen::LocaleGen),
    ),
    (
        "community.general.timezone",
        Module::Action(&timezone::Timezone),
    ),
];

/// Modules about who and what gets in, when things run and where they lie, by fully qualified name.
const HOST: &[(&str, Module)] = &[
    ("ansible.builtin.cron", Module::Action(&cron::Cron)),
    (
        "ansible.builtin.iptables",
        Module::Action(&iptables::Iptables),
    ),
    ("ansible.posix.acl", Module::Action(&acl::Acl)),
    (
        "ansible.posix.authorized_key",
        Module::Action(&authorized_key::AuthorizedKey),
    ),
    ("ansible.posix.mount", Module::Action(&mount::Mount)),
    (
        "community.general.modprobe",
        Module::Action(&modprobe::Modprobe),
    ),
    ("community.general.ufw", Module::Action(&ufw::Ufw)),
    (
        "ansible.builtin.known_hosts",
        Module::Action(&known_hosts::KnownHosts),
    ),
    (
        "ansible.posix.seboolean",
        Module::Action(&selinux::SeBoolean),
    ),
    ("ansible.posix.selinux", Module::Action(&selinux::SeLinux)),
    (
        "community.crypto.openssh_keypair",
        Module::Action(&openssh_keypair::OpensshKeypair),
    ),
    (
        "community.crypto.openssl_dhparam",
        Module::Action(&openssl_dhparam::OpensslDhparam),
    ),
    (
        "community.general.ini_file",
        Module::Action(&ini_file::IniFile),
    ),
    (
        "community.general.pam_limits",
        Module::Action(&pam_limits::PamLimits),
    ),
    ("community.general.pamd", Module::Action(&pamd::PamD)),
    ("community.general.seport", Module::Action(&selinux::SePort)),
    (
        "community.general.sudoers",
        Module::Action(&sudoers::Sudoers),
    ),
];

/// Returns the module called `name`, in any spelling that [`argspec::find`] knows.
#[must_use]
pub fn find(name: &str) -> Option<Module> {
    let name = argspec::find(name)?.name;
    FILES
        .iter()
        .chain(SYSTEM)
        .chain(HOST)
        .find(|(known, _)| *known == name)
        .map(|(_, module)| *module)
}

impl Module {
    /// Runs it with `args`, already checked and coerced against its spec.
    pub fn run(self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let answer = match self {
            Self::Action(module) => module.run(args, context),
            Self::State(module) => module.run(args, context),
        };
        answer.map_err(|mut failure| {
            attrs::add_path_info(&mut failure.result);
            failure
        })
    }
}

/// A [`StateModule`] whose `Want` and `Now` are its own affair. Implemented for all of them.
pub trait ErasedState: Sync {
    /// Inspects, plans, and applies the plan unless in check mode.
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure>;
}

impl<M: StateModule> ErasedState for M {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let want = self.want(args, context)?;
        let now = self.inspect(&want, context)?;
        let changes = self.plan(&want, &now)?;
        let diff = match context.diff {
            true => self.diff(&want, &now, &changes),
            false => self.diff_unasked(&want, &now),
        };
        if !context.check {
            change::apply(&changes, context)
                .map_err(|failure| self.failed(&want, &now, failure))?;
        }
        Ok(Outcome {
            changed: self.changed(&want, &now, &changes),
            result: self.result(&want, &now, context),
            diff,
            warnings: self.warnings(&want, &now),
            skipped: false,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run_command::tests::with_context;
    use crate::source::Source;

    /// Runs module `name` here with arguments as a task gives them.
    pub(crate) fn run(name: &str, args: serde_json::Value) -> Result<Outcome, Failure> {
        with_context(|context| run_in(name, args, context)).0
    }

    /// Likewise, in check mode.
    pub(crate) fn check(name: &str, args: serde_json::Value) -> Result<Outcome, Failure> {
        let run = |context: &mut Context<'_>| {
            context.check = true;
            run_in(name, args, context)
        };
        with_context(run).0
    }

    /// Likewise, with a file of the controller's.
    pub(crate) fn run_with_source(
        name: &str,
        args: serde_json::Value,
        source: &str,
    ) -> Result<Outcome, Failure> {
        let run = |context: &mut Context<'_>| {
            let source = Source::of_text(source);
            context.sources.insert(String::new(), source);
            run_in(name, args, context)
        };
        with_context(run).0
    }

    /// Hands a module's arguments on, as the module gets them.
    pub(crate) fn with_args(
        name: &str,
        args: serde_json::Value,
        visit: impl FnOnce(&Args, &mut Context<'_>),
    ) {
        let spec = argspec::find(name).unwrap();
        let args = Args::coerce(spec, args.as_object().unwrap().clone()).unwrap();
        with_context(|context| visit(&args, context));
    }

    pub(crate) fn run_in(
        name: &str,
        args: serde_json::Value,
        context: &mut Context<'_>,
    ) -> Result<Outcome, Failure> {
        let spec = argspec::find(name).unwrap();
        let args = Args::coerce(spec, args.as_object().unwrap().clone())?;
        find(name).unwrap().run(&args, context)
    }

    #[test]
    fn every_registered_module_has_a_spec_of_that_name() {
        for (name, _) in FILES.iter().chain(SYSTEM).chain(HOST) {
            assert_eq!(argspec::find(name).map(|s| s.name), Some(*name));
        }
    }

    #[test]
    fn a_module_is_found_by_short_and_by_full_name() {
        assert!(find("group").is_some());
        assert!(find("ansible.builtin.group").is_some());
        assert!(find("ansible.legacy.group").is_some());
        assert!(find("groups").is_none());
    }
}
