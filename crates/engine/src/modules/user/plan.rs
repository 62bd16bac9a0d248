//! The plan of `user`: from what is wanted and what is there to argument vectors. Pure.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Now, Want};
use crate::account::Step;
use crate::change::Change;
use crate::module::Failure;
use crate::users;

const SKELETON: &str = "/etc/skel";

/// Plans all there is to do.
pub(super) fn plan(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    match (want.present, &now.user) {
        (false, None) => Ok(Vec::new()),
        (false, Some(_)) => Ok(vec![command(remove(want))]),
        (true, None) => create(want, now),
        (true, Some(user)) => update(want, now, user),
    }
}

fn command(argv: Vec<String>) -> Change {
    Change::Run { argv }
}

fn remove(want: &Want) -> Vec<String> {
    let mut argv = Argv::new("userdel");
    argv.flag_if("-f", want.force);
    argv.flag_if("-r", want.remove);
    argv.finish(&want.name)
}

fn create(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let argv = useradd(want, now)?;
    // useradd makes a home, but not the folders above it.
    let orphan = want
        .home
        .as_ref()
        .filter(|_| want.create_home && !now.home_parent_exists);
    if let Some(home) = orphan {
        changes.push(home_step(want, home));
    }
    changes.push(command(argv));
    if let Some(home) = orphan {
        changes.push(own_step(want, home));
    }
    changes.extend(ssh_key(want, now));
    changes.extend(ageing(want, None).map(command));
    Ok(changes)
}

fn useradd(want: &Want, now: &Now) -> Result<Vec<String>, Failure> {
    let mut argv = Argv::new("useradd");
    argv.option("-u", want.uid);
    argv.flag_if("-o", want.uid.is_some() && want.non_unique);
    argv.option("-Z", want.seuser.as_ref());
    match &want.group {
        Some(group) => {
            primary_group(group, now)?;
            argv.option("-g", Some(group));
        }
        // Else useradd would refuse to make the user's own group.
        None => argv.flag_if("-N", now.namesake),
    }
    let groups = extra_groups(now)?;
    if !groups.is_empty() {
        let named: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
        argv.option("-G", Some(named.join(",")));
    }
    argv.option("-c", want.comment.as_ref());
    argv.option("-d", want.home.as_ref());
    argv.option("-s", want.shell.as_ref());
    argv.option("-e", want.expires.map(expiry_date));
    argv.option("-f", want.inactive);
    let lock = if want.password_lock == Some(true) {
        "!"
    } else {
        ""
    };
    argv.option(
        "-p",
        want.password.as_ref().map(|hash| format!("{lock}{hash}")),
    );
    if want.create_home {
        argv.flag_if("-m", true);
        argv.option("-k", want.skeleton.as_ref());
        argv.option(
            "-K",
            want.umask.as_ref().map(|umask| format!("UMASK={umask}")),
        );
    } else {
        argv.flag_if("-M", true);
    }
    argv.flag_if("-r", want.system);
    argv.option("-K", want.uid_min.map(|uid| format!("UID_MIN={uid}")));
    argv.option("-K", want.uid_max.map(|uid| format!("UID_MAX={uid}")));
    Ok(argv.finish(&want.name))
}

fn update(want: &Want, now: &Now, user: &users::User) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let argv = usermod(want, now, user)?;
    if argv.len() > 2 {
        changes.push(command(argv));
    }
    let moved = want.move_home && now.old_home_exists && want.home.as_ref() != Some(&user.home);
    if want.create_home && !now.home_exists && !(moved && want.home.is_some()) {
        let home = want.home.as_ref().unwrap_or(&user.home);
        changes.push(home_step(want, home));
        changes.push(own_step(want, home));
    }
    changes.extend(ssh_key(want, now));
    changes.extend(ageing(want, now.shadow.as_ref()).map(command));
    Ok(changes)
}

