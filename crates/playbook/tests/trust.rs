//! Whose word a text is, through expressions: what the author wrote may be evaluated again, what
//! a machine said or an expression made may not.

use amibake_playbook::template::{ErrorKind, Nowhere, Scope, Templar};
use amibake_playbook::value::{Dict, Mark, Text, Value};

struct Variables(Dict);

impl Scope for Variables {
    fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name)
    }
}

fn variables() -> Variables {
    let authored = |text: &str| Value::authored(text, None);
    Variables(Dict::from_iter([
        ("author".into(), authored("1 == 1")),
        ("data".into(), Value::str("1 == 1")),
        ("template".into(), Value::str("{{ 1 + 1 }}")),
        ("lone".into(), authored("{{ author }}")),
        ("document".into(), authored("- c: 1 == 1")),
        ("lazy".into(), authored("{{ data }}")),
        (
            "list".into(),
            Value::list(vec![authored("1 == 1"), authored("2 == 2")]),
        ),
        ("lines".into(), Value::list(vec![Value::str("1 == 1")])),
    ]))
}

/// Expressions whose result is still the author's word.
const AUTHORS: &[&str] = &[
    "author",
    "lone",
    "list[0]",
    "list | first",
    "list | map('string') | first",
    "author | string",
    "author | default('x')",
    "nope | default(author)",
    "true | ternary(author, 'no')",
    "[author][0]",
    "dict(a=author).a",
    "{'a': author} | combine({'b': 1}) | dict2items | map(attribute='value') | first",
    "author if true else 'x'",
    "author or 'x'",
    "lookup('vars', 'author')",
    "document | from_yaml | map(attribute='c') | first",
    "(document | from_yaml_all | first)[0].c",
];

/// Expressions whose result is data.
const DATA: &[&str] = &[
    "data",
    "lazy",
    "lines[0]",
    "'1 == 1'",
    "author ~ ''",
    "author + ''",
    "author * 1",
    "'%s' % author",
    "author | trim",
    "author | replace('9', '8')",
    "author | upper | lower",
    "author[0:]",
    "author.strip()",
    "[author] | join('')",
    "list | to_json | from_json | first",
    "'\"1 == 1\"' | from_yaml",
    "(author ~ '') | from_yaml",
    "author | regex_replace('9', '8')",
    "author | quote",
    "author | b64encode | b64decode",
    "data | default(author)",
    "data or author",
    "lookup('vars', 'data')",
];

#[test]
fn a_value_keeps_its_mark_and_what_is_made_of_it_is_data() {
    let scope = variables();
    let templar = Templar::new(&scope, &Nowhere);
    for (expressions, mark) in [(AUTHORS, Mark::Author), (DATA, Mark::Data)] {
        for expression in expressions {
            let written = format!("{{{{ {expression} }}}}");
            let value = templar.render_str(&written, None).unwrap();
            assert_eq!(value.mark(), Some(mark), "{expression}");
        }
    }
}

#[test]
fn only_the_authors_text_is_a_condition() {
    let scope = variables();
    let templar = Templar::new(&scope, &Nowhere);
    for expression in AUTHORS {
        let condition = Value::authored(&format!("{{{{ {expression} }}}}"), None);
        assert!(templar.condition(&condition).unwrap(), "{expression}");
    }
    for expression in DATA {
        let condition = Value::authored(&format!("{{{{ {expression} }}}}"), None);
        let error = templar.condition(&condition).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Untrusted, "{expression}");
    }
    let bare = templar.condition(&Value::str("1 == 1")).unwrap_err();
    assert_eq!(
        bare.message,
        "Encountered untrusted template or expression."
    );
}

#[test]
fn only_the_authors_text_is_an_expression() {
    let scope = variables();
    let templar = Templar::new(&scope, &Nowhere);
    let value = templar.evaluate(&Text::authors("1 + 1"), None).unwrap();
    assert_eq!(value, Value::Int(2));
    let data = Text::new("1 + 1", Mark::Data);
    let error = templar.evaluate(&data, None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Untrusted);
}

#[test]
fn a_lookup_renders_constant_terms_and_no_data() {
    let scope = variables();
    let templar = Templar::new(&scope, &Nowhere);
    for (expression, answer) in [
        ("q('list', '{{ author }}')", "['1 == 1']"),
        (
            "q('list', ['{{ author }}'], {'a': '{{ author }}'})",
            "[['1 == 1'], {'a': '1 == 1'}]",
        ),
        (
            "q('list', template, [template])",
            "['{{ 1 + 1 }}', ['{{ 1 + 1 }}']]",
        ),
        ("q('list', '{{ 1' ~ ' + 1 }}')", "['{{ 1 + 1 }}']"),
    ] {
        let value = templar.render_str(&format!("{{{{ {expression} }}}}"), None);
        assert_eq!(value.unwrap().repr(), answer, "{expression}");
    }
}

#[test]
fn a_line_end_that_is_given_back_changes_no_mark() {
    let scope = variables();
    let templar = Templar::new(&scope, &Nowhere);
    for (written, mark) in [
        ("{{ author }}\n", Mark::Author),
        ("{{ data }}\n", Mark::Data),
    ] {
        let value = templar.render_str(written, None).unwrap();
        assert_eq!(value.mark(), Some(mark), "{written}");
        assert_eq!(value.to_string(), "1 == 1\n");
    }
}
