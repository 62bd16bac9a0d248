//! Whatever somebody writes into a template or a line of arguments is answered or refused: no
//! panic, and neither time nor memory without bounds.

use std::time::{Duration, Instant};

use amibake_playbook::syntax::free_form::{parse_kv, split_args};
use amibake_playbook::template::{FileOptions, Limits, Nowhere, Templar};
use amibake_playbook::value::{Dict, Text, Value};
use proptest::prelude::*;

/// What one rendering may take here; the limits themselves are far smaller.
const LIMIT: Duration = Duration::from_secs(60);

fn scope() -> Dict {
    let scope = Dict::new();
    scope.set("a", Value::Int(3));
    scope.set("b", Value::list(vec![Value::Int(1), Value::str("x")]));
    scope.set("c", Value::dict([("k", Value::str("v"))]));
    scope.set("d", Value::authored("{{ d2 }}", None));
    scope.set("d2", Value::authored("{{ d }}{{ a }}", None));
    scope
}

/// Renders `text` in every way there is.
fn all_ways(text: &str) {
    let scope = scope();
    let limits = Limits {
        steps: 20_000,
        bytes: 1 << 20,
        depth: 20,
    };
    let start = Instant::now();
    let templar = Templar::new(&scope, &Nowhere).with_limits(limits);
    let _ = templar.render_str(text, None).map(|v| v.to_string().len());
    let _ = templar
        .evaluate(&Text::authors(text), None)
        .map(|v| v.repr().len());
    let _ = templar.condition(&Value::authored(text, None));
    let _ = templar.render_file(text, &FileOptions::default(), "t.j2");
    let _ = amibake_playbook::template::uses(text);
    assert!(
        start.elapsed() < LIMIT,
        "{}",
        text.chars().take(200).collect::<String>()
    );
}

/// Pieces of which templates are made.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "{{ ", " }}", "{% ", " %}", "{# ", " #}", "{%- ", " -%}", "if ", "elif ",
    "else", "endif", "for x in ", "endfor", "set ", "endset", "macro m(x)", "endmacro", "call", "endcall",
    "filter ", "endfilter", "raw", "endraw", "include ", "import ", "from ", "block ", "endblock", "extends ",
    "with ", "endwith", "do ", "break", "continue", "a", "b", "c", "d", "x",
    "m", "loop", "true", "none", "omit", "1", "0", "-1", "1e3", "99999999999999999999",
    "0x1f", "'s'", "'%s%d'", "'%%'", "'[a-'", "'(a+)+$'", "[", "]", "(", ")",
    "{", "}", ",", ":", "=", "==", "!=", "<", ">", "+",
    "-", "*", "**", "/", "//", "%", "~", "|", ".", " in ",
    " not ", " and ", " or ", " is ", "defined", "match", "range", "lookup", "query", "default",
    "map", "select", "regex_replace", "regex_search", "replace", "join", "format", "int", "float", "random",
    "combine", "flatten", "batch", "slice", "indent", "wordwrap", "center", "to_json", "to_nice_yaml", "from_json",
    "from_yaml", "b64decode", "hash", "strftime", "dict2items", "subelements", "product", "zip", "sum", "min",
    "groupby", "sort", "attr", "namespace", "cycler", "joiner", "dict", "upper", "split", "items",
    "append", "update", "\\", "'", "\"", "\n", "é", "\u{1F600}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_rendered_or_refused(text in "(?s).{0,120}") {
        all_ways(&text);
    }

    #[test]
    fn any_heap_of_pieces_is_rendered_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..24)) {
        all_ways(&pieces.concat());
    }

    #[test]
    fn any_heap_of_pieces_in_an_expression_is_answered_or_refused(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..14)
    ) {
        all_ways(&format!("{{{{ {} }}}}", pieces.join(" ")));
    }

    #[test]
    fn any_filter_takes_any_argument(
        filter in "[a-z_0-9]{2,14}",
        value in "(a|b|c|d|'x'|1.5|none|\\[b\\]|-1|'%d'|\\{\\})",
        argument in "(a|b|c|'x'|-1|1.5|none|true|'%'|999999999999|\\[1, 2\\])",
    ) {
        all_ways(&format!("{{{{ {value} | {filter}({argument}) }}}}"));
    }

    #[test]
    fn any_line_of_arguments_is_split_or_refused(text in "[a-z={}%'\"\\\\ \n\t#/.:é]{0,80}", raw: bool) {
        let _ = split_args(&text);
        if let Ok(pairs) = parse_kv(&text, raw) {
            let free = pairs.iter().filter(|(key, _)| key == "_raw_params").count();
            prop_assert!(free <= 1, "{pairs:?}");
        }
    }
}

#[test]
fn what_would_not_end_is_stopped() {
    for text in [
        "{{ range(10 ** 12) | list }}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% for i in range(10 ** 9) %}{% for j in range(10 ** 9) %}{% endfor %}{% endfor %}",
        "{{ d }}",
        "{{ ('x' * 1000) | center(10 ** 12) }}",
        "{{ '%0999999999999d' % 1 }}",
        "{{ '{:>999999999999}'.format(1) }}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{{ [0] * 10 ** 12 }}",
        "{{ 'a' | indent(10 ** 12, true) }}",
        "{{ query('sequence', count=10 ** 12) }}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    ] {
        let scope = scope();
        let start = Instant::now();
        let limits = Limits {
            steps: 1_000_000,
            bytes: 64 << 20,
            ..Limits::default()
        };
        let templar = Templar::new(&scope, &Nowhere).with_limits(limits);
        let answer = templar.render_str(text, None);
        assert!(answer.is_err(), "{text}");
        assert!(start.elapsed() < LIMIT, "{text}");
    }
    all_ways("{{ ('a' * 40) is match('(a+)+$b') }}");
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
    all_ways(&deep);
    all_ways(&format!("{{{{ {}a }}}}", "not ".repeat(5_000)));
    all_ways(&format!(
        "{{{{ {}a{} }}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    ));
    all_ways(&format!("{{{{ a{} }}}}", ".a".repeat(5_000)));
    all_ways(&format!("{{{{ a{} }}}}", "+1".repeat(5_000)));
    all_ways(&format!("{{{{ -{}a }}}}", "-".repeat(5_000)));
    all_ways(&format!("{{{{ a{} }}}}", "|int".repeat(5_000)));
    all_ways(&"{% if a %}".repeat(2_000));
    assert!(parse_kv(&"a=b ".repeat(20_000), false).unwrap().len() == 1);
}