fn usermod(want: &Want, now: &Now, user: &users::User) -> Result<Vec<String>, Failure> {
    let mut argv = Argv::new("usermod");
    if want.uid.is_some_and(|uid| uid != i64::from(user.uid)) {
        argv.option("-u", want.uid);
        argv.flag_if("-o", want.non_unique);
    }
    if let Some(group) = &want.group {
        let gid = primary_group(group, now)?.gid;
        argv.option("-g", Some(gid).filter(|gid| *gid != user.gid));
    }
    if want.groups.is_some() {
        memberships(want, now, &mut argv)?;
    }
    argv.option("-c", want.comment.as_ref().filter(|c| **c != user.gecos));
    if let Some(home) = want.home.as_ref().filter(|home| **home != user.home) {
        argv.option("-d", Some(home));
        argv.flag_if("-m", want.move_home);
    }
    argv.option(
        "-s",
        want.shell.as_ref().filter(|shell| **shell != user.shell),
    );
    let expires = now.shadow.as_ref().map_or(0, |shadow| shadow.expires);
    argv.option(
        "-e",
        want.expires
            .and_then(|wanted| other_expiry(wanted, expires)),
    );
    argv.option("-f", want.inactive);
    password(want, now, user, &mut argv);
    Ok(argv.finish(&want.name))
}

fn primary_group<'a>(name: &str, now: &'a Now) -> Result<&'a users::Group, Failure> {
    let found = now.wanted_group.as_ref();
    found.ok_or_else(|| Failure::new(format!("Group {name} does not exist")))
}

fn extra_groups(now: &Now) -> Result<Vec<(&str, &users::Group)>, Failure> {
    let found = now.wanted_groups.iter().map(|(name, group)| match group {
        Some(group) => Ok((name.as_str(), group)),
        None => Err(Failure::new(format!("Group {name} does not exist"))),
    });
    found.collect()
}

/// Compares by name, the primary group included, as Ansible does.
fn memberships(want: &Want, now: &Now, argv: &mut Argv) -> Result<(), Failure> {
    let wanted: Vec<&str> = extra_groups(now)?
        .iter()
        .map(|(_, g)| g.name.as_str())
        .collect();
    let missing = wanted
        .iter()
        .any(|name| !now.memberships.iter().any(|n| n == name));
    let surplus = now
        .memberships
        .iter()
        .any(|name| !wanted.contains(&name.as_str()));
    if missing || (surplus && !want.append) {
        argv.flag_if("-a", want.append);
        argv.option("-G", Some(wanted.join(",")));
    }
    Ok(())
}

fn password(want: &Want, now: &Now, user: &users::User, argv: &mut Argv) {
    let short = user.password.len() <= 1;
    let shadow = now
        .shadow
        .as_ref()
        .map_or("", |shadow| shadow.password.as_str());
    let current = if short {
        shadow
    } else {
        user.password.as_str()
    };
    let bare = |hash: &str| hash.trim_start_matches('!').to_owned();
    let new = want
        .password
        .as_deref()
        .filter(|new| bare(new) != bare(current));
    if let Some(new) = new.filter(|_| want.update_password) {
        let lock = if want.password_lock == Some(true) {
            "!"
        } else {
            ""
        };
        argv.option("-p", Some(format!("{lock}{new}")));
        return;
    }
    match want.password_lock {
        Some(true) => argv.flag_if("-L", !current.starts_with('!')),
        Some(false) => argv.flag_if("-U", current.starts_with('!')),
        None => {}
    }
}

fn home_step(want: &Want, path: &str) -> Change {
    Change::Account(Step::Home {
        path: PathBuf::from(path),
        skeleton: PathBuf::from(want.skeleton.as_deref().unwrap_or(SKELETON)),
    })
}

fn own_step(want: &Want, path: &str) -> Change {
    Change::Account(Step::OwnHome {
        name: want.name.clone(),
        path: PathBuf::from(path),
    })
}

fn ssh_key(want: &Want, now: &Now) -> Option<Change> {
    let key = want.ssh_key.as_ref()?;
    let there = now.key_exists || now.public_key_exists;
    if there && !want.force {
        return None;
    }
    let mut arguments = vec!["-t".to_owned(), key.kind.clone()];
    if key.bits > 0 {
        arguments.extend(["-b".to_owned(), key.bits.to_string()]);
    }
    arguments.extend(["-C".to_owned(), key.comment.clone()]);
    if key.passphrase.is_none() {
        arguments.extend(["-N".to_owned(), String::new()]);
    }
    Some(Change::Account(Step::SshKey {
        name: want.name.clone(),
        file: key.file.clone(),
        arguments,
        passphrase: key.passphrase.clone(),
        overwrite: there,
    }))
}

