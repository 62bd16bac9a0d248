//! `community.mysql.mysql_query`: queries as they are written.

use std::time::Instant;

use amibake_playbook::value::Value;
use serde_json::{Map, Value as Json, json};

use super::connection::{Answer, Column, Connection, SqlError};
use super::{Way, begin_session, connect, not_connected, sql};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

/// What changes rows, if there are any.
const CHANGING: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE"];
/// What changes tables, whatever is in them.
const DEFINING: &[&str] = &["CREATE", "DROP", "ALTER", "RENAME", "TRUNCATE"];
/// So much of a query's beginning is searched for those.
const SEARCHED: usize = 8;

pub(in crate::modules) struct MysqlQuery;

impl ActionModule for MysqlQuery {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let queries = queries(args)?;
        if context.check {
            return Ok(super::skipped("mysql_query"));
        }
        let way = Way {
            database: args.str("login_db").unwrap_or_default(),
            ..Way::default()
        };
        let connected = connect(args, way, context);
        let (mut connection, _) = connected.map_err(|why| not_connected(args, &why))?;
        let together = args.bool("single_transaction");
        if together {
            connection.query("SET AUTOCOMMIT = 0")?;
        }
        begin_session(&mut connection, args)?;
        let mut told = Told::default();
        for query in &queries {
            if let Err(error) = told.run(&mut connection, query, args) {
                if together {
                    connection.query("ROLLBACK")?;
                }
                let given = Value::from_json(&given(args).unwrap_or(Json::Null)).repr();
                let msg = format!("Cannot execute SQL '{query}' args [{given}]: {error}");
                return Err(Failure::new(msg));
            }
        }
        if together {
            connection.query("COMMIT")?;
        }
        Ok(told.outcome())
    }
}

fn queries(args: &Args) -> Result<Vec<String>, Failure> {
    let kind = |value: &Json| Value::from_json(value).type_name();
    let wrong = |value: &Json| {
        Failure::new(format!(
            "the query option value must be a string or list, passed <class '{}'>",
            kind(value)
        ))
    };
    match args.raw("query") {
        Some(Json::String(query)) => Ok(vec![query.clone()]),
        Some(Json::Array(queries)) => {
            let each = queries.iter().map(|query| {
                let text = query.as_str().map(str::to_owned);
                text.ok_or_else(|| {
                    let shown = Value::from_json(query);
                    Failure::new(format!(
                        "the elements in query list must be strings, passed '{shown}' <class '{}'>",
                        kind(query)
                    ))
                })
            });
            each.collect()
        }
        other => Err(wrong(other.unwrap_or(&Json::Null))),
    }
}

/// Returns what the parameters of queries stand for: a list, or a mapping.
fn given(args: &Args) -> Option<Json> {
    let named = ["positional_args", "named_args"].into_iter();
    let mut given = named.filter_map(|name| args.raw(name));
    given
        .find(|value| match value {
            Json::Array(items) => !items.is_empty(),
            Json::Object(map) => !map.is_empty(),
            _ => false,
        })
        .cloned()
}

/// Puts the values of a task into a query.
fn bound(connection: &Connection, query: &str, args: &Args) -> Result<String, SqlError> {
    match given(args) {
        Some(Json::Array(values)) => {
            let values: Vec<String> = values.iter().map(|v| connection.literal(v)).collect();
            let marks = query.replace("%%", "").matches("%s").count();
            match marks.cmp(&values.len()) {
                std::cmp::Ordering::Equal => Ok(sql::filled(query, &values)),
                std::cmp::Ordering::Greater => Err(SqlError::Values(
                    "not enough arguments for format string".to_owned(),
                )),
                std::cmp::Ordering::Less => Err(SqlError::Values(
                    "not all arguments converted during string formatting".to_owned(),
                )),
            }
        }
        Some(Json::Object(values)) => named(connection, query, &values),
        _ => Ok(query.to_owned()),
    }
}

