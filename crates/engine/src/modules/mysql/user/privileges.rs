//! Privileges: as a task writes them, as a server shows them, and how one is made the other.

use std::sync::LazyLock;

use amibake_playbook::pyre::{Flags, Regex};

use super::super::connection::{Connection, SqlError, quoted};
use super::{Done, How, Requirements, Session, Want};
use crate::module::Failure;

/// What is granted on which object, in order. `GRANT` stands for the right to grant on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Privileges(Vec<(String, Vec<String>)>);

/// Rights that can be granted on columns.
const ON_COLUMNS: &[&str] = &["SELECT", "UPDATE", "INSERT", "REFERENCES"];

fn pattern(text: &str) -> Regex {
    Regex::new(text, Flags::default()).expect("the pattern is sound")
}

static GRANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"\AGRANT (.+) ON (.+) TO (['`"]).*\3@(['`"]).*\4( IDENTIFIED BY PASSWORD (['`"]).+\6)? ?(.*)"#,
    )
});
/// Roles: the affair of another module.
static ROLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"\A(?:GRANT (.+) TO (['`"]).*|SET DEFAULT ROLE (.+) FOR (['`"]).*)"#)
});
static GRANTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?<=\bGRANT\b)(.*?)(?=(?:\bON\b))"));

impl Privileges {
    /// Reads `db.table:PRIVILEGE,…/…`. Every account has `USAGE`, which is added if it is to be `complete`.
    pub(super) fn read(
        text: &str,
        ansi: bool,
        keep_case: bool,
        complete: bool,
    ) -> Result<Self, String> {
        let quote = if ansi { '"' } else { '`' };
        let mut all = Self::default();
        for item in text.trim().split('/') {
            let (object, granted) = item.trim().rsplit_once(':').ok_or_else(|| {
                format!("invalid priv string: '{item}' has no colon between an object and its privileges")
            })?;
            let granted = match keep_case && granted.contains('(') {
                true => granted.to_owned(),
                false => granted.to_uppercase(),
            };
            let granted = match granted.contains('(') {
                true => split_outside(&granted),
                false => granted.split(',').map(str::to_owned).collect(),
            };
            all.set(quoted_object(object, quote), columns_sorted(granted));
        }
        if complete && all.get("*.*").is_none() {
            all.set("*.*".to_owned(), vec!["USAGE".to_owned()]);
        }
        Ok(all)
    }

    /// Reads what `SHOW GRANTS` says, a line each.
    fn shown(lines: &[String]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for line in lines {
            let found = GRANT.search(line.as_bytes(), 0).ok().flatten();
            let Some(found) = found else {
                if ROLE.is_match(line.as_bytes()).unwrap_or(false) {
                    continue;
                }
                let msg = format!("unable to parse the MySQL grant string: {line}");
                return Err(Failure::new(msg));
            };
            let group = |n: usize| found.get(n).map_or("", |range| &line[range]);
            let granted = group(1).split(',').map(str::trim).map(|name| match name {
                "ALL PRIVILEGES" => "ALL".to_owned(),
                name => name.to_owned(),
            });
            let mut granted = columns_sorted(granted.collect());
            if group(7).contains("WITH GRANT OPTION") {
                granted.push("GRANT".to_owned());
            }
            match all.0.iter_mut().find(|(object, _)| object == group(2)) {
                Some((_, known)) => known.extend(granted),
                None => all.0.push((group(2).to_owned(), granted)),
            }
        }
        Ok(all)
    }

    fn set(&mut self, object: String, granted: Vec<String>) {
        match self.0.iter_mut().find(|(known, _)| *known == object) {
            Some((_, known)) => *known = granted,
            None => self.0.push((object, granted)),
        }
    }

    fn get(&self, object: &str) -> Option<&Vec<String>> {
        let found = self.0.iter().find(|(known, _)| known == object);
        found.map(|(_, granted)| granted)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        let each = self.0.iter();
        each.map(|(object, granted)| (object.as_str(), granted.as_slice()))
    }

