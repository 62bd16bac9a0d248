//! Any text is rendered or refused, within the limits of time and memory.

#![no_main]

use amibake_playbook::template::{FileOptions, Limits, Nowhere, Templar, uses};
use amibake_playbook::value::{Dict, Text, Value};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    steps: 20_000,
    bytes: 1 << 20,
    depth: 20,
};

fn scope() -> Dict {
    let scope = Dict::new();
    scope.set("a", Value::Int(3));
    scope.set("b", Value::list(vec![Value::Int(1), Value::str("x")]));
    scope.set("c", Value::dict([("k", Value::str("v"))]));
    scope.set("d", Value::authored("{{ a }}{{ b }}", None));
    scope
}

fuzz_target!(|text: &str| {
    let scope = scope();
    let templar = Templar::new(&scope, &Nowhere).with_limits(LIMITS);
    if let Ok(rendered) = templar.render_str(text, None) {
        let _ = (rendered.to_string(), rendered.repr());
    }
    let _ = templar.evaluate(&Text::authors(text), None);
    let _ = templar.condition(&Value::authored(text, None));
    let _ = templar.render_file(text, &FileOptions::default(), "fuzz.j2");
    let _ = uses(text);
});
