//! What a condition comes to, as far as facts known beforehand tell: three-valued logic, whose leaves are evaluated
//! as they will be.

use std::collections::BTreeMap;

use super::ast::{Args, Expr};
use super::eval::Frame;
use super::{Nowhere, Templar, cache};
use crate::names::bare;
use crate::value::{Dict, Value};

/// Filters whose answer is another one each time.
const FICKLE: &[&str] = &["random", "shuffle"];

/// Returns what an expression comes to for a host with these `facts` (their names without `ansible_`), if nothing
/// else has a say in it.
#[must_use]
pub fn foresee(condition: &str, facts: &BTreeMap<String, String>) -> Option<bool> {
    let condition = condition.trim();
    let inner = condition
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"));
    let expr = cache::expression(inner.unwrap_or(condition).trim(), false).ok()?;
    let own: Dict = facts
        .iter()
        .map(|(name, value)| (name.as_str().into(), Value::str(value)))
        .collect();
    let scope = Dict::new();
    for (name, value) in facts {
        scope.set(&format!("ansible_{name}"), Value::str(value));
    }
    scope.set("ansible_facts", Value::Dict(own));
    Foresight { facts, scope }.truth(&expr)
}

struct Foresight<'a> {
    facts: &'a BTreeMap<String, String>,
    scope: Dict,
}

impl Foresight<'_> {
    fn truth(&self, expr: &Expr) -> Option<bool> {
        match expr {
            Expr::And(a, b) => match (self.truth(a), self.truth(b)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Expr::Or(a, b) => match (self.truth(a), self.truth(b)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Expr::Not(of) => self.truth(of).map(|truth| !truth),
            leaf if self.knows(leaf) => {
                let templar = Templar::new(&self.scope, &Nowhere);
                let value = templar.machine().value(leaf, &Frame::root()).ok()?;
                (!value.is_undefined()).then(|| value.truthy())
            }
            _ => None,
        }
    }

    /// Returns whether an expression asks for nothing but facts that are known.
    fn knows(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Const(_) => true,
            Expr::Name(name) => name
                .strip_prefix("ansible_")
                .is_some_and(|fact| self.facts.contains_key(fact)),
            Expr::Attr(on, name) if is_facts(on) => self.facts.contains_key(&**name),
            Expr::Item(on, key) if is_facts(on) => match &**key {
                Expr::Const(Value::Str(name)) => self.facts.contains_key(&**name),
                _ => false,
            },
            Expr::Attr(on, _) | Expr::Not(on) | Expr::Negate(on) | Expr::Plus(on) => self.knows(on),
            Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => {
                items.iter().all(|item| self.knows(item))
            }
            Expr::Item(a, b) | Expr::Binary(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) => {
                self.knows(a) && self.knows(b)
            }
            Expr::Slice(on, parts) => {
                self.knows(on) && parts.iter().flatten().all(|part| self.knows(part))
            }
            Expr::Compare(first, rest) => {
                self.knows(first) && rest.iter().all(|(_, expr)| self.knows(expr))
            }
            Expr::Filter(applied) => {
                !FICKLE.contains(&bare(&applied.name))
                    && self.knows(&applied.on)
                    && self.knows_args(&applied.args)
            }
            Expr::Test(applied) => self.knows(&applied.on) && self.knows_args(&applied.args),
            // A method of a text.
            Expr::Call(on, args) => {
                matches!(**on, Expr::Attr(..)) && self.knows(on) && self.knows_args(args)
            }
            Expr::Dict(_) | Expr::Choice(..) | Expr::Body => false,
        }
    }

    fn knows_args(&self, args: &Args) -> bool {
        args.positional.iter().all(|arg| self.knows(arg))
            && args.named.iter().all(|(_, arg)| self.knows(arg))
            && args.star.is_none()
            && args.double_star.is_none()
    }
}

fn is_facts(expr: &Expr) -> bool {
    matches!(expr, Expr::Name(name) if &**name == "ansible_facts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_known_facts_are_decided_and_others_are_not() {
        let facts = [
            ("os_family", "Debian"),
            ("distribution", "Ubuntu"),
            ("distribution_version", "24.04"),
        ];
        let facts: BTreeMap<String, String> =
            facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, expected) in [
            ("ansible_os_family == 'RedHat'", Some(false)),
            ("ansible_facts['os_family'] == \"Debian\"", Some(true)),
            (
                "ansible_facts.distribution in ['Debian', 'Ubuntu']",
                Some(true),
            ),
            (
                "ansible_distribution not in ['Debian', 'Ubuntu']",
                Some(false),
            ),
            ("'Ubuntu' == ansible_distribution", Some(true)),
            (
                "x is defined and ansible_os_family == 'RedHat'",
                Some(false),
            ),
            ("x is defined or ansible_os_family == 'RedHat'", None),
            ("x or ansible_os_family == 'Debian'", Some(true)),
            ("not (ansible_os_family == 'RedHat' or false)", Some(true)),
            ("ansible_os_family | lower == 'debian'", Some(true)),
            ("ansible_os_family.lower() in 'redhat suse'", Some(false)),
            (
                "ansible_distribution_version is version('22.04', '<')",
                Some(false),
            ),
            ("(x or y) and ansible_os_family != 'Debian'", Some(false)),
            ("{{ ansible_os_family == 'RedHat' }}", Some(false)),
            ("ansible_os_family == family", None),
            ("ansible_facts.kernel == '6'", None),
            ("ansible_facts.kernel is defined", None),
            ("['Debian'] | random == ansible_os_family", None),
            ("lookup('env', 'X') == ansible_os_family", None),
            ("'a' in b", None),
            ("true", Some(true)),
            ("", None),
            ("ansible_os_family ==", None),
        ] {
            assert_eq!(foresee(text, &facts), expected, "{text}");
        }
        assert_eq!(
            foresee("ansible_os_family == 'RedHat'", &BTreeMap::new()),
            None
        );
    }
}
