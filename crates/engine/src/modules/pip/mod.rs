//! `pip`: Python packages, of the system or of a virtual environment.
//!
//! Where the metadata of what is installed shows that nothing is to be done, pip is not started.

mod requirement;
mod settings;
mod site;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::environment::variable;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path, required_bin};
use crate::shlex;

use requirement::{Installed, Plain};
use site::Site;

pub(super) struct Pip;

impl ActionModule for Pip {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut task = Task::read(args)?;
        let mut made = None;
        if let Some(environment) = &task.environment
            && !environment.join("bin/activate").exists()
        {
            if context.check {
                return Ok(Outcome {
                    changed: true,
                    ..Outcome::default()
                });
            }
            made = Some(make_environment(environment, args, &task, context)?);
        }
        // As in Ansible, what is wrong with the packages is found when the environment is there.
        task.packages = packages(args, task.version.as_deref())?;
        if made.is_some() {
            return install(args, &task, made, context);
        }
        if task.packages.is_empty() && task.requirements.is_none() {
            return Ok(Outcome {
                warnings: vec!["No valid name or requirements file found.".to_owned()],
                ..Outcome::default()
            });
        }
        // In check mode Ansible calls a file of requirements changed without looking.
        let looked_at = !(context.check && task.requirements.is_some());
        if looked_at && task.is_settled(args, context) {
            // What would have been run; an environment can do without pip as long as it is settled.
            let argv = argv(args, &task, context).unwrap_or_default();
            return Ok(task.outcome(false, json!(argv), "", ""));
        }
        if context.check {
            return in_check_mode(args, &task, context);
        }
        install(args, &task, None, context)
    }
}

/// The arguments, sorted out.
struct Task {
    state: String,
    environment: Option<PathBuf>,
    chdir: PathBuf,
    /// As pip is told them; read when the environment is there.
    packages: Vec<String>,
    names: Json,
    version: Option<String>,
    requirements: Option<String>,
    extra: Vec<String>,
    umask: Option<u32>,
    break_system: bool,
}

impl Task {
    fn read(args: &Args) -> Result<Self, Failure> {
        let state = args.str("state").unwrap_or("present").to_owned();
        let version = args.str("version").map(str::to_owned);
        if state == "latest" && version.is_some() {
            return Err(Failure::new("version is incompatible with state=latest"));
        }
        let umask = args
            .str("umask")
            .map(|text| u32::from_str_radix(text, 8))
            .transpose();
        let umask = umask.map_err(|_| Failure::new("umask must be an octal integer"))?;
        let chdir = args.str("chdir").map(PathBuf::from);
        let environment = args.str("virtualenv").map(|path| {
            chdir
                .as_ref()
                .map_or_else(|| PathBuf::from(path), |dir| dir.join(path))
        });
        Ok(Self {
            packages: Vec::new(),
            state,
            environment,
            chdir: chdir.unwrap_or_else(std::env::temp_dir),
            names: args.raw("name").cloned().unwrap_or(Json::Null),
            version,
            requirements: args.str("requirements").map(str::to_owned),
            extra: extra_arguments(args)?,
            umask,
            break_system: args.bool("break_system_packages"),
        })
    }

    /// Returns whether the metadata of what is installed shows that all is as wanted.
    fn is_settled(&self, args: &Args, context: &Context<'_>) -> bool {
        let wanted = match &self.requirements {
            None => self
                .packages
                .iter()
                .map(|text| Plain::parse(text))
                .collect(),
            Some(file) => std::fs::read_to_string(self.chdir.join(file))
                .ok()
                .and_then(|text| requirement::of_file(&text)),
        };
        let (Some(wanted), Some(site)): (Option<Vec<Plain>>, _) =
            (wanted, self.site(args, context))
        else {
            return false;
        };
        if !settings::allow(&self.extra, self.break_system, &site, &context.environment) {
            return false;
        }
        match self.state.as_str() {
            "present" => wanted.iter().all(|plain| site.satisfies(plain)),
            // Like Ansible, what would be done is told by the version; pip goes by the name.
            "absent" if context.check => !wanted.iter().any(|plain| site.meets(plain)),
            "absent" => wanted
                .iter()
                .all(|plain| site.version(plain.name()).is_none()),
            _ => false,
        }
    }

