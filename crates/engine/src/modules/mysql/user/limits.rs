//! How much an account may use in an hour, and at once.

use serde_json::{Map, Value as Json};

use super::super::connection::SqlError;
use super::super::uncaught;
use super::{Session, Want};
use crate::module::Failure;

/// The limits that are known, by the column they lie in.
const LIMITS: &[(&str, &str)] = &[
    ("MAX_QUERIES_PER_HOUR", "max_questions"),
    ("MAX_UPDATES_PER_HOUR", "max_updates"),
    ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
    ("MAX_USER_CONNECTIONS", "max_user_connections"),
];
/// What MariaDB alone has.
const STATEMENT: (&str, &str) = ("MAX_STATEMENT_TIME", "max_statement_time");

impl Session {
    /// Sets the limits of an account that are others; returns whether there are any.
    pub(super) fn limit(
        &mut self,
        want: &Want<'_>,
        limits: &Map<String, Json>,
    ) -> Result<bool, Failure> {
        if !self.server.is_since(&[10, 2], &[5, 6]) {
            return Err(Failure::new(
                "The server version does not match the requirements for resource_limits parameter. See module's \
                 documentation.",
            ));
        }
        if !self.server.is_mariadb && limits.contains_key(STATEMENT.0) {
            let msg = "MAX_STATEMENT_TIME resource limit is only supported by MariaDB.";
            return Err(Failure::new(msg));
        }
        let account = [want.user, want.host.as_str()];
        let differing = match self.limits(account).map_err(uncaught)? {
            Some(current) => differing(&current, limits)?,
            // The account is not there yet.
            None => limits
                .iter()
                .map(|(name, value)| (name.clone(), number(value)))
                .collect(),
        };
        if differing.is_empty() || want.check {
            return Ok(!differing.is_empty());
        }
        let each: Vec<String> = differing
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let query = format!("ALTER USER %s@%s WITH {}", each.join(" "));
        let limited = self.connection.execute(&query, &account);
        limited.map_err(uncaught)?;
        Ok(true)
    }

    fn limits(&mut self, account: [&str; 2]) -> Result<Option<Vec<(&'static str, f64)>>, SqlError> {
        let known = LIMITS
            .iter()
            .chain(Some(&STATEMENT).filter(|_| self.server.is_mariadb));
        let known: Vec<_> = known.copied().collect();
        let columns: Vec<&str> = known.iter().map(|(_, column)| *column).collect();
        let query = format!(
            "SELECT {} FROM mysql.user WHERE User = %s AND Host = %s",
            columns.join(", ")
        );
        let Some(row) = self.connection.row(&query, &account)? else {
            return Ok(None);
        };
        let values = row.into_iter().map(|value| value?.parse().ok());
        let named = known.iter().zip(values);
        Ok(Some(
            named
                .map(|((name, _), value)| (*name, value.unwrap_or_default()))
                .collect(),
        ))
    }
}

/// Returns the limits that are others than those that hold.
fn differing(
    current: &[(&str, f64)],
    wanted: &Map<String, Json>,
) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for (name, value) in wanted {
        let Some((_, current)) = current.iter().find(|(known, _)| known == name) else {
            let msg = format!("resource_limits: key '{name}' is unsupported.");
            return Err(Failure::new(msg));
        };
        let text = number(value);
        let Ok(wanted) = text.parse::<i64>() else {
            let msg = format!("Can't convert value '{text}' to integer.");
            return Err(Failure::new(msg));
        };
        #[expect(clippy::cast_precision_loss, reason = "no limit comes near to 2^53")]
        let differs = (wanted as f64 - current).abs() > f64::EPSILON;
        if differs {
            all.push((name.clone(), text));
        }
    }
    Ok(all)
}

/// Returns a number, or a text that is one, without what Python's `int` drops.
fn number(value: &Json) -> String {
    match value {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(fraction) => format!("{:.0}", fraction.trunc()),
            None => number.to_string(),
        },
        Json::Bool(truth) => u8::from(*truth).to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_that_hold_are_left_alone() {
        let current = [("MAX_QUERIES_PER_HOUR", 10.0), ("MAX_STATEMENT_TIME", 0.0)];
        let wanted = json!({"MAX_QUERIES_PER_HOUR": "10", "MAX_STATEMENT_TIME": 5});
        let found = differing(&current, wanted.as_object().unwrap()).unwrap();
        assert_eq!(found, [("MAX_STATEMENT_TIME".to_owned(), "5".to_owned())]);
        for (wanted, why) in [
            (
                json!({"MAX": 1}),
                "resource_limits: key 'MAX' is unsupported.",
            ),
            (
                json!({"MAX_QUERIES_PER_HOUR": "x"}),
                "Can't convert value 'x' to integer.",
            ),
        ] {
            let failure = differing(&current, wanted.as_object().unwrap()).unwrap_err();
            assert_eq!(failure.msg, why);
        }
    }
}
