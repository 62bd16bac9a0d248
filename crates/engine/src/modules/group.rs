//! `group`: a group of the system, by `groupadd`, `groupmod` and `groupdel`.
//!
//! The smallest state module, and so the one to copy.

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};

pub(super) struct Group;

pub(super) struct Want {
    name: String,
    gid: Option<i64>,
    present: bool,
    system: bool,
}

/// The group's gid, if there is such a group.
#[derive(Clone, Copy)]
pub(super) struct Now(Option<i64>);

impl StateModule for Group {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, _: &mut Context<'_>) -> Result<Want, Failure> {
        Ok(Want {
            name: args.required("name")?.to_owned(),
            gid: args.int("gid"),
            present: args.str("state") == Some("present"),
            system: args.bool("system"),
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        Ok(Now(gid_of(&want.name)))
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        let argv = match (want.present, now.0) {
            (true, None) => add(want),
            (true, Some(gid)) if want.gid.is_some_and(|wanted| wanted != gid) => modify(want),
            (false, Some(_)) => vec!["groupdel".to_owned(), want.name.clone()],
            (true, Some(_)) | (false, None) => return Ok(Vec::new()),
        };
        Ok(vec![Change::Run { argv }])
    }

    fn result(&self, want: &Want, _: &Now, _: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        result.insert("name".to_owned(), Json::from(want.name.as_str()));
        let state = if want.present { "present" } else { "absent" };
        result.insert("state".to_owned(), Json::from(state));
        // Read again: `groupadd` has chosen a gid where none was asked for.
        if let (true, Some(gid)) = (want.present, gid_of(&want.name)) {
            result.insert("gid".to_owned(), Json::from(gid));
            result.insert("system".to_owned(), Json::from(want.system));
        }
        result
    }
}

fn add(want: &Want) -> Vec<String> {
    let mut argv = vec!["groupadd".to_owned()];
    if let Some(gid) = want.gid {
        argv.extend(["-g".to_owned(), gid.to_string()]);
    }
    if want.system {
        argv.push("-r".to_owned());
    }
    argv.push(want.name.clone());
    argv
}

fn modify(want: &Want) -> Vec<String> {
    let mut argv = vec!["groupmod".to_owned()];
    if let Some(gid) = want.gid {
        argv.extend(["-g".to_owned(), gid.to_string()]);
    }
    argv.push(want.name.clone());
    argv
}

fn gid_of(name: &str) -> Option<i64> {
    let file = std::fs::read_to_string("/etc/group").ok()?;
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        fields.nth(1).filter(|_| found)?.parse().ok()
    })
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
        }
    }

    fn argv(want: &Want, now: Option<i64>) -> Vec<String> {
        match Group.plan(want, &Now(now)).unwrap().pop() {
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
    }
}
