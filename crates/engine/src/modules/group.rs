//! `group`: a group of the system, by `groupadd`, `groupmod` and `groupdel`.
//!
//! The smallest state module, and so the one to copy.

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::users;

pub(super) struct Group;

pub(super) struct Want {
    name: String,
    gid: Option<i64>,
    present: bool,
    system: bool,
    force: bool,
    local: bool,
    non_unique: bool,
    gid_min: Option<i64>,
    gid_max: Option<i64>,
}

/// The group's gid, if there is such a group; and who else has the gid that is wanted.
#[derive(Clone, Default)]
pub(super) struct Now {
    gid: Option<i64>,
    taken_by: Option<String>,
}

impl StateModule for Group {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, _: &mut Context<'_>) -> Result<Want, Failure> {
        let want = Want {
            name: args.required("name")?.to_owned(),
            gid: args.int("gid"),
            present: args.str("state") == Some("present"),
            system: args.bool("system"),
            force: args.bool("force"),
            local: args.bool("local"),
            non_unique: args.bool("non_unique"),
            gid_min: args.int("gid_min"),
            gid_max: args.int("gid_max"),
        };
        for name in ["gid_min", "gid_max"] {
            if want.local && args.has(name) {
                return Err(Failure::new(format!(
                    "'{name}' can not be used with 'local'"
                )));
            }
        }
        Ok(want)
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let holder = users::groups()
            .iter()
            .find(|g| Some(i64::from(g.gid)) == want.gid && g.name != want.name)
            .map(|g| g.name.clone());
        Ok(Now {
            gid: gid_of(want),
            taken_by: holder.filter(|_| want.local),
        })
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        let argv = match (want.present, now.gid) {
            (true, None) => add(want),
            (true, Some(gid)) if want.gid.is_some_and(|wanted| wanted != gid) => modify(want),
            (false, Some(_)) => delete(want),
            (true, Some(_)) | (false, None) => return Ok(Vec::new()),
        };
        if let (Some(gid), Some(holder), true) = (want.gid, &now.taken_by, want.present) {
            return Err(Failure::new(format!(
                "GID '{gid}' already exists with group '{holder}'"
            )));
        }
        Ok(vec![Change::Run { argv }])
    }

    fn failed(&self, want: &Want, _: &Self::Now, mut failure: Failure) -> Failure {
        failure.result.remove("rc");
        failure.with("name", want.name.as_str())
    }

    fn result(&self, want: &Want, now: &Now, context: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        if context.check && want.present != now.gid.is_some() {
            return result;
        }
        users::forget();
        result.insert("name".to_owned(), Json::from(want.name.as_str()));
        let state = if want.present { "present" } else { "absent" };
        result.insert("state".to_owned(), Json::from(state));
        // Read again: `groupadd` has chosen a gid where none was asked for.
        if let (true, Some(gid)) = (want.present, gid_of(want)) {
            result.insert("gid".to_owned(), Json::from(gid));
            result.insert("system".to_owned(), Json::from(want.system));
        }
        result
    }
}

fn add(want: &Want) -> Vec<String> {
    let mut argv = vec![program("groupadd", want)];
    argv.extend(numbered(want));
    if want.system {
        argv.push("-r".to_owned());
    }
    for (name, bound) in [("GID_MIN", want.gid_min), ("GID_MAX", want.gid_max)] {
        if let Some(bound) = bound {
            argv.extend(["-K".to_owned(), format!("{name}={bound}")]);
        }
    }
    argv.push(want.name.clone());
    argv
}

fn modify(want: &Want) -> Vec<String> {
    let mut argv = vec![program("groupmod", want)];
    argv.extend(numbered(want));
    argv.push(want.name.clone());
    argv
}

fn delete(want: &Want) -> Vec<String> {
    let mut argv = vec![program("groupdel", want)];
    if want.force {
        argv.push("-f".to_owned());
    }
    argv.push(want.name.clone());
    argv
}

/// Returns `name`, or its counterpart of libuser for a group that must be local.
fn program(name: &str, want: &Want) -> String {
    let prefix = if want.local { "l" } else { "" };
    format!("{prefix}{name}")
}

fn numbered(want: &Want) -> Vec<String> {
    let Some(gid) = want.gid else {
        return Vec::new();
    };
    let mut argv = vec!["-g".to_owned(), gid.to_string()];
    if want.non_unique {
        argv.push("-o".to_owned());
    }
    argv
}

fn gid_of(want: &Want) -> Option<i64> {
    let found = if want.local {
        let groups = users::groups();
        groups.iter().find(|g| g.name == want.name).cloned()
    } else {
        users::group(&want.name)
    };
    found.map(|g| i64::from(g.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(gid: Option<i64>, present: bool) -> Want {
        Want {
            name: "www".to_owned(),
            gid,
            present,
            system: true,
            force: false,
            local: false,
            non_unique: false,
            gid_min: None,
            gid_max: None,
        }
    }

    fn argv(want: &Want, gid: Option<i64>) -> Vec<String> {
        let now = Now {
            gid,
            taken_by: None,
        };
        match Group.plan(want, &now).unwrap().pop() {
            Some(Change::Run { argv }) => argv,
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_missing_group_is_added_with_what_was_asked() {
        assert_eq!(
            argv(&want(Some(7), true), None),
            ["groupadd", "-g", "7", "-r", "www"]
        );
    }

    #[test]
    fn only_another_gid_modifies_a_group() {
        assert_eq!(
            argv(&want(Some(7), true), Some(8)),
            ["groupmod", "-g", "7", "www"]
        );
        assert!(argv(&want(Some(7), true), Some(7)).is_empty());
        assert!(argv(&want(None, true), Some(7)).is_empty());
    }

    #[test]
    fn an_absent_group_is_deleted_only_if_it_is_there() {
        assert_eq!(argv(&want(None, false), Some(7)), ["groupdel", "www"]);
        assert!(argv(&want(None, false), None).is_empty());
        let forced = Want {
            force: true,
            ..want(None, false)
        };
        assert_eq!(argv(&forced, Some(7)), ["groupdel", "-f", "www"]);
    }

    #[test]
    fn a_local_group_does_not_take_the_gid_of_another() {
        let local = Want {
            local: true,
            ..want(Some(7), true)
        };
        let now = Now {
            gid: None,
            taken_by: Some("adm".to_owned()),
        };
        let failure = Group.plan(&local, &now).unwrap_err();
        assert_eq!(failure.msg, "GID '7' already exists with group 'adm'");
    }
}