    /// As Python compares mappings: objects in any order, what is granted in its own.
    fn is(&self, other: &Self) -> bool {
        let same = |(object, granted): &(String, Vec<String>)| other.get(object) == Some(granted);
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }
}

/// Returns `db.table`, or the name of a routine, with its parts in quotes.
fn quoted_object(object: &str, quote: char) -> String {
    let (first, second) = match object.rsplit_once('.') {
        Some((first, second)) => (first, Some(second)),
        None => (object, None),
    };
    let (kind, first) = match first.split_once(' ') {
        Some((kind @ ("FUNCTION" | "PROCEDURE"), name)) => (format!("{kind} "), name),
        _ => (String::new(), first),
    };
    let each =
        [Some(first), second]
            .into_iter()
            .flatten()
            .map(|part| match part.trim_matches('`') {
                "*" => part.to_owned(),
                bare => format!("{quote}{bare}{quote}"),
            });
    kind + &each.collect::<Vec<_>>().join(".")
}

/// Splits at commas that stand in no parentheses.
fn split_outside(text: &str) -> Vec<String> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, _) in text.match_indices(',') {
        let rest = text[at + 1..].trim_start();
        let (open, close) = (rest.find('('), rest.find(')'));
        let outside = match (open, close) {
            (_, None) => true,
            (Some(open), Some(close)) => open < close,
            (None, Some(_)) => false,
        };
        if outside {
            parts.push(text[from..at].to_owned());
            from = text.len() - rest.len();
        }
    }
    parts.push(text[from..].to_owned());
    parts
}

/// Joins `SELECT (b` and `a)` to `SELECT (a, b)`, columns in order.
fn columns_sorted(mut granted: Vec<String>) -> Vec<String> {
    for right in ON_COLUMNS {
        let begins = format!("{right} (");
        let (mut start, mut end) = (None, None);
        for (n, text) in granted.iter().enumerate() {
            if text.contains(&begins) {
                start = Some(n);
            }
            if start.is_some() && text.contains(')') {
                end = Some(n);
                break;
            }
        }
        if let (Some(start), Some(end)) = (start, end) {
            let joined = granted[start..=end].join(", ");
            granted.splice(start..=end, [sorted(&joined)]);
        }
    }
    granted
}

fn sorted(statement: &str) -> String {
    let mut parts = statement.split('(');
    let right = parts.next().unwrap_or_default();
    let columns = parts.next().unwrap_or_default().trim_end_matches(')');
    let columns = columns.split(',').map(|name| name.trim().trim_matches('`'));
    let mut columns: Vec<&str> = columns.collect();
    columns.sort_unstable();
    format!("{right}({})", columns.join(", "))
}

/// What is to be granted and taken away on one object.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    grant: Vec<String>,
    revoke: Vec<String>,
}

impl Difference {
    fn between(current: &[String], wanted: &[String], how: How) -> Self {
        let but = |these: &[String], those: &[String]| {
            let mut left: Vec<String> = Vec::new();
            for text in these {
                if !those.contains(text) && !left.contains(text) {
                    left.push(text.clone());
                }
            }
            left
        };
        let mut grant = Vec::new();
        let mut revoke = Vec::new();
        match how {
            How::Append => grant = but(wanted, current),
            How::Subtract => {
                let not_there = but(wanted, current);
                revoke = but(wanted, &not_there);
            }
            How::Replace => {
                grant = but(wanted, current);
                revoke = but(current, wanted);
                if grant
                    .iter()
                    .any(|name| name == "ALL" || name == "ALL PRIVILEGES")
                {
                    revoke.retain(|name| name == "GRANT" || name == "PROXY");
                }
            }
        }
        if grant == ["GRANT"] {
            grant.push("USAGE".to_owned());
        }
        Self { grant, revoke }
    }
}

