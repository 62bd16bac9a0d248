//! `user`: an account, by `useradd`, `usermod`, `userdel` and `chage`.
//!
//! Here: what is asked for, what is there, and the result. The plan itself is in [`plan`].

mod password;
mod plan;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::account::{Passphrase, public_key};
use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::run_command::Command;
use crate::users;

pub(super) struct User;

#[derive(Debug, Clone, Default)]
pub(super) struct Want {
    name: String,
    present: bool,
    uid: Option<i64>,
    non_unique: bool,
    seuser: Option<String>,
    group: Option<String>,
    groups: Option<Vec<String>>,
    append: bool,
    comment: Option<String>,
    home: Option<String>,
    create_home: bool,
    move_home: bool,
    skeleton: Option<String>,
    umask: Option<String>,
    shell: Option<String>,
    system: bool,
    /// Seconds since 1970; negative for never.
    expires: Option<f64>,
    inactive: Option<i64>,
    password: Option<String>,
    password_lock: Option<bool>,
    update_password: bool,
    password_min: Option<i64>,
    password_max: Option<i64>,
    password_warn: Option<i64>,
    uid_min: Option<i64>,
    uid_max: Option<i64>,
    force: bool,
    remove: bool,
    ssh_key: Option<SshKey>,
    check: bool,
}

#[derive(Debug, Clone)]
struct SshKey {
    file: PathBuf,
    kind: String,
    bits: i64,
    passphrase: Option<Passphrase>,
    comment: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    user: Option<users::User>,
    shadow: Option<users::Shadow>,
    /// The groups that name the user as a member.
    memberships: Vec<String>,
    /// The wanted groups, as they were named, and what they turned out to be.
    wanted_groups: Vec<(String, Option<users::Group>)>,
    /// Likewise the primary group.
    wanted_group: Option<users::Group>,
    /// Whether a group has the name of the user.
    namesake: bool,
    /// Whether the home that will be the user's is there, and the folder above the wanted one.
    home_exists: bool,
    home_parent_exists: bool,
    /// Whether the home that is the user's now is there.
    old_home_exists: bool,
    key_exists: bool,
    public_key_exists: bool,
}

impl StateModule for User {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let text = |name: &str| args.str(name).map(str::to_owned);
        let mut want = Want {
            name: args.required("name")?.to_owned(),
            present: args.str("state") == Some("present"),
            uid: args.int("uid"),
            non_unique: args.bool("non_unique"),
            seuser: text("seuser"),
            group: text("group"),
            append: args.bool("append"),
            comment: text("comment"),
            home: text("home"),
            create_home: args.bool("create_home"),
            move_home: args.bool("move_home"),
            skeleton: text("skeleton"),
            umask: text("umask"),
            shell: text("shell"),
            system: args.bool("system"),
            expires: args.raw("expires").and_then(Json::as_f64),
            inactive: args.int("password_expire_account_disable"),
            password: text("password"),
            password_lock: args.opt_bool("password_lock"),
            update_password: args.str("update_password") != Some("on_create"),
            password_min: args.int("password_expire_min"),
            password_max: args.int("password_expire_max"),
            password_warn: args.int("password_expire_warn"),
            uid_min: args.int("uid_min"),
            uid_max: args.int("uid_max"),
            force: args.bool("force"),
            remove: args.bool("remove"),
            check: context.check,
            ..Want::default()
        };
        if args.has("groups") {
            want.groups = Some(args.list("groups").into_iter().map(str::to_owned).collect());
        }
        if args.bool("generate_ssh_key") {
            want.ssh_key = Some(ssh_key(args, context)?);
        }
        Ok(want)
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let user = users::user(&want.name);
        let shadow = users::shadow(&want.name);
        let mut now = Now {
            shadow,
            wanted_group: want.group.as_deref().and_then(find_group),
            namesake: users::group(&want.name).is_some(),
            ..Now::default()
        };
        for name in group_names(want) {
            let found = find_group(&name);
            now.wanted_groups.push((name, found));
        }
        if let Some(user) = &user {
            let member = |group: &&users::Group| group.members.contains(&user.name);
            let all = users::groups();
            now.memberships = all.iter().filter(member).map(|g| g.name.clone()).collect();
            now.old_home_exists = Path::new(&user.home).exists();
        }
        let home = want
            .home
            .clone()
            .or_else(|| user.as_ref().map(|u| u.home.clone()));
        if let Some(home) = home.as_deref().map(Path::new) {
            now.home_exists = home.exists();
            now.home_parent_exists = home.parent().is_none_or(Path::is_dir);
            if let Some(key) = &want.ssh_key {
                let file = home.join(&key.file);
                now.key_exists = file.exists();
                now.public_key_exists = public_key(&file).exists();
            }
        }
        now.user = user;
        Ok(now)
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        if want.check && want.present && now.user.is_none() {
            // As Ansible: nothing is asked of groups that an earlier task would have made.
            let argv = vec!["useradd".to_owned(), want.name.clone()];
            return Ok(vec![Change::Run { argv }]);
        }
        plan::plan(want, now)
    }

    fn failed(&self, want: &Want, _: &Self::Now, failure: Failure) -> Failure {
        failure.with("name", want.name.as_str())
    }

    fn result(&self, want: &Want, now: &Now, context: &Context<'_>) -> Map<String, Json> {
        if context.check && want.present != now.user.is_some() {
            return Map::new();
        }
        users::forget();
        let mut result = Map::new();
        let mut set = |name: &str, value: Json| result.insert(name.to_owned(), value);
        set("name", want.name.as_str().into());
        set(
            "state",
            if want.present { "present" } else { "absent" }.into(),
        );
        match (want.present, &now.user) {
            (false, Some(_)) => {
                set("force", want.force.into());
                set("remove", want.remove.into());
            }
            (false, None) => {}
            (true, None) => {
                set("system", want.system.into());
                set("create_home", want.create_home.into());
            }
            (true, Some(_)) => {
                set("append", want.append.into());
                set("move_home", want.move_home.into());
            }
        }
        if want.present {
            describe(want, &mut result);
        }
        result
    }

    fn warnings(&self, want: &Want, now: &Now) -> Vec<String> {
        let mut warnings = Vec::new();
        if want.groups.is_none() && want.append {
            warnings.push(
                "'append' is set, but no 'groups' are specified. Use 'groups' for appending new \
                 groups.This will change to an error in Ansible 2.14."
                    .to_owned(),
            );
        }
        if want
            .password
            .as_deref()
            .is_some_and(password::looks_unhashed)
        {
            warnings.push(
                "The input password appears not to have been hashed. The 'password' argument \
                 must be encrypted for this module to work properly."
                    .to_owned(),
            );
        }
        warnings.extend(key_warning(want, now));
        warnings
    }
}