    /// Reads what the Python of this task's pip has installed, where that can be told without it.
    fn site(&self, args: &Args, context: &Context<'_>) -> Option<Site> {
        let home = PathBuf::from(variable("HOME", &context.environment)?);
        if !settings::are_plain(&home, self.environment.as_deref(), &context.environment) {
            return None;
        }
        if let Some(environment) = &self.environment {
            return Site::of_environment(environment);
        }
        let pip = pip(args, self, context).ok()?;
        let root = Path::new("/");
        let is_systems = pip.len() > 1 || site::is_script_of_system(Path::new(pip.first()?));
        is_systems.then(|| Site::of_system(root, &home)).flatten()
    }

    fn command(&self, argv: Vec<String>, context: &Context<'_>) -> Command {
        let mut command = Command::new(argv).cwd(&self.chdir);
        if let Some(umask) = self.umask {
            command = command.umask(umask);
        }
        if let Some(environment) = &self.environment {
            let bin = environment.join("bin").to_string_lossy().into_owned();
            let path = variable("PATH", &context.environment);
            let path = path.filter(|path| !path.is_empty());
            command = command.env(
                "PATH",
                path.map_or(bin.clone(), |path| format!("{bin}:{path}")),
            );
        }
        if self.break_system {
            command = command.env("PIP_BREAK_SYSTEM_PACKAGES", "1");
        }
        command
    }

    fn outcome(&self, changed: bool, cmd: Json, stdout: &str, stderr: &str) -> Outcome {
        let environment = self.environment.as_ref().map(|path| path.to_string_lossy());
        let mut result = Map::new();
        for (name, value) in [
            ("cmd", cmd),
            ("name", self.names.clone()),
            ("version", json!(self.version)),
            ("state", json!(self.state)),
            ("requirements", json!(self.requirements)),
            ("virtualenv", json!(environment)),
            ("stdout", json!(stdout)),
            ("stderr", json!(stderr)),
        ] {
            result.insert(name.to_owned(), value);
        }
        Outcome {
            changed,
            result,
            ..Outcome::default()
        }
    }
}

fn packages(args: &Args, version: Option<&str>) -> Result<Vec<String>, Failure> {
    let names: Vec<&str> = args
        .list("name")
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    let mut packages = requirement::recover(&names);
    let Some(version) = version else {
        return Ok(packages);
    };
    match &mut packages[..] {
        [] => {}
        [only] => {
            if Plain::parse(only).is_some_and(|plain| plain.has_versions()) {
                return Err(Failure::new(
                    "The 'version' argument conflicts with any version specifier provided along \
                     with a package name. Please keep the version specifier, but remove the \
                     'version' argument.",
                ));
            }
            let version = version.trim_start();
            let equal = version.starts_with(|c: char| c.is_ascii_digit());
            only.push_str(if equal { "==" } else { "" });
            only.push_str(version);
        }
        _ => {
            return Err(Failure::new(
                "'version' argument is ambiguous when installing multiple package distributions. \
                 Please specify version restrictions next to each package in 'name' argument.",
            ));
        }
    }
    Ok(packages)
}

fn extra_arguments(args: &Args) -> Result<Vec<String>, Failure> {
    let text = args.str("extra_args").unwrap_or_default();
    let mut extra = shlex::split(text).map_err(Failure::new)?;
    if args.bool("editable") && !extra.iter().any(|argument| argument == "-e") {
        extra.push("-e".to_owned());
    }
    Ok(extra)
}