impl Session {
    pub(super) fn change_privileges(
        &mut self,
        want: &Want<'_>,
        account: [&str; 2],
        wanted: &Privileges,
        with_grant_option: &mut bool,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let current = self.privileges(account)?;
        let needs = want.requirements.as_ref();
        if want.how == How::Replace {
            for (object, granted) in current.iter() {
                let has = |name: &str| granted.iter().any(|known| known == name);
                *with_grant_option |= has("GRANT");
                if wanted.get(object).is_none() && want.user != "root" && !has("PROXY") {
                    done.msg = "Privileges updated".into();
                    done.changed = true;
                    if !want.check {
                        self.revoke(account, object, granted, *with_grant_option)?;
                    }
                }
            }
        }
        if want.how != How::Subtract {
            for (object, granted) in wanted.iter() {
                if current.get(object).is_none() {
                    done.msg = "New privileges granted".into();
                    done.changed = true;
                    if !want.check {
                        self.grant(account, object, granted, needs)?;
                    }
                }
            }
        }
        for (object, granted) in wanted.iter() {
            let Some(known) = current.get(object) else {
                continue;
            };
            let Difference { grant, revoke } = Difference::between(known, granted, want.how);
            if want.how == How::Replace {
                let has = |names: &[String]| names.iter().any(|name| name == "GRANT");
                *with_grant_option = has(&revoke) && !has(&grant);
            }
            if grant.is_empty() && revoke.is_empty() {
                continue;
            }
            done.msg = format!(
                "Privileges updated: granted {}, revoked {}",
                listed(&grant),
                listed(&revoke)
            )
            .into();
            if want.check {
                done.changed = true;
                continue;
            }
            if !revoke.is_empty() {
                self.revoke(account, object, &revoke, *with_grant_option)?;
            }
            if !grant.is_empty() {
                self.grant(account, object, &grant, needs)?;
            }
        }
        let changed = !self.privileges(account)?.is(&current);
        done.changed |= changed;
        Ok(())
    }

    fn grants(&mut self, account: [&str; 2]) -> Result<Vec<String>, SqlError> {
        let rows = self
            .connection
            .execute("SHOW GRANTS FOR %s@%s", &account)?
            .rows;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next()?)
            .collect())
    }

    fn privileges(&mut self, account: [&str; 2]) -> Result<Privileges, Failure> {
        Privileges::shown(&self.grants(account)?)
    }

    /// Returns what is granted on everything, as the server writes it.
    pub(super) fn global_grants(&mut self, account: [&str; 2]) -> Result<Vec<String>, SqlError> {
        let lines = self.grants(account)?;
        let line = lines.iter().find(|line| line.contains("ON *.*"));
        let granted = line.and_then(|line| {
            let found = GRANTED.search(line.as_bytes(), 0).ok()??;
            Some(line[found.whole()].trim())
        });
        let names = granted.unwrap_or("USAGE").split(", ");
        Ok(names.map(str::to_owned).collect())
    }

    fn revoke(
        &mut self,
        account: [&str; 2],
        object: &str,
        granted: &[String],
        with_grant_option: bool,
    ) -> Result<(), SqlError> {
        let object = object.replace('%', "%%");
        if with_grant_option {
            let query = format!("REVOKE GRANT OPTION ON {object} FROM %s@%s");
            self.connection.execute(&query, &account)?;
        }
        let names = without_grant(granted);
        let is_left = !with_grant_option || names != "USAGE";
        if !names.is_empty() && is_left {
            let query = format!("REVOKE {names} ON {object} FROM %s@%s");
            self.connection.execute(&query, &account)?;
        }
        self.connection.execute("FLUSH PRIVILEGES", &[])?;
        Ok(())
    }

    pub(super) fn grant(
        &mut self,
        account: [&str; 2],
        object: &str,
        granted: &[String],
        needs: Option<&Requirements>,
    ) -> Result<(), Failure> {
        let names = without_grant(granted);
        let object = object.replace('%', "%%");
        let mut query = format!("GRANT {names} ON {object} TO %s@%s");
        if let Some(needs) = needs.filter(|_| self.is_old()) {
            query += &format!(" REQUIRE {}", needs.clause(&self.connection));
        }
        if granted.iter().any(|name| name == "GRANT") {
            query += " WITH GRANT OPTION";
        }
        let run = run(&mut self.connection, &query, account);
        run.map_err(|error| {
            let [user, host] = account.map(quoted);
            Failure::new(format!(
                "Error granting privileges, invalid priv string: {names} , params: ({user}, {host}), query: {query} , \
                 exception: {error}."
            ))
        })
    }
}

