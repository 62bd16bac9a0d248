//! `serial`: a play goes through its hosts in batches, each of which begins when the one before has ended.

use std::rc::Rc;

use amibake_playbook::value::Value;

use super::eval;
use super::model::{Enclosing, Play};
use super::run::{Run, Stop};

/// Returns the hosts in batches, as Ansible makes them: the last of `sizes` goes on to the end.
fn batches(hosts: &[String], sizes: &[Value]) -> Result<Vec<Vec<String>>, String> {
    let mut batches = Vec::new();
    let (mut left, mut sizes) = (hosts, sizes.iter().peekable());
    let mut size = None;
    while !left.is_empty() {
        size = sizes.next().or(size);
        let count = match size {
            Some(size) => count(size, hosts.len())?,
            None => 0,
        };
        let count = match count {
            0 => left.len(),
            count => count.min(left.len()),
        };
        let (batch, rest) = left.split_at(count);
        batches.push(batch.to_vec());
        left = rest;
    }
    Ok(batches)
}

/// Reads `3` or `30%` of so many hosts; nothing sensible is zero, which stands for all.
fn count(size: &Value, hosts: usize) -> Result<usize, String> {
    let text = size.to_string();
    let wrong = || format!("`serial: {text}` is neither a number of hosts nor a share of them");
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
    let Some(share) = text.strip_suffix('%') else {
        return Ok(usize::try_from(number(&text)?).unwrap_or(0));
    };
    let share = usize::try_from(number(share)?).unwrap_or(0);
    Ok((hosts.saturating_mul(share) / 100).max(1))
}

impl Run<'_> {
    /// Returns the batches of a play's hosts.
    pub(super) fn batches(
        &self,
        play: &Play,
        hosts: &[String],
        enclosing: &Rc<Enclosing>,
    ) -> Result<Vec<Vec<String>>, Stop> {
        let Some(serial) = &play.serial else {
            return Ok(vec![hosts.to_vec()]);
        };
        let place = &play.place;
        let at = |why: String| Stop::new(format!("{}:{}: {why}", place.file, place.line));
        let rendered = self.render(serial, &self.vars.scope_of_play(), enclosing);
        let rendered = rendered.map_err(|error| at(error.to_string()))?;
        let sizes = match &rendered {
            Value::None | Value::Omit => Vec::new(),
            sizes => eval::items(sizes).unwrap_or_else(|| vec![rendered.clone()]),
        };
        batches(hosts, &sizes).map_err(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the sizes of the batches of so many hosts.
    fn sizes(hosts: usize, serial: &[Value]) -> Vec<usize> {
        let hosts: Vec<String> = (0..hosts).map(|n| n.to_string()).collect();
        let batches = batches(&hosts, serial).unwrap();
        assert_eq!(batches.concat(), hosts);
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn hosts_go_in_batches_of_the_sizes_given_the_last_of_which_goes_on() {
        assert_eq!(sizes(5, &[Value::Int(2)]), [2, 2, 1]);
        assert_eq!(sizes(6, &[Value::Int(1), Value::str("50%")]), [1, 3, 2]);
        assert_eq!(sizes(3, &[Value::str("10%")]), [1, 1, 1]);
        assert_eq!(sizes(4, &[Value::str("3")]), [3, 1]);
        assert_eq!(sizes(4, &[Value::Int(0)]), [4]);
        assert_eq!(sizes(4, &[]), [4]);
        assert_eq!(sizes(0, &[Value::Int(1)]), Vec::<usize>::new());
        assert!(batches(&["a".to_owned()], &[Value::str("many")]).is_err());
    }
}
