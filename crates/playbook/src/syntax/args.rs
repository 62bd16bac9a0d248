//! What can be said of a task's arguments before they are templated.

use super::Args;
use crate::argspec::{Kind as Wanted, ModuleSpec, Param};
use crate::diagnostic::{Diagnostic, Span};
use crate::yaml::{Kind, Node, truth};

/// Returns what is wrong with the literal ones of `args`.
pub(super) fn check(spec: &ModuleSpec, args: &Args, span: &Span) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    for (name, value) in &args.named {
        match spec.param(name) {
            Some(param) => wrong.extend(check_value(spec, param, value)),
            None if name == "_raw_params" && (spec.free_form || spec.open) => {}
            None if name == "_raw_params" => wrong.push(not_free(spec, value)),
            None if spec.open => {}
            None => wrong.push(unknown(spec, name, value)),
        }
    }
    // What a template adds is known only when it is rendered.
    if wrong.is_empty() && args.template.is_none() {
        wrong.extend(check_rules(spec, &args.named, span));
    }
    wrong
}

/// Returns the literal ones of `args` that are not supported.
pub(super) fn refused(spec: &ModuleSpec, args: &Args) -> Vec<Diagnostic> {
    let why = |(name, value): &(String, Node)| {
        let text = text_of(literal(value)?)?;
        let why = crate::argspec::refused(spec, name, &text)?;
        let secret = spec.param(name).is_some_and(|param| param.no_log);
        let shown = if secret { "********" } else { &*text };
        let wrong = format!("`{name}: {shown}` of {} is not supported", spec.name);
        Some(Diagnostic::new(&value.span, wrong).hint(why))
    };
    args.named.iter().filter_map(why).collect()
}

/// Returns a scalar's text, or those of a list.
fn text_of(value: &Node) -> Option<String> {
    match value.as_seq() {
        None => value.scalar_text(),
        Some(items) => {
            let texts: Option<Vec<String>> = items.iter().map(Node::scalar_text).collect();
            texts.map(|texts| texts.join(","))
        }
    }
}

fn not_free(spec: &ModuleSpec, value: &Node) -> Diagnostic {
    Diagnostic::new(
        &value.span,
        format!("{} takes parameters, not free text", spec.name),
    )
    .hint("write them as a mapping below the module's name")
}

fn unknown(spec: &ModuleSpec, name: &str, value: &Node) -> Diagnostic {
    let known: Vec<&str> = spec
        .params
        .iter()
        .flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied()))
        .collect();
    let wrong = Diagnostic::new(
        &value.span,
        format!("{} has no parameter `{name}`", spec.name),
    )
    .nearest(name, known.iter().copied());
    match wrong.hint {
        Some(_) => wrong,
        None => wrong.hint(format!("its parameters: {}", known.join(", "))),
    }
}

fn check_value(spec: &ModuleSpec, param: &Param, value: &Node) -> Option<Diagnostic> {
    if literal(value).is_none() || fits(param, value) {
        return None;
    }
    let wanted = match param.kind {
        _ if !param.choices.is_empty() => format!("one of {}", param.choices.join(", ")),
        Wanted::Bool => "true or false".to_owned(),
        Wanted::Int => "a whole number".to_owned(),
        Wanted::Float => "a number".to_owned(),
        Wanted::List | Wanted::RawList => "a list".to_owned(),
        Wanted::Dict => "a mapping".to_owned(),
        Wanted::Str | Wanted::Path | Wanted::Raw => "text".to_owned(),
    };
    let short = spec.name;
    let message = format!("`{}` of {short} must be {wanted}", param.name);
    let given = value.scalar_text().unwrap_or_default();
    Some(Diagnostic::new(&value.span, message).nearest(&given, param.choices.iter().copied()))
}

/// Returns the node if nothing in it is templated, encrypted or absent.
fn literal(value: &Node) -> Option<&Node> {
    let scalar = value
        .tag
        .as_deref()
        .is_none_or(|tag| tag == "!!str" || tag == "!unsafe");
    let plain = match &value.kind {
        Kind::Null => false,
        Kind::Seq(items) => items.iter().all(|item| literal(item).is_some()),
        _ => !value.is_template(),
    };
    (scalar && plain).then_some(value)
}

fn fits(param: &Param, value: &Node) -> bool {
    let text = value.scalar_text();
    let kind = match param.kind {
        Wanted::Raw | Wanted::Str | Wanted::Path | Wanted::RawList => true,
        Wanted::Bool => text.as_deref().and_then(truth).is_some(),
        Wanted::Int => text.as_deref().is_some_and(whole),
        Wanted::Float => text
            .as_deref()
            .is_some_and(|t| t.trim().parse::<f64>().is_ok()),
        Wanted::List => !matches!(value.kind, Kind::Map(_)),
        Wanted::Dict => {
            text.is_none_or(|t| t.contains('=') || t.trim_start().starts_with('{') || t.is_empty())
                && value.as_seq().is_none()
        }
    };
    kind && (param.choices.is_empty() || chosen(param, value))
}

fn whole(text: &str) -> bool {
    let text = text.trim();
    text.parse::<i64>().is_ok() || text.parse::<f64>().is_ok_and(|f| f.fract() == 0.0)
}

/// A boolean where texts are allowed stands for the one text that YAML can have taken it from.
fn chosen(param: &Param, value: &Node) -> bool {
    let one = |node: &Node| match (&node.kind, node.scalar_text()) {
        (Kind::Bool(truth), _) => param.choice_for(*truth).is_some(),
        (_, Some(text)) if param.kind == Wanted::List => text
            .split(',')
            .all(|part| param.choices.contains(&part.trim())),
        (_, Some(text)) => param.choices.contains(&text.as_str()),
        _ => true,
    };
    value
        .as_seq()
        .map_or_else(|| one(value), |items| items.iter().all(one))
}

fn check_rules(spec: &ModuleSpec, named: &[(String, Node)], span: &Span) -> Vec<Diagnostic> {
    let given = |name: &str| {
        named
            .iter()
            .any(|(key, _)| key == name || spec.param(key).is_some_and(|param| param.name == name))
    };
    let free = named.iter().any(|(key, _)| key == "_raw_params");
    let mut wrong = Vec::new();
    for param in spec.params.iter().filter(|p| p.required && !given(p.name)) {
        if !free {
            wrong.push(format!("{} needs `{}`", spec.name, param.name));
        }
    }
    for set in spec.required_one_of {
        // As in Ansible a default counts as given: `apt` with `clean` alone is fine.
        let any =
            |name: &&str| given(name) || spec.param(name).is_some_and(|p| p.default.is_some());
        if !free && !set.iter().any(any) {
            wrong.push(format!("{} needs one of {}", spec.name, set.join(", ")));
        }
    }
    for set in spec.mutually_exclusive {
        // A template may turn out to be `omit`.
        let sure = |name: &&&str| {
            named.iter().any(|(key, value)| {
                literal(value).is_some() && spec.param(key).is_some_and(|p| p.name == **name)
            })
        };
        let both: Vec<&str> = set.iter().filter(sure).copied().collect();
        if both.len() > 1 {
            wrong.push(format!(
                "{} takes only one of {}",
                spec.name,
                both.join(", ")
            ));
        }
    }
    wrong
        .into_iter()
        .map(|message| Diagnostic::new(span, message))
        .collect()
}
