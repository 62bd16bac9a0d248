//! Users and groups of this machine: its files first, then the `getent` command.
//!
//! A static program has no name service switch, so what is not in the files is asked of `getent`,
//! whose answers are kept until [`forget`]. The files are kept parsed while they stay as they are.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::getent;

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Mostly `x`: the shadow has it.
    pub password: String,
    pub uid: u32,
    pub gid: u32,
    /// Comment field.
    pub gecos: String,
    pub home: String,
    pub shell: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub gid: u32,
    /// Members other than by primary group.
    pub members: Vec<String>,
}

/// A line of `/etc/shadow`. A number that is not there is -1, as in C's `getspnam`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Login name.
    pub name: String,
    /// The hash, `!` in front when locked.
    pub password: String,
    /// Days before the password may change.
    pub min: i64,
    /// Days before it must change.
    pub max: i64,
    /// Days of warning before that.
    pub warn: i64,
    /// Day since 1970 on which the account expires.
    pub expires: i64,
}

/// Returns the user called `name`.
#[must_use]
pub fn user(name: &str) -> Option<User> {
    local_user(name).or_else(|| user_line(&getent("passwd", name)?))
}

/// Returns the user with this uid.
#[must_use]
pub fn user_by_id(uid: u32) -> Option<User> {
    let found = users().iter().find(|u| u.uid == uid).cloned();
    found.or_else(|| user_line(&getent("passwd", &uid.to_string())?))
}

/// Returns the user called `name` if `/etc/passwd` has it.
#[must_use]
pub fn local_user(name: &str) -> Option<User> {
    users().iter().find(|u| u.name == name).cloned()
}

/// Returns the group called `name`.
#[must_use]
pub fn group(name: &str) -> Option<Group> {
    let found = groups().iter().find(|g| g.name == name).cloned();
    found.or_else(|| group_line(&getent("group", name)?))
}

/// Returns the group with this gid.
#[must_use]
pub fn group_by_id(gid: u32) -> Option<Group> {
    let found = groups().iter().find(|g| g.gid == gid).cloned();
    found.or_else(|| group_line(&getent("group", &gid.to_string())?))
}

/// Returns whether a group is one user's own: of his name, and with no other account of this
/// machine in it.
#[must_use]
pub fn is_own_group(gid: u32, uid: u32) -> bool {
    let (Some(user), Some(group)) = (user_by_id(uid), group_by_id(gid)) else {
        return false;
    };
    user.gid == gid
        && user.name == group.name
        && group.members.iter().all(|member| *member == user.name)
        && users()
            .iter()
            .all(|other| other.gid != gid || other.uid == uid)
}

/// Returns the groups that `initgroups` gives a user besides its primary one: those of the files,
/// then those that only the name service switch knows.
#[must_use]
pub fn groups_of(name: &str) -> Vec<u32> {
    let listed = groups();
    let listed = listed
        .iter()
        .filter(|group| group.members.iter().any(|member| member == name));
    let mut gids: Vec<u32> = listed.map(|group| group.gid).collect();
    // Its answer is the name, then the numbers.
    let answer = match beyond_files("initgroups") || beyond_files("group") {
        true => getent_of("initgroups", name).unwrap_or_default(),
        false => String::new(),
    };
    for gid in answer.split_whitespace().skip(1) {
        if let Ok(gid) = gid.parse()
            && !gids.contains(&gid)
        {
            gids.push(gid);
        }
    }
    gids
}

/// Returns all groups of `/etc/group`, in its order.
#[must_use]
pub fn groups() -> Arc<Vec<Group>> {
    static GROUPS: Cache<Group> = Mutex::new(None);
    cached(&GROUPS, "/etc/group", group_line)
}

/// Returns the shadow line of `name`; `None` also for those who may not read it.
#[must_use]
pub fn shadow(name: &str) -> Option<Shadow> {
    static SHADOW: Cache<Shadow> = Mutex::new(None);
    let all = cached(&SHADOW, "/etc/shadow", shadow_line);
    all.iter().find(|s| s.name == name).cloned()
}

