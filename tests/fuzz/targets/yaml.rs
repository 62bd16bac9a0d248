//! Any text is YAML or refused with a place inside of it; what was read, and written as
//! `to_nice_yaml` writes it, reads the same.

#![no_main]

use std::path::Path;

use amibake_playbook::template::{Nowhere, Templar};
use amibake_playbook::value::{Dict, Value};
use amibake_playbook::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("fuzz.yml");
    if yaml::parse(path, text.as_bytes()).is_err() {
        return;
    }
    let scope = Dict::new();
    scope.set("text", Value::str(text));
    let templar = Templar::new(&scope, &Nowhere);
    let Ok(read) = templar.render_str("{{ text | from_yaml }}", None) else {
        return;
    };
    scope.set("read", read.clone());
    let Ok(written) = templar.render_str("{{ read | to_nice_yaml(sort_keys=false) }}", None) else {
        return;
    };
    scope.set("written", written.clone());
    let again = templar
        .render_str("{{ written | from_yaml }}", None)
        .unwrap_or_else(|error| panic!("{} does not read: {error}", written.repr()));
    assert_eq!(again.repr(), read.repr(), "{}", written.repr());
});
