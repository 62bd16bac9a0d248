//! `community.mysql.mysql_variables`: what a server does, as its variables say.

use serde_json::{Value as Json, json};

use super::connection::{Connection, SqlError};
use super::{Way, connect, sql, uncaught, unconnected};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(in crate::modules) struct MysqlVariables;

impl ActionModule for MysqlVariables {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let variable = args.required("variable")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if variable.is_empty() || !variable.bytes().all(plain) {
            let msg = format!("invalid variable name \"{variable}\"");
            return Err(Failure::new(msg));
        }
        if context.check {
            return Ok(super::skipped("mysql_variables"));
        }
        let way = Way {
            database: "mysql",
            ..Way::default()
        };
        let connected = connect(args, way, context);
        let (mut connection, _) = connected.map_err(|why| unconnected(args, &why))?;
        let shown = connection.execute("SHOW VARIABLES WHERE Variable_name = %s", &[variable]);
        let rows = shown.map_err(uncaught)?.rows;
        let [row] = &rows[..] else {
            let msg = format!("Variable not available \"{variable}\"");
            return Err(Failure::new(msg));
        };
        let current = row.get(1).cloned().flatten().unwrap_or_default();
        let Some(value) = args.str("value") else {
            return Ok(Outcome::of(false, json!({"msg": current})));
        };
        let mode = args.required("mode")?;
        let stored = match mode {
            "global" => None,
            _ => stored(&mut connection, variable)?,
        };
        let actual = match mode {
            "persist_only" => stored.as_deref().map_or(Json::Bool(false), typed),
            _ => typed(&current),
        };
        let wanted = like(typed(value), &actual);
        let is = |known: &Json| are_equal(&wanted, known);
        let is_stored = stored
            .as_deref()
            .map(typed)
            .is_some_and(|stored| is(&stored));
        let done = match mode {
            "global" if is(&actual) => "Variable is already set to requested value.",
            "persist" if is(&actual) && is_stored => {
                "Variable is already set to requested value globallyand stored into mysqld-auto.cnf file."
            }
            "persist_only" if is_stored => {
                "Variable is already stored into mysqld-auto.cnf with requested value."
            }
            _ => return set(&mut connection, variable, &wanted, mode, &actual),
        };
        Ok(Outcome::of(false, json!({"msg": done})))
    }
}

fn set(
    connection: &mut Connection,
    variable: &str,
    wanted: &Json,
    mode: &str,
    actual: &Json,
) -> Result<Outcome, Failure> {
    let name = sql::identifier(variable, "vars").map_err(Failure::new)?;
    let query = format!("SET {} {name} = ", mode.to_uppercase());
    let bound = format!("{query}{}", connection.literal(wanted));
    connection.query(&bound)?;
    let queries = [format!("{query}{}", shown(wanted))];
    let msg = format!("Variable change succeeded prev_value={}", shown(actual));
    Ok(Outcome::of(true, json!({"msg": msg, "queries": queries})))
}

/// Returns the value that MySQL keeps for its next start.
fn stored(connection: &mut Connection, variable: &str) -> Result<Option<String>, Failure> {
    let query = "SELECT VARIABLE_VALUE FROM performance_schema.persisted_variables WHERE VARIABLE_NAME = %s";
    match connection.value(query, &[variable]) {
        Ok(value) => Ok(value),
        Err(SqlError::Refused { message, .. })
            if message.contains("persisted_variables' doesn't exist") =>
        {
            Err(Failure::new("Server version must be 8.0 or greater."))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a number where the text is one.
fn typed(text: &str) -> Json {
    let bare = text.trim();
    if let Ok(number) = bare.parse::<i64>() {
        return number.into();
    }
    let digits = bare.bytes().any(|byte| byte.is_ascii_digit());
    match bare.parse::<f64>() {
        Ok(number) if digits => number.into(),
        _ => text.into(),
    }
}

/// Returns what is wanted in the words of a switch, where it is one.
fn like(wanted: Json, actual: &Json) -> Json {
    let is_switch = |value: &Json| matches!(value.as_str(), Some("ON" | "OFF"));
    if !is_switch(actual) || is_switch(&wanted) {
        return wanted;
    }
    let is = |word: &str, number: f64| {
        wanted.as_str() == Some(word) || are_equal(&wanted, &Json::from(number))
    };
    match () {
        () if is("on", 1.0) => "ON".into(),
        () if is("off", 0.0) => "OFF".into(),
        () => wanted,
    }
}

fn are_equal(a: &Json, b: &Json) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => a == b,
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_what_they_are() {
        assert!(are_equal(&typed("3"), &typed("3.0")));
        assert!(!are_equal(&typed("3"), &typed("three")));
        assert_eq!(typed("nan"), json!("nan"));
        for (wanted, expected) in [("1", "ON"), ("0", "OFF"), ("on", "ON"), ("OFF", "OFF")] {
            assert_eq!(
                like(typed(wanted), &json!("ON")),
                json!(expected),
                "{wanted}"
            );
        }
        assert_eq!(like(typed("1"), &json!(5)), json!(1));
    }
}