/// Forgets what `getent` said. To be called after accounts may have changed.
pub fn forget() {
    answers().clear();
}

fn users() -> Arc<Vec<User>> {
    static USERS: Cache<User> = Mutex::new(None);
    cached(&USERS, "/etc/passwd", user_line)
}

type Cache<T> = Mutex<Option<(Stamp, Arc<Vec<T>>)>>;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

fn cached<T>(cache: &Cache<T>, path: &str, parse: fn(&str) -> Option<T>) -> Arc<Vec<T>> {
    let stamp = fs::metadata(path).map(|m| Stamp {
        inode: m.ino(),
        size: m.size(),
        changed: (m.ctime(), m.ctime_nsec()),
    });
    let Ok(stamp) = stamp else {
        return Arc::default();
    };
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, entries)) = &*cache
        && *known == stamp
    {
        return Arc::clone(entries);
    }
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let entries = Arc::new(text.lines().filter_map(parse).collect::<Vec<_>>());
    *cache = Some((stamp, Arc::clone(&entries)));
    entries
}

fn user_line(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, password, uid, gid, comment, home, shell] = fields[..] else {
        return None;
    };
    Some(User {
        name: name.to_owned(),
        password: password.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        gecos: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.trim_end().to_owned(),
    })
}

fn group_line(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let [name, _, gid, members] = fields[..] else {
        return None;
    };
    let members = members.split(',').filter(|member| !member.is_empty());
    Some(Group {
        name: name.to_owned(),
        gid: gid.parse().ok()?,
        members: members.map(str::to_owned).collect(),
    })
}

fn shadow_line(line: &str) -> Option<Shadow> {
    let fields: Vec<&str> = line.split(':').collect();
    let number = |index: usize| fields.get(index).and_then(|f| f.parse().ok()).unwrap_or(-1);
    Some(Shadow {
        name: (*fields.first()?).to_owned(),
        password: (*fields.get(1)?).to_owned(),
        min: number(3),
        max: number(4),
        warn: number(5),
        expires: number(7),
    })
}

type Answers = HashMap<(&'static str, String), Option<String>>;

fn answers() -> std::sync::MutexGuard<'static, Answers> {
    static ANSWERS: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the name service switch, where it knows more than the files.
fn getent(database: &'static str, key: &str) -> Option<String> {
    match beyond_files(database) {
        true => getent_of(database, key),
        false => None,
    }
}

fn getent_of(database: &'static str, key: &str) -> Option<String> {
    let known = answers().get(&(database, key.to_owned())).cloned();
    known.unwrap_or_else(|| {
        let answer = getent::getent(database, key);
        answers().insert((database, key.to_owned()), answer.clone());
        answer
    })
}

/// Returns whether `nsswitch.conf` names a source for `database` besides the files.
fn beyond_files(database: &str) -> bool {
    let text = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let sources = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(database)?.strip_prefix(':'));
    let known = ["files", "compat"];
    sources.is_some_and(|s| s.split_whitespace().any(|source| !known.contains(&source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_three_files_are_read() {
        let user = user_line("www-data:x:33:33:www,,:/var/www:/usr/sbin/nologin").unwrap();
        assert_eq!((user.uid, user.gecos.as_str()), (33, "www,,"));
        assert_eq!(group_line("adm:x:4:a,b").unwrap().members, ["a", "b"]);
        assert!(group_line("adm:x:4:").unwrap().members.is_empty());
        let shadow = shadow_line("a:!:19000:0:99999:7::20000:").unwrap();
        assert_eq!((shadow.max, shadow.warn, shadow.expires), (99999, 7, 20000));
        assert_eq!(shadow_line("a:*:19000::::::").unwrap().expires, -1);
    }

    #[test]
    fn root_is_found_by_name_and_by_number() {
        assert_eq!(user("root"), user_by_id(0));
        assert_eq!(group("root"), group_by_id(0));
        assert_eq!(user("no-such-user"), None);
        assert_eq!(user("-x"), None);
        assert_eq!(group_by_id(4_000_000_000), None);
    }
}