/// Returns the `chage` that sets the password's ages, if they differ.
fn ageing(want: &Want, shadow: Option<&users::Shadow>) -> Option<Vec<String>> {
    let mut argv = Argv::new("chage");
    let differs = |wanted: Option<i64>, read: fn(&users::Shadow) -> i64| {
        wanted.filter(|wanted| shadow.is_none_or(|shadow| read(shadow) != *wanted))
    };
    argv.option("-m", differs(want.password_min, |s| s.min));
    argv.option("-M", differs(want.password_max, |s| s.max));
    argv.option("-W", differs(want.password_warn, |s| s.warn));
    let argv = argv.finish(&want.name);
    (argv.len() > 2).then_some(argv)
}

/// Returns the date that `-e` takes; empty for never.
fn expiry_date(seconds: f64) -> String {
    if seconds < 0.0 {
        return String::new();
    }
    date_of(seconds).map_or_else(String::new, |date| date.to_string())
}

/// Returns the date for `-e` unless the account expires on that day already.
fn other_expiry(wanted: f64, current_days: i64) -> Option<String> {
    if wanted < 0.0 {
        return (current_days >= 0).then(String::new);
    }
    #[expect(clippy::cast_precision_loss, reason = "days since 1970 are few")]
    let current = date_of(current_days as f64 * 86_400.0);
    (current_days < 0 || current != date_of(wanted)).then(|| expiry_date(wanted))
}

fn date_of(seconds: f64) -> Option<Date> {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted")]
    let timestamp = Timestamp::from_second(seconds.floor() as i64).ok()?;
    Some(timestamp.to_zoned(TimeZone::UTC).date())
}

/// An argument vector in the making.
struct Argv(Vec<String>);

impl Argv {
    fn new(program: &str) -> Self {
        Self(vec![program.to_owned()])
    }

    fn flag_if(&mut self, flag: &str, wanted: bool) {
        if wanted {
            self.0.push(flag.to_owned());
        }
    }

