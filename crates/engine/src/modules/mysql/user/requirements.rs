//! What TLS an account needs (`REQUIRE`).

use std::sync::LazyLock;

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json};

use super::super::connection::{Connection, SqlError};
use super::{Done, Session, Want};
use crate::module::Failure;
use crate::shlex;

/// `SSL`, `X509`, or what a certificate must have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Requirements {
    Ssl,
    X509,
    Certificate(Map<String, Json>),
}

impl Requirements {
    /// Reads what a task or a server says: more than one of the words makes the weaker ones idle.
    pub(super) fn sanitized(given: &Map<String, Json>) -> Option<Self> {
        if given.is_empty() {
            return None;
        }
        let mut upper: Map<String, Json> = given
            .iter()
            .map(|(name, value)| (name.to_uppercase(), value.clone()))
            .collect();
        if ["CIPHER", "ISSUER", "SUBJECT"]
            .iter()
            .any(|name| upper.contains_key(*name))
        {
            upper.retain(|name, _| name != "SSL" && name != "X509");
            return Some(Self::Certificate(upper));
        }
        Some(match upper.contains_key("X509") {
            true => Self::X509,
            false => Self::Ssl,
        })
    }

    /// Returns what stands behind `REQUIRE`.
    pub(super) fn clause(&self, connection: &Connection) -> String {
        match self {
            Self::Ssl => "SSL".to_owned(),
            Self::X509 => "X509".to_owned(),
            Self::Certificate(fields) => {
                let each = fields.iter().map(|(name, value)| {
                    format!("{name} {}", connection.literal(value).replace('%', "%%"))
                });
                each.collect::<Vec<_>>().join(" AND ")
            }
        }
    }
}

static REQUIRED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?<=\bREQUIRE\b)(.*?)(?=(?:\bPASSWORD\b|$))",
        Flags::default(),
    )
    .expect("the pattern is sound")
});

/// Reads them from the statement that MySQL shows for an account.
fn shown(statement: &str) -> Option<Map<String, Json>> {
    let found = REQUIRED.search(statement.as_bytes(), 0).ok().flatten();
    let text = found.map_or("", |found| statement[found.whole()].trim());
    let alone = |name: &str| Some(Map::from_iter([(name.to_owned(), Json::Null)]));
    match text {
        text if text.starts_with("NONE") => None,
        text if text.starts_with("SSL") => alone("SSL"),
        text if text.starts_with("X509") => alone("X509"),
        text => {
            let words = shlex::split(text).unwrap_or_default();
            let pairs = words.chunks_exact(2);
            let pairs = pairs.map(|pair| (pair[0].clone(), Json::from(pair[1].as_str())));
            Some(pairs.collect::<Map<_, _>>()).filter(|map| !map.is_empty())
        }
    }
}

impl Session {
    fn requirements(&mut self, [user, host]: [&str; 2]) -> Result<Option<Requirements>, SqlError> {
        if !self.server.is_mariadb {
            let verb = if self.is_old() {
                "GRANTS for"
            } else {
                "CREATE USER"
            };
            let query = format!("SHOW {verb} %s@%s");
            let row = self
                .connection
                .row(&query, &[user, host])?
                .unwrap_or_default();
            let text: String = row.into_iter().flatten().collect();
            return Ok(shown(&text).as_ref().and_then(Requirements::sanitized));
        }
        let query = "SELECT ssl_type, ssl_cipher, x509_issuer, x509_subject FROM mysql.user \
                     WHERE User = %s AND Host = %s";
        let row = self
            .connection
            .row(query, &[user, host])?
            .unwrap_or_default();
        let mut fields = Map::new();
        for (name, value) in ["", "CIPHER", "ISSUER", "SUBJECT"].into_iter().zip(row) {
            let (name, value) = match (name, value.unwrap_or_default().as_str()) {
                ("", "ANY") => ("SSL", Json::Null),
                ("", "X509") => ("X509", Json::Null),
                ("", _) | (_, "") => continue,
                (name, value) => (name, Json::from(value)),
            };
            fields.insert(name.to_owned(), value);
        }
        Ok(Requirements::sanitized(&fields))
    }

    pub(super) fn change_requirements(
        &mut self,
        want: &Want<'_>,
        account: [&str; 2],
        done: &mut Done,
    ) -> Result<(), Failure> {
        if self.requirements(account)? == want.requirements {
            return Ok(());
        }
        done.changed = true;
        done.msg = "TLS requires updated".into();
        if want.check {
            return Ok(());
        }
        let verb = match self.is_old() {
            true => format!("GRANT {} ON *.* TO", self.global_grants(account)?.join(",")),
            false => "ALTER USER".to_owned(),
        };
        let clause = match &want.requirements {
            Some(needs) => needs.clause(&self.connection),
            None => "NONE".to_owned(),
        };
        let query = format!("{verb} %s@%s REQUIRE {clause}");
        self.connection.execute(&query, &account)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(given: Json) -> Option<Requirements> {
        Requirements::sanitized(given.as_object().unwrap())
    }

    #[test]
    fn the_strongest_of_the_words_counts() {
        assert_eq!(read(json!({})), None);
        assert_eq!(read(json!({"ssl": null})), Some(Requirements::Ssl));
        assert_eq!(
            read(json!({"SSL": null, "x509": null})),
            Some(Requirements::X509)
        );
        let certificate = json!({"SUBJECT": "/CN=a"});
        assert_eq!(
            read(json!({"x509": null, "subject": "/CN=a"})),
            certificate
                .as_object()
                .cloned()
                .map(Requirements::Certificate)
        );
    }

    #[test]
    fn what_mysql_shows_is_read() {
        let statement = |needs: &str| {
            format!(
                "CREATE USER `a`@`b` IDENTIFIED WITH 'x' REQUIRE {needs} PASSWORD EXPIRE DEFAULT"
            )
        };
        assert_eq!(shown(&statement("NONE")), None);
        assert_eq!(
            shown(&statement("SSL")),
            json!({"SSL": null}).as_object().cloned()
        );
        let expected = json!({"SUBJECT": "/CN=a b", "ISSUER": "/CN=c"});
        assert_eq!(
            shown(&statement("SUBJECT '/CN=a b' ISSUER '/CN=c'")),
            expected.as_object().cloned()
        );
    }
}
