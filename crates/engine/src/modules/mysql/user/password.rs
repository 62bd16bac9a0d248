//! An account's password, when it expires, and by which plugin it is proved.

use super::super::connection::SqlError;
use super::{Done, Session, Want, hash};
use crate::args::Args;
use crate::module::Failure;

/// What a task says of the password; what is empty is not said.
pub(super) struct Given<'a> {
    password: Option<&'a str>,
    is_hash: bool,
    plugin: Option<&'a str>,
    hash: Option<&'a str>,
    auth: Option<&'a str>,
    salt: Option<&'a str>,
}

impl<'a> Given<'a> {
    pub(super) fn read(args: &'a Args) -> Self {
        let given = |name: &str| args.str(name).filter(|text| !text.is_empty());
        Self {
            password: given("password"),
            is_hash: args.bool("encrypted"),
            plugin: given("plugin"),
            hash: given("plugin_hash_string"),
            auth: given("plugin_auth_string"),
            salt: given("salt"),
        }
    }
}

/// When a password expires.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Now,
    Never,
    Default,
    Days(Option<i64>),
}

impl Expiry {
    pub(super) fn read(args: &Args) -> Option<Self> {
        Some(match args.str("password_expire")? {
            "now" => Self::Now,
            "never" => Self::Never,
            "default" => Self::Default,
            _ => Self::Days(args.int("password_expire_interval")),
        })
    }

    fn clause(&self) -> Result<String, Failure> {
        Ok(match self {
            Self::Now => "PASSWORD EXPIRE".to_owned(),
            Self::Never => "PASSWORD EXPIRE NEVER".to_owned(),
            Self::Default => "PASSWORD EXPIRE DEFAULT".to_owned(),
            Self::Days(Some(days)) => format!("PASSWORD EXPIRE INTERVAL {days} DAY"),
            Self::Days(None) => {
                let msg = "password_expire is interval, and password_expire_interval is missing";
                return Err(Failure::new(msg));
            }
        })
    }
}