fn ssh_key(args: &Args, context: &Context<'_>) -> Result<SshKey, Failure> {
    let kind = args.str("ssh_key_type").unwrap_or("rsa").to_owned();
    let file = args
        .str("ssh_key_file")
        .map_or_else(|| format!(".ssh/id_{kind}"), str::to_owned);
    let comment = args.str("ssh_key_comment").map(str::to_owned);
    let host = || {
        let fact = context.facts.get("nodename").and_then(Json::as_str);
        let name = fact.map(str::to_owned);
        name.unwrap_or_else(|| {
            nix::unistd::gethostname()
                .map_or_else(|_| String::new(), |n| n.to_string_lossy().into())
        })
    };
    Ok(SshKey {
        file: PathBuf::from(file),
        kind,
        bits: args.int("ssh_key_bits").unwrap_or(0),
        passphrase: args
            .str("ssh_key_passphrase")
            .map(|text| Passphrase(text.to_owned())),
        comment: comment.unwrap_or_else(|| format!("ansible-generated on {}", host())),
    })
}

/// The wanted groups without spaces, empty names and repetitions.
fn group_names(want: &Want) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in want
        .groups
        .iter()
        .flatten()
        .flat_map(|name| name.split(','))
    {
        let name = name.trim();
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns the group with this gid or, failing that, of this name.
fn find_group(text: &str) -> Option<users::Group> {
    let by_id = text.parse().ok().and_then(users::group_by_id);
    by_id.or_else(|| users::group(text))
}

/// Adds what the account is like now.
fn describe(want: &Want, result: &mut Map<String, Json>) {
    let mut set = |name: &str, value: Json| result.insert(name.to_owned(), value);
    if want.password.is_some() {
        set("password", "NOT_LOGGING_PASSWORD".into());
    }
    let Some(user) = users::user(&want.name) else {
        return;
    };
    set("uid", user.uid.into());
    set("group", user.gid.into());
    set("comment", user.gecos.into());
    set("home", user.home.as_str().into());
    set("shell", user.shell.into());
    if let Some(groups) = &want.groups {
        set("groups", groups.join(",").into());
    }
    if let Some(key) = &want.ssh_key {
        let file = Path::new(&user.home).join(&key.file);
        set("ssh_key_file", file.to_string_lossy().into_owned().into());
        let public = std::fs::read_to_string(public_key(&file)).ok();
        set(
            "ssh_public_key",
            public.map(|text| text.trim().to_owned()).into(),
        );
        set("ssh_fingerprint", fingerprint(&file).into());
    }
}

/// Asks `ssh-keygen`, as the format of a fingerprint is its own.
fn fingerprint(file: &Path) -> String {
    if !file.exists() {
        return String::new();
    }
    let argv = ["ssh-keygen", "-l", "-f", &file.to_string_lossy()].map(str::to_owned);
    let facts = Map::new();
    let mut context = Context {
        check: false,
        diff: false,
        environment: Vec::new(),
        sources: std::collections::BTreeMap::new(),
        facts: &facts,
        output: &mut |_, _| {},
    };
    match Command::new(argv).run(&mut context) {
        Ok(ran) if ran.rc == 0 => ran.stdout.trim().to_owned(),
        Ok(ran) => ran.stderr.trim().to_owned(),
        Err(e) => e.to_string(),
    }
}

fn key_warning(want: &Want, now: &Now) -> Option<String> {
    let key = want.ssh_key.as_ref()?;
    let home = want
        .home
        .as_deref()
        .or(now.user.as_ref().map(|u| u.home.as_str()))?;
    let file = Path::new(home).join(&key.file);
    let (half, path) = match (now.key_exists, now.public_key_exists) {
        (true, _) => ("private", file),
        (false, true) => ("public", public_key(&file)),
        (false, false) => return None,
    };
    let path = path.display();
    Some(if want.force {
        format!("Overwriting existing ssh key {half} file \"{path}\"")
    } else {
        format!(
            "Found existing ssh key {half} file \"{path}\", no force, so skipping ssh-keygen \
             generation"
        )
    })
}