/// Puts values in the places of `%(name)s`.
fn named(
    connection: &Connection,
    query: &str,
    values: &Map<String, Json>,
) -> Result<String, SqlError> {
    let (mut text, mut rest) = (String::new(), query);
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let inner = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(")s"));
        let Some((name, after)) = inner else {
            return Err(SqlError::Values("format requires a mapping".to_owned()));
        };
        let value = values.get(name);
        let value = value.ok_or_else(|| SqlError::Values(super::connection::quoted(name)))?;
        text.push_str(&connection.literal(value));
        rest = after;
    }
    Ok(text + rest)
}

/// What was run so far, and what came back.
#[derive(Default)]
struct Told {
    changed: bool,
    queries: Vec<String>,
    results: Vec<Json>,
    counts: Vec<u64>,
    milliseconds: Vec<f64>,
}

impl Told {
    fn run(
        &mut self,
        connection: &mut Connection,
        query: &str,
        args: &Args,
    ) -> Result<(), SqlError> {
        let bound = bound(connection, query, args)?;
        let begun = Instant::now();
        let answer = connection.query(&bound)?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        self.milliseconds.push((took * 10_000.0).round() / 10_000.0);
        let begin: String = query.trim_start().chars().take(SEARCHED).collect();
        let begin = begin.to_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| begin.contains(word));
        self.changed |= has(DEFINING) || (has(CHANGING) && answer.affected > 0);
        self.counts.push(answer.affected);
        self.results.push(rows(&answer));
        self.queries.push(bound);
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let fields = json!({
            "executed_queries": self.queries, "query_result": self.results, "rowcount": self.counts,
            "execution_time_ms": self.milliseconds,
        });
        Outcome::of(self.changed, fields)
    }
}

/// Returns each row as a mapping; a column whose name another has is called by its table, too.
fn rows(answer: &Answer) -> Json {
    let mut names: Vec<String> = Vec::new();
    for column in &answer.columns {
        let taken = names.contains(&column.name);
        names.push(match taken {
            true => format!("{}.{}", column.table, column.name),
            false => column.name.clone(),
        });
    }
    let each = answer.rows.iter().map(|row| {
        let values = row
            .iter()
            .zip(&answer.columns)
            .map(|(text, column)| value(text.as_deref(), column));
        let pairs = names.iter().cloned().zip(values);
        Json::Object(pairs.collect())
    });
    each.collect()
}

/// Returns a value as Python has it, as far as JSON can say that.
fn value(text: Option<&str>, column: &Column) -> Json {
    const TINY: u8 = 1;
    const YEAR: u8 = 13;
    const WHOLE: &[u8] = &[TINY, 2, 3, 8, 9, YEAR];
    const FRACTIONS: &[u8] = &[4, 5];
    const MOMENTS: &[u8] = &[7, 12];
    let Some(text) = text else {
        return Json::Null;
    };
    let number = match column.kind {
        kind if WHOLE.contains(&kind) => serde_json::from_str(text).ok(),
        kind if FRACTIONS.contains(&kind) => text.parse::<f64>().ok().map(Json::from),
        kind if MOMENTS.contains(&kind) && !text.starts_with("0000") => {
            Some(text.replacen(' ', "T", 1).into())
        }
        _ => None,
    };
    number.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_mapping_of_what_python_would_have() {
        let column = |name: &str, kind| Column {
            table: "t".to_owned(),
            name: name.to_owned(),
            kind,
        };
        let answer = Answer {
            affected: 1,
            columns: vec![
                column("a", 3),
                column("a", 253),
                column("d", 12),
                column("f", 5),
                column("n", 3),
            ],
            rows: vec![vec![
                Some("7".to_owned()),
                Some("x".to_owned()),
                Some("2024-02-03 04:05:06".to_owned()),
                Some("1.5".to_owned()),
                None,
            ]],
        };
        let expected =
            json!([{"a": 7, "t.a": "x", "d": "2024-02-03T04:05:06", "f": 1.5, "n": null}]);
        assert_eq!(rows(&answer), expected);
    }
}