fn make_environment(
    environment: &Path,
    args: &Args,
    task: &Task,
    context: &mut Context<'_>,
) -> Result<Ran, Failure> {
    let given = args.str("virtualenv_command").unwrap_or("virtualenv");
    let mut argv = shlex::split(given).map_err(Failure::new)?;
    let Some(program) = argv.first().cloned() else {
        return Err(Failure::new("virtualenv_command is empty"));
    };
    if !program.contains('/') {
        argv[0] = required_bin(&program, context)?;
    }
    if args.bool("virtualenv_site_packages") {
        argv.push("--system-site-packages".to_owned());
    }
    let is_venv = program == "pyvenv" || argv.windows(2).any(|pair| pair == ["-m", "venv"]);
    match (is_venv, args.str("virtualenv_python")) {
        (true, None) => {}
        (true, Some(_)) => {
            return Err(Failure::new(
                "virtualenv_python should not be used when using the venv module or pyvenv as \
                 virtualenv_command",
            ));
        }
        (false, Some(python)) => argv.push(format!("-p{python}")),
        (false, None) => argv.push(format!("-p{}", required_bin("python3", context)?)),
    }
    argv.push(environment.to_string_lossy().into_owned());
    let mut command = Command::new(argv.clone()).cwd(&task.chdir).streamed();
    if let Some(umask) = task.umask {
        command = command.umask(umask);
    }
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc == 0 {
        return Ok(ran);
    }
    Err(failed(&argv, &ran.stdout, &ran.stderr))
}

/// Returns how pip is called.
fn pip(args: &Args, task: &Task, context: &Context<'_>) -> Result<Vec<String>, Failure> {
    if let Some(environment) = &task.environment {
        let candidates = ["pip3", "pip"].map(|name| environment.join("bin").join(name));
        let found = candidates.iter().find(|path| path.exists());
        return match found {
            Some(path) => Ok(vec![path.to_string_lossy().into_owned()]),
            None => Err(Failure::new(format!(
                "Unable to find pip in the virtualenv, {}, under any of these names: pip3, pip. \
                 Make sure pip is present in the virtualenv.",
                environment.display()
            ))),
        };
    }
    // Like Ansible, the pip of the Python that runs modules, if it has one.
    let name = match args.str("executable") {
        None if site::has_pip(Path::new("/")) => {
            return Ok([site::PYTHON, "-m", "pip"].map(str::to_owned).into());
        }
        None => "pip3",
        Some(name) => name,
    };
    match bin_path(name, context) {
        Some(path) => Ok(vec![path.to_string_lossy().into_owned()]),
        None => Err(Failure::new(format!(
            "Unable to find any of {name} to use.  pip needs to be installed."
        ))),
    }
}

/// Like Ansible, says "changed" without looking wherever pip would have to resolve something.
fn in_check_mode(args: &Args, task: &Task, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let unknowable =
        !task.extra.is_empty() || task.requirements.is_some() || task.state == "latest";
    if unknowable || task.packages.is_empty() {
        return Ok(Outcome {
            changed: true,
            ..Outcome::default()
        });
    }
    let (cmd, listed) = list(args, task, context)?;
    let installed = Installed::listed(&listed.stdout);
    let changed = task.packages.iter().any(|text| {
        let met = Plain::parse(text).is_some_and(|plain| plain.is_met(&installed));
        (task.state == "present" && !met) || (task.state == "absent" && met)
    });
    let mut result = Map::new();
    result.insert("cmd".to_owned(), cmd.into());
    result.insert("stdout".to_owned(), listed.stdout.into());
    result.insert("stderr".to_owned(), listed.stderr.into());
    Ok(Outcome {
        changed,
        result,
        ..Outcome::default()
    })
}

fn list(args: &Args, task: &Task, context: &mut Context<'_>) -> Result<(String, Ran), Failure> {
    let mut argv = pip(args, task, context)?;
    argv.extend(["list", "--format=freeze"].map(str::to_owned));
    let command = task.command(argv.clone(), context).parsable();
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc == 0 {
        return Ok((argv.join(" "), ran));
    }
    Err(failed(&argv, &ran.stdout, &ran.stderr))
}

/// Returns the command that makes it so.
fn argv(args: &Args, task: &Task, context: &Context<'_>) -> Result<Vec<String>, Failure> {
    let mut argv = pip(args, task, context)?;
    let verb: &[&str] = match task.state.as_str() {
        "absent" => &["uninstall", "-y"],
        "latest" => &["install", "-U"],
        "forcereinstall" => &["install", "-U", "--force-reinstall"],
        _ => &["install"],
    };
    argv.extend(verb.iter().map(|word| (*word).to_owned()));
    argv.extend(task.extra.iter().cloned());
    argv.extend(task.packages.iter().cloned());
    if let Some(file) = &task.requirements {
        argv.extend(["-r".to_owned(), file.clone()]);
    }
    Ok(argv)
}

