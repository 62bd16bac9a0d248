//! Names in SQL, with dots between their parts and quotes around each, as Ansible's database modules read them.

/// Returns the parts of a name, each in quotes.
///
/// # Errors
/// Ansible's complaint.
pub(super) fn parts(name: &str, quote: char) -> Result<Vec<String>, String> {
    if name.is_empty() {
        return Err("Identifier name unspecified or unquoted trailing dot".to_owned());
    }
    let end = name
        .strip_prefix(quote)
        .and_then(|rest| closing(rest, quote));
    let (first, rest) = match end {
        Some(end) => match name.split_at(end + 2) {
            (first, "") => return Ok(vec![first.to_owned()]),
            (first, rest) => {
                let rest = rest.strip_prefix('.');
                let rest = rest.ok_or("User escaped identifiers must escape extra quotes")?;
                (first.to_owned(), rest)
            }
        },
        None => match name.split_once('.') {
            Some((first, rest)) if !first.is_empty() && !rest.is_empty() => {
                (quoted(first, quote), rest)
            }
            _ => return Ok(vec![quoted(name, quote)]),
        },
    };
    let mut all = vec![first];
    all.extend(parts(rest, quote)?);
    Ok(all)
}

fn quoted(name: &str, quote: char) -> String {
    let inner = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{inner}{quote}")
}

/// Returns where the quote stands that ends a name; two of them are one in the name.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(quote)?;
        if !text[at + 1..].starts_with(quote) {
            return Some(at);
        }
        from = at + 2;
    }
}