fn run(connection: &mut Connection, query: &str, account: [&str; 2]) -> Result<(), SqlError> {
    connection.execute(query, &account).map(drop)
}

fn without_grant(granted: &[String]) -> String {
    let names = granted.iter().filter(|name| *name != "GRANT");
    let names: Vec<&str> = names.map(String::as_str).collect();
    names.join(",")
}

/// Returns texts as Python shows a list of them.
fn listed(texts: &[String]) -> String {
    let each: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(all: &[(&str, &[&str])]) -> Privileges {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let each = all
            .iter()
            .map(|(object, granted)| ((*object).to_owned(), texts(granted)));
        Privileges(each.collect())
    }

    #[test]
    fn privileges_are_read_as_by_ansible() {
        for (text, expected) in [
            ("*.*:ALL,GRANT", privileges(&[("*.*", &["ALL", "GRANT"])])),
            (
                "db.*:select,insert/`d.b`.t:ALL",
                privileges(&[
                    ("`db`.*", &["SELECT", "INSERT"]),
                    ("`d.b`.`t`", &["ALL"]),
                    ("*.*", &["USAGE"]),
                ]),
            ),
            (
                "FUNCTION db.f:EXECUTE/db.t:select (b, a),UPDATE",
                privileges(&[
                    ("FUNCTION `db`.`f`", &["EXECUTE"]),
                    ("`db`.`t`", &["SELECT (A, B)", "UPDATE"]),
                    ("*.*", &["USAGE"]),
                ]),
            ),
        ] {
            assert_eq!(
                Privileges::read(text, false, false, true),
                Ok(expected),
                "{text}"
            );
        }
        let kept = Privileges::read("db.t:SELECT (b, a)", false, true, false);
        assert_eq!(kept, Ok(privileges(&[("`db`.`t`", &["SELECT (a, b)"])])));
        assert!(Privileges::read("db.t", false, false, true).is_err());
    }

    #[test]
    fn what_a_server_shows_is_read() {
        let lines = [
            "GRANT USAGE ON *.* TO `a`@`b` IDENTIFIED BY PASSWORD '*AB'",
            "GRANT ALL PRIVILEGES ON `d`.* TO `a`@`b` WITH GRANT OPTION",
            "GRANT SELECT (`y`, `x`), INSERT ON `d`.`t` TO 'a'@'b'",
            "GRANT `role` TO `a`@`b`",
            "SET DEFAULT ROLE `role` FOR `a`@`b`",
        ];
        let lines = lines.map(str::to_owned);
        let expected = privileges(&[
            ("*.*", &["USAGE"]),
            ("`d`.*", &["ALL", "GRANT"]),
            ("`d`.`t`", &["SELECT (x, y)", "INSERT"]),
        ]);
        assert_eq!(Privileges::shown(&lines), Ok(expected));
        assert!(Privileges::shown(&["no grant".to_owned()]).is_err());
    }

    #[test]
    fn only_what_differs_is_granted_and_revoked() {
        let texts = |text: &str| {
            text.split(' ')
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for (current, wanted, how, grant, revoke) in [
            (
                "SELECT INSERT",
                "SELECT UPDATE",
                How::Replace,
                "UPDATE",
                "INSERT",
            ),
            ("SELECT INSERT", "SELECT UPDATE", How::Append, "UPDATE", ""),
            (
                "SELECT INSERT",
                "SELECT UPDATE",
                How::Subtract,
                "",
                "SELECT",
            ),
            ("SELECT GRANT", "ALL", How::Replace, "ALL", "GRANT"),
            ("ALL", "ALL GRANT", How::Replace, "GRANT USAGE", ""),
        ] {
            let found = Difference::between(&texts(current), &texts(wanted), how);
            let expected = Difference {
                grant: texts(grant),
                revoke: texts(revoke),
            };
            assert_eq!(found, expected, "{current} to {wanted}");
        }
    }
}