fn install(
    args: &Args,
    task: &Task,
    made: Option<Ran>,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let argv = argv(args, task, context)?;
    let vcs = ["svn+", "git+", "hg+", "bzr+"];
    let by_list = task.requirements.is_some()
        || task
            .packages
            .iter()
            .any(|text| vcs.iter().any(|scheme| text.starts_with(scheme)));
    let before = if by_list {
        Some(installed(args, task, context)?)
    } else {
        None
    };
    let command = task.command(argv.clone(), context).streamed();
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    let stdout = made.as_ref().map_or("", |made| &made.stdout).to_owned() + &ran.stdout;
    let stderr = made.as_ref().map_or("", |made| &made.stderr).to_owned() + &ran.stderr;
    let absent = task.state == "absent";
    let missing =
        absent && (ran.stdout.contains("not installed") || ran.stderr.contains("not installed"));
    if ran.rc != 0 && !(ran.rc == 1 && missing) {
        return Err(failed(&argv, &stdout, &stderr));
    }
    let changed = match before {
        _ if absent => ran.stdout.contains("Successfully uninstalled"),
        None => ran.stdout.contains("Successfully installed"),
        Some(before) => installed(args, task, context)? != before,
    };
    Ok(task.outcome(changed || made.is_some(), json!(argv), &stdout, &stderr))
}

/// Returns what is installed: by the metadata, else by pip.
fn installed(args: &Args, task: &Task, context: &mut Context<'_>) -> Result<Installed, Failure> {
    if let Some(site) = task.site(args, context) {
        return Ok(Installed::from(&site));
    }
    Ok(Installed::listed(&list(args, task, context)?.1.stdout))
}

fn failed(argv: &[String], stdout: &str, stderr: &str) -> Failure {
    let mut msg = String::new();
    if !stdout.is_empty() {
        msg.push_str(&format!("stdout: {stdout}"));
    }
    if !stderr.is_empty() {
        msg.push_str(&format!("\n:stderr: {stderr}"));
    }
    Failure::new(msg).with("cmd", json!(argv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{check, run};

    /// An environment with Flask 3.0.0 and no pip, so that starting pip would fail.
    fn environment() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let site = root
            .path()
            .join("lib/python3.11/site-packages/flask-3.0.0.dist-info");
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(site.join("METADATA"), "Name: Flask\n").unwrap();
        std::fs::create_dir_all(root.path().join("bin")).unwrap();
        std::fs::write(root.path().join("bin/activate"), "").unwrap();
        let settings = "include-system-site-packages = false\n";
        std::fs::write(root.path().join("pyvenv.cfg"), settings).unwrap();
        std::fs::write(root.path().join("req.txt"), "Flask>=3\n").unwrap();
        root
    }

    #[test]
    fn what_is_installed_as_wanted_does_not_start_pip() {
        let root = environment();
        let env = root.path();
        assert!(
            !run("pip", json!({"name": "flask==3.0.0", "virtualenv": env}))
                .unwrap()
                .changed
        );
        let args = json!({"requirements": "req.txt", "chdir": env, "virtualenv": env});
        assert!(!run("pip", args).unwrap().changed);
        let args = json!({"name": "django", "state": "absent", "virtualenv": env});
        assert!(!run("pip", args).unwrap().changed);
    }

    #[test]
    fn an_environment_without_pip_says_so() {
        let root = environment();
        let args = json!({"name": "django", "virtualenv": root.path()});
        let failure = run("pip", args).unwrap_err();
        assert!(
            failure
                .msg
                .starts_with("Unable to find pip in the virtualenv, ")
        );
    }

    #[test]
    fn a_missing_environment_would_change() {
        let args = json!({"name": "flask", "virtualenv": "/no/such/environment"});
        assert!(check("pip", args).unwrap().changed);
    }

    #[test]
    fn a_version_goes_with_one_package_only() {
        let failure = run("pip", json!({"name": ["a", "b"], "version": "1"})).unwrap_err();
        assert!(failure.msg.starts_with("'version' argument is ambiguous"));
        let failure = run("pip", json!({"name": "a>1", "version": "1"})).unwrap_err();
        assert!(failure.msg.starts_with("The 'version' argument conflicts"));
    }
}
