//! Users and groups by name and number: `/etc/passwd` and `/etc/group`, then `getent`.
//!
//! A static musl program has no NSS, so other sources (LDAP, systemd) are asked through the
//! `getent` command. Only its answers are kept: the files are small, and any task may change them.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Comment field.
    pub gecos: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Number.
    pub gid: u32,
    /// Members other than by primary group.
    pub members: Vec<String>,
}

/// Returns the account called `name`.
#[must_use]
pub fn user(name: &str) -> Option<User> {
    find("passwd", name, |line| {
        parse_user(line).filter(|u| u.name == name)
    })
}

/// Returns the account with number `uid`.
#[must_use]
pub fn user_by_id(uid: u32) -> Option<User> {
    find("passwd", &uid.to_string(), |line| {
        parse_user(line).filter(|u| u.uid == uid)
    })
}

/// Returns the group called `name`.
#[must_use]
pub fn group(name: &str) -> Option<Group> {
    find("group", name, |line| {
        parse_group(line).filter(|g| g.name == name)
    })
}

/// Returns the group with number `gid`.
#[must_use]
pub fn group_by_id(gid: u32) -> Option<Group> {
    find("group", &gid.to_string(), |line| {
        parse_group(line).filter(|g| g.gid == gid)
    })
}

/// Forgets what `getent` said. To be called after accounts may have changed.
pub fn forget() {
    answers().clear();
}

type Answers = HashMap<(&'static str, String), Option<String>>;

fn answers() -> std::sync::MutexGuard<'static, Answers> {
    static ANSWERS: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<T>(database: &'static str, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let file = std::fs::read(format!("/etc/{database}")).unwrap_or_default();
    String::from_utf8_lossy(&file)
        .lines()
        .find_map(&parse)
        .or_else(|| getent(database, key).as_deref().and_then(parse))
}

fn getent(database: &'static str, key: &str) -> Option<String> {
    if key.is_empty() || key.starts_with('-') {
        return None;
    }
    let cached = answers().get(&(database, key.to_owned())).cloned();
    cached.unwrap_or_else(|| {
        let output = Command::new("getent").args([database, key]).output();
        let answer = output
            .ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).trim_end().to_owned());
        answers().insert((database, key.to_owned()), answer.clone());
        answer
    })
}

fn parse_user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, gecos, home, shell] = fields[..] else {
        return None;
    };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        gecos: gecos.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

fn parse_group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else {
        return None;
    };
    let members = members.split(',').filter(|m| !m.is_empty());
    Some(Group {
        name: name.to_owned(),
        gid: gid.parse().ok()?,
        members: members.map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_both_ways() {
        assert_eq!(user("root").map(|u| u.uid), Some(0));
        assert_eq!(user_by_id(0).map(|u| u.name), Some("root".to_owned()));
        assert_eq!(group("root").map(|g| g.gid), Some(0));
        assert_eq!(group_by_id(0).map(|g| g.name), Some("root".to_owned()));
    }

    #[test]
    fn nobody_is_found_who_is_not_there() {
        assert_eq!(user("no-such-user"), None);
        assert_eq!(user("-x"), None);
        assert_eq!(group_by_id(4_000_000_000), None);
    }
}
