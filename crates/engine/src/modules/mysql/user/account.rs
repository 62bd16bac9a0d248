//! An account as a whole: made, or changed part by part.

use serde_json::{Map, Value as Json};

use super::super::connection::SqlError;
use super::{Done, How, Session, Want};
use crate::module::Failure;
use crate::modules::paths::python_json;

const NO_ATTRIBUTES: &str =
    "user attributes were specified but the server does not support user attributes";

impl Session {
    pub(super) fn add(&mut self, want: &Want<'_>, reuse: bool) -> Result<Done, Failure> {
        if want.attributes.is_some() && !self.has_attributes() {
            return Err(Failure::new(NO_ATTRIBUTES));
        }
        let mut done = Done {
            changed: true,
            msg: "User added".into(),
            ..Done::default()
        };
        if want.check {
            done.attributes = want.attributes.cloned().map_or(Json::Null, Json::from);
            return Ok(done);
        }
        let account = [want.user, want.host.as_str()];
        let (query, values, reused) = self.creation(want, reuse, &mut done.warnings)?;
        done.password_changed = Some(!reused);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let query = match &want.requirements {
            Some(needs) if !self.is_old() => {
                format!("{query} REQUIRE {}", needs.clause(&self.connection))
            }
            _ => query,
        };
        self.connection.execute(&query, &values)?;
        if let Some(expiry) = &want.expiry {
            self.refuse_expiry()?;
            self.expire(want.user, &want.host, expiry)?;
        }
        // Without them nothing is granted that was only to be taken away.
        if let Some(privileges) = want
            .privileges
            .as_ref()
            .filter(|_| want.how != How::Subtract)
        {
            for (object, granted) in privileges.iter() {
                self.grant(account, object, granted, want.requirements.as_ref())?;
            }
        }
        if want.requirements.is_some() {
            let granted = self.global_grants(account)?;
            self.grant(account, "*.*", &granted, want.requirements.as_ref())?;
        }
        if let Some(attributes) = want.attributes {
            self.set_attributes(account, attributes)?;
            done.attributes = self.attributes(account)?;
        }
        if want.locked == Some(true) {
            self.connection
                .execute("ALTER USER %s@%s ACCOUNT LOCK", &account)?;
        }
        Ok(done)
    }

    /// Makes an account that is there what the task wants; of its password only if that is to be updated.
    pub(super) fn change(&mut self, want: &Want<'_>, password: bool) -> Result<Done, Failure> {
        let mut done = Done {
            msg: "User unchanged".into(),
            password_changed: Some(false),
            ..Done::default()
        };
        let mut with_grant_option = false;
        for host in self.hosts(want)? {
            let account = [want.user, host.as_str()];
            if password {
                self.change_password(want, account, &mut done)?;
            }
            self.change_expiry(want, account, &mut done)?;
            if password {
                self.change_plugin(want, account, &mut done)?;
            }
            if let Some(privileges) = &want.privileges {
                self.change_privileges(
                    want,
                    account,
                    privileges,
                    &mut with_grant_option,
                    &mut done,
                )?;
            }
            self.change_attributes(want, account, &mut done)?;
            self.change_lock(want, account, &mut done)?;
            self.change_requirements(want, account, &mut done)?;
        }
        Ok(done)
    }

    fn change_attributes(
        &mut self,
        want: &Want<'_>,
        account: [&str; 2],
        done: &mut Done,
    ) -> Result<(), Failure> {
        let supported = self.has_attributes();
        done.attributes = Json::Object(Map::new());
        let Some(wanted) = want.attributes else {
            if supported {
                done.attributes = self.attributes(account)?;
            }
            return Ok(());
        };
        if !supported {
            return Err(Failure::new(NO_ATTRIBUTES));
        }
        let current = self.attributes(account)?;
        let known = current.as_object().cloned().unwrap_or_default();
        let differs = |(name, value): &(&String, &Json)| known.get(*name) != Some(*value);
        let differing: Map<String, Json> = wanted
            .iter()
            .filter(differs)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if differing.is_empty() {
            done.attributes = Json::Object(known);
            return Ok(());
        }
        let shown = |value: &Json| match value {
            Json::String(text) => text.clone(),
            Json::Null => "None".to_owned(),
            Json::Bool(true) => "True".to_owned(),
            Json::Bool(false) => "False".to_owned(),
            other => other.to_string(),
        };
        let each = differing
            .iter()
            .map(|(name, value)| format!("{name}: {}", shown(value)));
        done.msg = format!(
            "Attributes updated: {}",
            each.collect::<Vec<_>>().join(", ")
        )
        .into();
        done.changed = true;
        if !want.check {
            self.set_attributes(account, &differing)?;
            done.attributes = self.attributes(account)?;
            return Ok(());
        }
        let mut foreseen = known;
        foreseen.extend(differing);
        foreseen.retain(|_, value| !value.is_null());
        done.attributes = match foreseen.is_empty() {
            true => Json::Null,
            false => Json::Object(foreseen),
        };
        Ok(())
    }

    fn change_lock(
        &mut self,
        want: &Want<'_>,
        account: [&str; 2],
        done: &mut Done,
    ) -> Result<(), SqlError> {
        let Some(locked) = want.locked else {
            return Ok(());
        };
        let shown = self.connection.value("SHOW CREATE USER %s@%s", &account)?;
        let is_locked =
            shown.is_some_and(|text| text.find("ACCOUNT LOCK").is_some_and(|at| at > 0));
        if is_locked == locked {
            return Ok(());
        }
        let word = if locked { "locked" } else { "unlocked" };
        done.changed = true;
        done.msg = format!("User will be {word}").into();
        if !want.check {
            let verb = if locked { "LOCK" } else { "UNLOCK" };
            let query = format!("ALTER USER %s@%s ACCOUNT {verb}");
            self.connection.execute(&query, &account)?;
            done.msg = format!("User {word}").into();
        }
        Ok(())
    }

    fn has_attributes(&mut self) -> bool {
        let query = "SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES LIMIT 0";
        self.connection.query(query).is_ok()
    }

    fn set_attributes(
        &mut self,
        [user, host]: [&str; 2],
        attributes: &Map<String, Json>,
    ) -> Result<(), SqlError> {
        let text = python_json(&Json::Object(attributes.clone()));
        let query = "ALTER USER %s@%s ATTRIBUTE %s";
        self.connection.execute(query, &[user, host, &text])?;
        Ok(())
    }

    /// Returns the attributes of an account; none of them is null.
    fn attributes(&mut self, account: [&str; 2]) -> Result<Json, SqlError> {
        let query = "SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES WHERE user = %s AND host = %s";
        let text = self.connection.value(query, &account)?;
        let read = text.and_then(|text| serde_json::from_str::<Map<String, Json>>(&text).ok());
        Ok(read
            .filter(|map| !map.is_empty())
            .map_or(Json::Null, Json::Object))
    }
}
