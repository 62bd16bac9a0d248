//! Tables of text with a separator, as Python's `csv` reads them.

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    pub delimiter: char,
    /// Whether blanks after a separator count for nothing.
    pub skip_initial_space: bool,
}

/// Where a reader stands in a cell.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// After a quote inside quotes, which ends them or stands for one.
    Ended,
}

/// Returns the rows; they may differ in length. Lines without anything in them are none.
#[must_use]
pub fn rows(text: &str, dialect: Dialect) -> Vec<Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Vec::new();
    let (mut row, mut cell) = (Vec::new(), String::new());
    let mut state = State::Start;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_line = matches!(c, '\n' | '\r');
        match state {
            State::Quoted if c == '"' => state = State::Ended,
            State::Quoted => cell.push(c),
            State::Ended if c == '"' => {
                cell.push('"');
                state = State::Quoted;
            }
            State::Start if c == '"' => state = State::Quoted,
            State::Start if c == ' ' && dialect.skip_initial_space => {}
            _ if ends_line => {
                if c == '\r' && chars.peek() == Some(&'\n') {
                    chars.next();
                }
                end_row(&mut rows, &mut row, &mut cell, state);
                state = State::Start;
            }
            _ if c == dialect.delimiter => {
                row.push(std::mem::take(&mut cell));
                state = State::Start;
            }
            _ => {
                cell.push(c);
                state = State::Plain;
            }
        }
    }
    end_row(&mut rows, &mut row, &mut cell, state);
    rows
}

fn end_row(rows: &mut Vec<Vec<String>>, row: &mut Vec<String>, cell: &mut String, state: State) {
    if row.is_empty() && state == State::Start {
        return;
    }
    row.push(std::mem::take(cell));
    rows.push(std::mem::take(row));
}
