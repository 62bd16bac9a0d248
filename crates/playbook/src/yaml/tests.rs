//! Scalars as real `PyYAML` reads them, and the tree around them.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Node {
    parse(Path::new("t.yml"), text.as_bytes()).unwrap().root
}

fn refused(text: &str) -> Diagnostic {
    parse(Path::new("t.yml"), text.as_bytes()).unwrap_err()
}

#[test]
fn merged_keys_come_first_and_give_way_to_own_ones() {
    let node = parsed("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\n");
    let b = node.get("b").unwrap();
    let keys: Vec<_> = b
        .as_map()
        .unwrap()
        .iter()
        .map(|(k, _)| k.as_str().unwrap())
        .collect();
    assert_eq!(keys, ["x", "y"]);
    assert_eq!(b.get("y").unwrap().as_i64(), Some(3));
}

#[test]
fn a_key_given_twice_counts_last_and_is_warned_of() {
    let document = parse(Path::new("t.yml"), b"a: 1\na: 2\n").unwrap();
    assert_eq!(document.root.get("a").unwrap().as_i64(), Some(2));
    assert_eq!(document.warnings[0].span.line, 2);
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "l0: &l0 [lol, lol]\n".to_owned();
    for n in 1..40 {
        text += &format!(
            "l{n}: &l{n} [{}]\n",
            vec![format!("*l{}", n - 1); 10].join(",")
        );
    }
    assert!(refused(&text).message.contains("aliases add more than"));
}

#[test]
fn tags_that_mean_something_later_are_kept() {
    let node = parsed(
        "a: !unsafe '{{ x }}'\nb: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nc: !unsafe 12\n",
    );
    assert_eq!(node.get("a").unwrap().tag.as_deref(), Some("!unsafe"));
    assert!(!node.get("a").unwrap().is_template());
    assert_eq!(node.get("b").unwrap().tag.as_deref(), Some("!vault"));
    assert_eq!(node.get("c").unwrap().as_i64(), Some(12));
}

#[test]
fn tags_of_another_program_are_kept_where_that_is_asked_for_and_refused_elsewhere() {
    let text = "a: !GetAtt x.y\nb: !Join [',', [!Ref z, 1]]\nc: !If {d: e}\n";
    let node = parse_tagged(Path::new("f"), text.as_bytes()).unwrap().root;
    let tag = |name| node.get(name).unwrap().tag.as_deref();
    assert_eq!(
        (tag("a"), tag("b"), tag("c")),
        (Some("!GetAtt"), Some("!Join"), Some("!If"))
    );
    assert_eq!(node.get("a").unwrap().as_str(), Some("x.y"));
    assert_eq!(node.get("b").unwrap().as_seq().unwrap().len(), 2);
    assert!(refused(text).message.contains("!GetAtt"));
    assert!(parse_tagged(Path::new("f"), b"a: !!frob 1").is_err());
}

#[test]
fn a_place_is_counted_from_one_in_characters() {
    let node = parsed("ä: {é: x}\n");
    let inner = node.get("ä").unwrap().get("é").unwrap();
    assert_eq!((inner.span.line, inner.span.column), (1, 8));
}

#[test]
fn a_mapping_stands_where_its_anchor_does() {
    let node = parsed("- &one\n  a: 1\n- a: &two\n  - 2\n- *one\n");
    let lines: Vec<_> = node.as_seq().unwrap().iter().map(|n| n.span.line).collect();
    assert_eq!(lines, [1, 3, 1]);
    let two = node.as_seq().unwrap()[1].get("a").unwrap();
    assert_eq!((two.span.line, two.span.column), (3, 6));
}

#[test]
fn json_numbers_are_json_s() {
    let node = parsed("{\"a\": 1e3, \"b\": [1, true, null]}");
    assert_eq!(node.get("a").unwrap().kind, Kind::Float(1000.0));
}

#[test]
fn an_unquoted_template_is_explained() {
    let shown = refused("- debug:\n    msg: {{ x }} y\n").to_string();
    assert!(shown.contains("must be quoted"), "{shown}");
}

#[test]
fn a_hint_does_not_guess_past_what_is_wrong() {
    let shown = refused("- command: {cmd: echo {{ a }}}\n").to_string();
    assert!(
        shown.contains("must be quoted") && !shown.contains("colon"),
        "{shown}"
    );
    let shown = refused("- a: x\n- b: {c: *nowhere}\n").to_string();
    assert!(!shown.contains("colon"), "{shown}");
}

#[test]
fn deep_nesting_is_refused_not_overflowed() {
    assert!(parse(Path::new("t"), "[".repeat(100_000).as_bytes()).is_err());
    assert!(parse(Path::new("t"), "- ".repeat(100_000).as_bytes()).is_err());
    let nested = format!("{}1{}", "[".repeat(199), "]".repeat(199));
    assert!(parse(Path::new("t"), nested.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(?s).{0,200}") {
        let _ = parse(Path::new("t"), text.as_bytes());
    }

    #[test]
    fn any_yaml_like_text_is_parsed_or_refused(
        text in "[-?:,\\[\\]{}#&*!|>'\"%@`a0 \n\t.<=~]{0,80}"
    ) {
        if let Err(error) = parse(Path::new("t"), text.as_bytes()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Path::new("t"), &bytes);
    }
}

/// `tests/pyyaml/table.py` writes the table with the real thing.
#[test]
fn scalars_are_what_pyyaml_makes_of_them() {
    let table = include_str!("../../tests/pyyaml/table.json");
    let table: Vec<[String; 3]> = serde_json::from_str(table).unwrap();
    assert!(table.len() > 300);
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|[text, kind, value]| {
            let ours = shown(&format!("- {text}"));
            let theirs = (kind.clone(), value.clone());
            (ours != theirs).then(|| format!("{text}: {ours:?}, not {theirs:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn shown(text: &str) -> (String, String) {
    let Ok(document) = parse(Path::new("t"), text.as_bytes()) else {
        return ("error".to_owned(), String::new());
    };
    let node = &document.root.as_seq().unwrap()[0];
    let kind = match &node.kind {
        Kind::Null => return ("NoneType".to_owned(), "None".to_owned()),
        Kind::Float(float) => {
            let value = crate::value::Value::Float(*float);
            return ("float".to_owned(), value.to_string());
        }
        Kind::Bool(_) => "bool",
        Kind::Int(_) => "int",
        Kind::Str(_) => "str",
        Kind::Timestamp(_) => "timestamp",
        Kind::Seq(_) | Kind::Map(_) => "collection",
    };
    (kind.to_owned(), node.scalar_text().unwrap_or_default())
}