/// Whether a text is a hash of `mysql_native_password`.
fn is_hash(text: &str) -> bool {
    let digits = text.strip_prefix('*');
    digits.is_some_and(|digits| {
        digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// What `%s@%s` of a query that makes or changes an account is identified by, and the values in it.
fn by_plugin(given: &Given<'_>, plugin: &str) -> Result<(String, Vec<String>), Failure> {
    let with = |more: &str, value: Option<&str>| {
        let values = std::iter::once(plugin).chain(value);
        let clause = format!("IDENTIFIED WITH %s{more}");
        Ok((clause, values.map(str::to_owned).collect()))
    };
    match (given.hash, given.auth, given.salt) {
        (Some(hash), ..) => with(" AS %s", Some(hash)),
        (None, Some(auth), _) if plugin == "pam" => with(" USING %s", Some(auth)),
        (None, Some(auth), _) if plugin == "ed25519" => with(" USING PASSWORD(%s)", Some(auth)),
        (None, Some(auth), Some(salt)) => {
            let digits = hex::encode_upper(hash::of(auth, salt));
            with(&format!(" AS 0x{digits}"), None)
        }
        (None, Some(auth), None) => with(" BY %s", Some(auth)),
        (None, None, _) => with("", None),
    }
}

impl Session {
    /// Returns the query that makes an account, its values, and whether the password is that of others.
    pub(super) fn creation(
        &mut self,
        want: &Want<'_>,
        reuse: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(String, Vec<String>, bool), Failure> {
        let reused = match reuse {
            true => self.existing(want.user, warnings)?,
            false => None,
        };
        let given = &want.password;
        let native = "IDENTIFIED WITH mysql_native_password AS %s".to_owned();
        let (clause, values) = if let Some((plugin, hash)) = &reused {
            let known = Given {
                password: None,
                is_hash: false,
                plugin: Some(plugin.as_str()),
                hash: Some(hash.as_str()).filter(|hash| !hash.is_empty()),
                ..*given
            };
            by_plugin(&known, plugin)?
        } else if let Some(password) = given.password {
            let takes_hashes = self.server.is_mariadb || !self.server.is_at_least(&[8]);
            match given.is_hash {
                true if takes_hashes => (
                    "IDENTIFIED BY PASSWORD %s".to_owned(),
                    vec![password.to_owned()],
                ),
                true => (native, vec![password.to_owned()]),
                false if self.is_old() => {
                    ("IDENTIFIED BY %s".to_owned(), vec![password.to_owned()])
                }
                false => (native, vec![self.hash(password)?]),
            }
        } else if let Some(plugin) = given.plugin {
            by_plugin(given, plugin)?
        } else {
            (String::new(), Vec::new())
        };
        let account = [want.user.to_owned(), want.host.clone()];
        let query = format!("CREATE USER %s@%s {clause}").trim_end().to_owned();
        let values = account.into_iter().chain(values).collect();
        Ok((query, values, reused.is_some()))
    }

    /// Returns the plugin and the hash that all accounts of this name have.
    fn existing(
        &mut self,
        user: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<(String, String)>, SqlError> {
        let query = match self.server.is_mariadb {
            true => {
                "select plugin, auth from (select plugin, password as auth from mysql.user where user=%s \
                 union select plugin, authentication_string as auth from mysql.user where user=%s) x \
                 group by plugin, auth"
            }
            false => {
                "select plugin, authentication_string as auth from mysql.user where user=%s \
                 group by plugin, authentication_string"
            }
        };
        let values = [user, user];
        let values = &values[..query.matches("%s").count()];
        let rows = self.connection.execute(query, values)?.rows;
        let mut rows = rows.into_iter().map(|row| {
            let mut texts = row.into_iter().map(Option::unwrap_or_default);
            (
                texts.next().unwrap_or_default(),
                texts.next().unwrap_or_default(),
            )
        });
        let first = rows.next();
        if first.is_some() && rows.next().is_some() {
            warnings.push(format!(
                "An account with the username {user} has a different password than the others existing accounts. Thus \
                 on_new_username can't decide which password to reuse so it will use your provided password instead. If no \
                 password is provided, the account will have an empty password!"
            ));
            return Ok(None);
        }
        Ok(first)
    }

    /// Lets the server hash a password for `mysql_native_password`.
    fn hash(&mut self, password: &str) -> Result<String, SqlError> {
        let query = match self.is_old() {
            true => "SELECT PASSWORD(%s)",
            false => "SELECT CONCAT('*', UCASE(SHA1(UNHEX(SHA1(%s)))))",
        };
        Ok(self
            .connection
            .value(query, &[password])?
            .unwrap_or_default())
    }

    pub(super) fn change_password(
        &mut self,
        want: &Want<'_>,
        [user, host]: [&str; 2],
        done: &mut Done,
    ) -> Result<(), Failure> {
        let Some(password) = want.password.password else {
            return Ok(());
        };
        let current = self.current_hash([user, host])?;
        let wanted = match want.password.is_hash {
            true if !is_hash(password) => {
                return Err(Failure::new(
                    "encrypted was specified however it does not appear to be a valid hash expecting: \
                     *SHA1(SHA1(your_password))",
                ));
            }
            true => password.to_owned(),
            false => self.hash(password)?,
        };
        if current.as_deref() == Some(wanted.as_str()) {
            return Ok(());
        }
        done.password_changed = Some(true);
        done.changed = true;
        done.msg = "Password updated".into();
        if want.check {
            return Ok(());
        }
        if self.is_old() {
            let query = "SET PASSWORD FOR %s@%s = %s";
            self.connection.execute(query, &[user, host, &wanted])?;
            done.msg = "Password updated (old style)".into();
            return Ok(());
        }
        let query = "ALTER USER %s@%s IDENTIFIED WITH mysql_native_password AS %s";
        match self.connection.execute(query, &[user, host, &wanted]) {
            Ok(_) => done.msg = "Password updated (new style)".into(),
            // So a server refuses it for an administrator without a password.
            Err(error) if error.code() == Some(1396) => {
                let query = "UPDATE mysql.user SET plugin = %s, authentication_string = %s, Password = '' \
                             WHERE User = %s AND Host = %s";
                let values = ["mysql_native_password", &wanted, user, host];
                self.connection.execute(query, &values)?;
                self.connection.execute("FLUSH PRIVILEGES", &[])?;
                done.msg = "Password forced update".into();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns the hash of an account, from the column that has one.
    fn current_hash(&mut self, account: [&str; 2]) -> Result<Option<String>, SqlError> {
        let mut column = |order: &str| {
            let query = format!(
                "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME = 'user' \
                 AND COLUMN_NAME IN ('Password', 'authentication_string') ORDER BY COLUMN_NAME {order} LIMIT 1"
            );
            self.connection.value(&query, &[])
        };
        let (a, b) = (
            column("DESC")?.unwrap_or_default(),
            column("ASC")?.unwrap_or_default(),
        );
        let query = format!(
            "SELECT COALESCE(CASE WHEN {a} = '' THEN NULL ELSE {a} END, CASE WHEN {b} = '' THEN NULL ELSE {b} END) \
             FROM mysql.user WHERE user = %s AND host = %s"
        );
        self.connection.value(&query, &account)
    }

    pub(super) fn refuse_expiry(&self) -> Result<(), Failure> {
        if self.server.is_since(&[10, 4, 3], &[5, 7]) {
            return Ok(());
        }
        Err(Failure::new(
            "The server version does not match the requirements for password_expire parameter. See module's documentation.",
        ))
    }

    pub(super) fn expire(
        &mut self,
        user: &str,
        host: &str,
        expiry: &Expiry,
    ) -> Result<(), Failure> {
        let query = format!("ALTER USER %s@%s {}", expiry.clause()?);
        self.connection.execute(&query, &[user, host])?;
        Ok(())
    }

    pub(super) fn change_expiry(
        &mut self,
        want: &Want<'_>,
        account: [&str; 2],
        done: &mut Done,
    ) -> Result<(), Failure> {
        let Some(expiry) = &want.expiry else {
            return Ok(());
        };
        self.refuse_expiry()?;
        let query = match self.server.is_mariadb {
            true => {
                "SELECT JSON_EXTRACT(Priv, '$.password_lifetime') AS password_lifetime FROM mysql.global_priv \
                 WHERE User = %s AND Host = %s"
            }
            false => {
                "SELECT IFNULL(password_lifetime, -1) FROM mysql.user WHERE User = %s AND Host = %s"
            }
        };
        let policy = self.connection.value(query, &account)?;
        let policy: i64 = match policy.as_deref().map(str::parse) {
            Some(Ok(policy)) => policy,
            // MariaDB keeps none where none was ever set.
            _ => -1,
        };
        let query = "SELECT password_expired FROM mysql.user WHERE User = %s AND Host = %s";
        let expired = self.connection.value(query, &account)?;
        let fits = match expiry {
            Expiry::Default => policy == -1,
            Expiry::Never => policy == 0,
            Expiry::Days(days) => Some(policy) == *days,
            Expiry::Now => expired.as_deref() == Some("Y"),
        };
        if !fits && !want.check {
            self.expire(account[0], account[1], expiry)?;
            done.password_changed = Some(true);
            done.changed = true;
        }
        Ok(())
    }

    pub(super) fn change_plugin(
        &mut self,
        want: &Want<'_>,
        [user, host]: [&str; 2],
        done: &mut Done,
    ) -> Result<(), Failure> {
        let given = &want.password;
        let Some(plugin) = given.plugin else {
            return Ok(());
        };
        let query =
            "SELECT plugin, authentication_string FROM mysql.user WHERE user = %s AND host = %s";
        let row = self
            .connection
            .row(query, &[user, host])?
            .unwrap_or_default();
        let mut row = row.into_iter();
        let (current, hash) = (row.next().flatten(), row.next().flatten());
        let is = |text: &str| hash.as_deref() == Some(text);
        let other_hash = given.hash.is_some_and(|hash| !is(hash));
        let other_auth = match (given.auth, given.salt) {
            (Some(auth), Some(salt)) => !is(&hash::of(auth, salt)),
            // The plugin makes of it what it likes, so it seems to be another one.
            (Some(auth), None) => !is(auth),
            (None, _) => false,
        };
        if current.as_deref() == Some(plugin) && !other_hash && !other_auth {
            return Ok(());
        }
        done.password_changed = Some(true);
        done.changed = true;
        if !want.check {
            let (clause, values) = by_plugin(given, plugin)?;
            let account = [user, host];
            let values: Vec<&str> = account
                .into_iter()
                .chain(values.iter().map(String::as_str))
                .collect();
            let query = format!("ALTER USER %s@%s {clause}");
            self.connection.execute(&query, &values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_a_star_and_forty_digits() {
        assert!(is_hash("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"));
        assert!(!is_hash("2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"));
        assert!(!is_hash("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E1G"));
    }

    #[test]
    fn a_plugin_is_named_with_what_the_server_expects() {
        let none = || Given {
            password: None,
            is_hash: false,
            plugin: None,
            hash: None,
            auth: None,
            salt: None,
        };
        let auth = |auth| Given {
            auth: Some(auth),
            ..none()
        };
        for (given, plugin, clause, values) in [
            (
                none(),
                "unix_socket",
                "IDENTIFIED WITH %s",
                &["unix_socket"][..],
            ),
            (
                auth("x"),
                "pam",
                "IDENTIFIED WITH %s USING %s",
                &["pam", "x"],
            ),
            (
                auth("x"),
                "ed25519",
                "IDENTIFIED WITH %s USING PASSWORD(%s)",
                &["ed25519", "x"],
            ),
            (
                auth("x"),
                "caching_sha2_password",
                "IDENTIFIED WITH %s BY %s",
                &["caching_sha2_password", "x"],
            ),
        ] {
            let (text, bound) = by_plugin(&given, plugin).unwrap();
            assert_eq!((text.as_str(), bound.len()), (clause, values.len()));
            assert!(bound.iter().eq(values));
        }
    }
}
