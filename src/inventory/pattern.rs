//! Host patterns: `all`, names, groups, globs, `~regex`, `:` and `,`, `!` and `&`, `group[0]`.

use amibake_playbook::pyre::{Flags, ReError, Regex};

use super::{Inventory, InventoryError};

pub(super) fn matching(
    inventory: &Inventory,
    pattern: &str,
) -> Result<(Vec<String>, Vec<String>), InventoryError> {
    let (mut chosen, mut in_vain) = (Vec::<String>::new(), Vec::new());
    let parts = split(pattern);
    let of_kind = |kind: Option<char>| {
        parts.iter().filter(move |part| match kind {
            None => !part.starts_with(['!', '&']),
            Some(kind) => part.starts_with(kind),
        })
    };
    // As Ansible: what is added first, then intersections, then exclusions. Without anything
    // added, all hosts are.
    if of_kind(None).next().is_none() {
        chosen.clone_from(&inventory.hosts);
    }
    for part in of_kind(None) {
        let hosts = one(inventory, part)?;
        if hosts.is_empty() && !is_everything(part) {
            in_vain.push(part.clone());
        }
        chosen.extend(hosts);
    }
    for part in of_kind(Some('&')) {
        let hosts = one(inventory, &part[1..])?;
        chosen.retain(|host| hosts.contains(host));
    }
    for part in of_kind(Some('!')) {
        let hosts = one(inventory, &part[1..])?;
        chosen.retain(|host| !hosts.contains(host));
    }
    let within = |host: &&String| chosen.contains(host);
    Ok((
        inventory.hosts.iter().filter(within).cloned().collect(),
        in_vain,
    ))
}

fn is_everything(part: &str) -> bool {
    matches!(part, "all" | "*")
}

/// Splits at `,`, or else at `:` outside of brackets. An IPv6 address is one name.
fn split(pattern: &str) -> Vec<String> {
    let parts: Vec<String> = if pattern.contains(',') {
        pattern.split(',').map(str::to_owned).collect()
    } else if pattern.parse::<std::net::Ipv6Addr>().is_ok() {
        vec![pattern.to_owned()]
    } else {
        let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
        for c in pattern.chars() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            if c == ':' && depth == 0 {
                parts.push(std::mem::take(&mut part));
            } else {
                part.push(c);
            }
        }
        parts.push(part);
        parts
    };
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty()).collect()
}

fn one(inventory: &Inventory, part: &str) -> Result<Vec<String>, InventoryError> {
    if is_everything(part) {
        return Ok(inventory.hosts.clone());
    }
    if let Some(regex) = part.strip_prefix('~') {
        return by_regex(inventory, regex);
    }
    let (name, subscript) = match part.split_once('[') {
        Some((name, rest)) if rest.ends_with(']') && !name.is_empty() => {
            (name, rest.strip_suffix(']'))
        }
        _ => (part, None),
    };
    let hosts = named(inventory, name)?;
    match subscript {
        None => Ok(hosts),
        Some(subscript) => slice(&hosts, subscript).ok_or_else(|| InventoryError::Unsupported {
            what: format!("the subscript of `{part}`"),
        }),
    }
}

fn named(inventory: &Inventory, name: &str) -> Result<Vec<String>, InventoryError> {
    let pattern = glob::Pattern::new(name);
    fitting(inventory, |candidate| {
        let fits = |pattern: &glob::Pattern| pattern.matches(candidate);
        Ok(candidate == name || pattern.as_ref().is_ok_and(fits))
    })
}

/// As Python's `re.match`: from the start of a name, not necessarily to its end.
fn by_regex(inventory: &Inventory, regex: &str) -> Result<Vec<String>, InventoryError> {
    let wrong = |error: ReError| InventoryError::Pattern {
        pattern: format!("~{regex}"),
        source: error,
    };
    let compiled = Regex::new(&format!(r"\A(?:{regex})"), Flags::default()).map_err(wrong)?;
    fitting(inventory, |candidate| {
        compiled.is_match(candidate.as_bytes()).map_err(wrong)
    })
}

/// Returns the members of the groups whose names fit, then the hosts whose names do.
fn fitting(
    inventory: &Inventory,
    fits: impl Fn(&str) -> Result<bool, InventoryError>,
) -> Result<Vec<String>, InventoryError> {
    let mut hosts = Vec::new();
    for (group, members) in inventory.groups() {
        if fits(&group)? {
            hosts.extend(members);
        }
    }
    for host in &inventory.hosts {
        if fits(host)? {
            hosts.push(host.clone());
        }
    }
    Ok(hosts)
}

/// `[0]`, `[-1]`, `[1:3]` (both ends included), `[1:]`.
fn slice(hosts: &[String], subscript: &str) -> Option<Vec<String>> {
    let length = i64::try_from(hosts.len()).ok()?;
    let at = |text: &str, default: i64| -> Option<i64> {
        match text {
            "" => Some(default),
            text => text
                .parse()
                .ok()
                .map(|n: i64| if n < 0 { n + length } else { n }),
        }
    };
    let (first, last) = match subscript.split_once(':') {
        Some((first, last)) => (at(first, 0)?, at(last, length - 1)?),
        None => (at(subscript, 0)?, at(subscript, 0)?),
    };
    let first = usize::try_from(first).ok()?;
    let count = usize::try_from(last + 1).ok()?.saturating_sub(first);
    Some(hosts.iter().skip(first).take(count).cloned().collect())
}