    fn option(&mut self, flag: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.extend([flag.to_owned(), value.to_string()]);
        }
    }

    fn finish(mut self, name: &str) -> Vec<String> {
        self.0.push(name.to_owned());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want() -> Want {
        Want {
            name: "web".to_owned(),
            present: true,
            create_home: true,
            update_password: true,
            ..Want::default()
        }
    }

    fn group(name: &str, gid: u32) -> users::Group {
        users::Group {
            name: name.to_owned(),
            gid,
            members: Vec::new(),
        }
    }

    fn there() -> Now {
        Now {
            user: Some(users::User {
                name: "web".to_owned(),
                password: "x".to_owned(),
                uid: 1000,
                gid: 1000,
                gecos: String::new(),
                home: "/home/web".to_owned(),
                shell: "/bin/sh".to_owned(),
            }),
            shadow: Some(users::Shadow {
                name: "web".to_owned(),
                password: "!".to_owned(),
                min: 0,
                max: 99999,
                warn: 7,
                expires: -1,
            }),
            home_exists: true,
            home_parent_exists: true,
            old_home_exists: true,
            memberships: vec!["adm".to_owned()],
            ..Now::default()
        }
    }

    fn only(want: &Want, now: &Now) -> String {
        match &plan(want, now).unwrap()[..] {
            [] => String::new(),
            [Change::Run { argv }] => argv.join(" "),
            more => panic!("one command was expected: {more:?}"),
        }
    }

    #[test]
    fn a_new_user_gets_all_that_was_asked_in_one_command() {
        let want = Want {
            uid: Some(1500),
            comment: Some("The web".to_owned()),
            groups: Some(vec!["adm".to_owned()]),
            password: Some("$6$x".to_owned()),
            password_lock: Some(true),
            expires: Some(86_400.0),
            system: true,
            ..want()
        };
        let now = Now {
            wanted_groups: vec![("adm".to_owned(), Some(group("adm", 4)))],
            namesake: true,
            ..Now::default()
        };
        let argv = "useradd -u 1500 -N -G adm -c The web -e 1970-01-02 -p !$6$x -m -r web";
        assert_eq!(only(&want, &now), argv);
    }

    #[test]
    fn a_user_as_wanted_needs_nothing() {
        let want = Want {
            uid: Some(1000),
            shell: Some("/bin/sh".to_owned()),
            expires: Some(-1.0),
            password: Some("!".to_owned()),
            password_lock: Some(true),
            password_max: Some(99999),
            groups: Some(vec!["adm".to_owned()]),
            ..want()
        };
        let now = Now {
            wanted_groups: vec![("adm".to_owned(), Some(group("adm", 4)))],
            ..there()
        };
        assert_eq!(only(&want, &now), "");
    }

    #[test]
    fn groups_are_replaced_unless_appended() {
        let wanted = vec![("www-data".to_owned(), Some(group("www-data", 33)))];
        let now = Now {
            wanted_groups: wanted,
            ..there()
        };
        let groups = Some(vec!["www-data".to_owned()]);
        let replace = Want {
            groups: groups.clone(),
            ..want()
        };
        assert_eq!(only(&replace, &now), "usermod -G www-data web");
        let append = Want {
            groups,
            append: true,
            ..want()
        };
        assert_eq!(only(&append, &now), "usermod -a -G www-data web");
        let none = Want {
            groups: Some(vec![String::new()]),
            ..want()
        };
        assert_eq!(only(&none, &there()), "usermod -G  web");
    }

    #[test]
    fn an_unknown_group_fails_before_anything_is_done() {
        let want = Want {
            group: Some("nope".to_owned()),
            ..want()
        };
        let failure = plan(&want, &Now::default()).unwrap_err();
        assert_eq!(failure.msg, "Group nope does not exist");
    }

    #[test]
    fn the_password_changes_only_with_its_hash() {
        let mut now = there();
        now.shadow.as_mut().unwrap().password = "!$6$old".to_owned();
        let same = Want {
            password: Some("$6$old".to_owned()),
            ..want()
        };
        assert_eq!(only(&same, &now), "");
        let new = Want {
            password: Some("$6$new".to_owned()),
            ..want()
        };
        assert_eq!(only(&new, &now), "usermod -p $6$new web");
        let on_create = Want {
            update_password: false,
            ..new
        };
        assert_eq!(only(&on_create, &now), "");
        let unlock = Want {
            password_lock: Some(false),
            ..want()
        };
        assert_eq!(only(&unlock, &now), "usermod -U web");
    }

    #[test]
    fn a_home_below_missing_folders_is_made_first_and_given_away_last() {
        let want = Want {
            home: Some("/srv/a/web".to_owned()),
            ..want()
        };
        let steps = plan(&want, &Now::default()).unwrap();
        assert!(matches!(
            &steps[..],
            [
                Change::Account(Step::Home { .. }),
                Change::Run { .. },
                Change::Account(Step::OwnHome { .. })
            ]
        ));
    }

    #[test]
    fn a_missing_home_is_made_unless_the_old_one_moves_there() {
        let new_home = Want {
            home: Some("/srv/web".to_owned()),
            ..want()
        };
        let now = Now {
            home_exists: false,
            ..there()
        };
        assert_eq!(plan(&new_home, &now).unwrap().len(), 3);
        let moved = Want {
            move_home: true,
            ..new_home
        };
        assert_eq!(only(&moved, &now), "usermod -d /srv/web -m web");
    }

    #[test]
    fn ages_are_set_where_they_differ() {
        let want = Want {
            password_max: Some(90),
            password_min: Some(0),
            ..want()
        };
        assert_eq!(only(&want, &there()), "chage -M 90 web");
    }

    #[test]
    fn removal_takes_the_home_and_force_only_if_told() {
        let absent = Want {
            present: false,
            remove: true,
            force: true,
            ..want()
        };
        assert_eq!(only(&absent, &there()), "userdel -f -r web");
        assert_eq!(only(&absent, &Now::default()), "");
    }
}
