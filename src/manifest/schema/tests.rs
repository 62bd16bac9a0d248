//! The schema against the parser, and the reference in docs/manifest.md against the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use amibake_playbook::diagnostic::Diagnostics;
use amibake_playbook::yaml;
use serde_json::{Map, json};

use super::*;
use crate::ansible_config::SearchPaths;
use crate::manifest::host::Host;
use crate::manifest::{Arch, Given, Purpose, TargetKind, parse};

/// Manifests in which, together, every key that works has a value that is good.
fn examples() -> Vec<(TargetKind, Json)> {
    let schema = schema().to_value();
    let mut all = promised_too();
    for (_, example) in &mut all {
        without_promises(&schema, example);
        // A test of a kind that does not work yet.
        if let Some(tests) = example.get_mut("test").and_then(Json::as_array_mut) {
            tests.retain(|test| *test != json!({}));
        }
    }
    all
}

/// Removes what does not work yet.
fn without_promises(schema: &Json, value: &mut Json) {
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        without_promises(one, value);
    }
    if let (Some(known), Some(object)) = (schema["properties"].as_object(), value.as_object_mut()) {
        let is_promise = |key: &str| known.get(key).is_some_and(|p| p["x-later"] == true);
        object.retain(|key, _| !is_promise(key));
        for (key, value) in object {
            without_promises(&schema["properties"][key], value);
        }
    }
    for item in value.as_array_mut().into_iter().flatten() {
        without_promises(&schema["items"], item);
    }
}

/// The same with the keys that do not work yet.
fn promised_too() -> Vec<(TargetKind, Json)> {
    let sourced = |target, source| {
        let manifest =
            json!({"name": "web", "source": source, "builder": {"subnet": "subnet-0abc1234"}});
        (target, manifest)
    };
    let with = |key: &str, value: Json| {
        let mut manifest = json!({"name": "web", "source": {"ubuntu": "24.04"}});
        manifest[key] = value;
        (TargetKind::Ec2, manifest)
    };
    vec![
        (TargetKind::Ec2, whole()),
        sourced(TargetKind::Container, json!({"debian": "bookworm"})),
        sourced(TargetKind::Ec2, json!({"ami": "ami-0abc1234"})),
        sourced(TargetKind::Ec2, json!({"ssm": "/images/base"})),
        sourced(TargetKind::Ec2, json!({"manifest": "base.yaml"})),
        sourced(
            TargetKind::Ec2,
            json!({"filter": {"owners": ["self"], "most_recent": true, "name": "web-*"}}),
        ),
        sourced(
            TargetKind::Container,
            json!({"image": "base.tar", "checksum": format!("sha256:{}", "0".repeat(64))}),
        ),
        with(
            "image",
            json!({"launch_template": {"name": "web"}, "encrypt": false,
            "share": {"public": true, "confirm_public": "web"}}),
        ),
        with(
            "builder",
            json!({"subnet": {"tags": {"Tier": "public"}, "filter": {"vpc-id": "vpc-1"}}}),
        ),
        (
            TargetKind::Ec2,
            json!({"name": "web", "targets": {
                "ec2": {"source": {"ssm": "/a"}, "builder": {"port": 22}, "image": {"name": "web"}},
                "container": {}, "vm": {},
            }}),
        ),
    ]
}

fn whole() -> Json {
    json!({
        "name": "web",
        "variables": {"version": {"default": "main", "sensitive": false}},
        "requirements": "requirements.yml",
        "source": {"ubuntu": "24.04", "arch": ["amd64"]},
        "builder": {
            "region": "eu-west-1", "instance_type": ["t3.small"], "subnet": {"id": "subnet-0abc1234"},
            "connect": "private-ip", "ingress_cidrs": ["10.0.0.0/8"], "security_groups": ["sg-1"],
            "user": "ubuntu", "port": 22, "user_data": "#!/bin/sh", "instance_profile": "web",
            "tags": {"Team": "web"},
            "volumes": [{"device": "/dev/sdb", "size_gib": 8, "type": "gp3", "iops": 3000, "throughput": 125}],
            "spot": true,
            "timeouts": {"launch": "5m", "connect": "5m", "provision": "1h", "test": "30m", "image": "1h",
                         "total": "3h", "unattended": "30m"},
        },
        "provision": [
            {"role": "role", "vars": {
                "hardening_profile": "strict",
                "hardening_exceptions": [{"control": "os.mount.tmp", "reason": "builds"}],
                "other": [1, {"a": null}],
            }},
            {"playbook": "site.yml"},
            {"tasks": [{"ping": null}]},
        ],
        "gate": {"level": "strict", "waive": [{"check": "private-key", "reason": "a test's", "path": "/etc/ssl/*.key"}]},
        "test": [
            {"http": {"url": "http://localhost/", "status": 200, "contains": "Hello", "within": "60s"}},
            {"service": {"name": "web", "state": "running"}},
            {"port": {"number": 80, "within": "5s"}},
            {"command": {"run": "true", "status": 0, "contains": "x"}},
            {"audit": {"profile": "strict"}},
        ],
        "image": {
            "name": "web-{{ arch }}", "description": "The web", "tags": {"Team": "web"}, "ports": [22, 80],
            "encrypt": {"kms_key": "alias/ami", "regions": {"us-east-1": "alias/copy"}},
            "max_age": "7d", "keep": 5, "replace": false, "regions": ["us-east-1"],
            "copies": {"at_once": 2, "within": "30m"},
            "share": {
                "accounts": ["123456789012"], "snapshots": true, "public": false,
                "organizations": ["arn:aws:organizations::123456789012:organization/o-abcde12345"],
                "organizational_units": ["arn:aws:organizations::123456789012:ou/o-abcde12345/ou-ab12-cdefgh34"],
            },
            "ssm_parameter": "/ami/web", "launch_template": {"id": "lt-0abc1234", "set_default": true},
            "deprecate_after": "90d", "deregistration_protection": "with-cooldown",
            "imds_support": "v2.0", "boot_mode": "uefi", "uefi_data": "uefi", "ena_support": true, "tpm_support": "v2.0",
        },
    })
}

/// What the parser makes of a manifest, beside which there are a role, a playbook and a root.
struct Parser(tempfile::TempDir);

impl Parser {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("role")).unwrap();
        std::fs::write(folder.path().join("site.yml"), "[]").unwrap();
        std::fs::write(folder.path().join("base.yaml"), "name: base").unwrap();
        std::fs::write(folder.path().join("uefi"), "QU1aTg==").unwrap();
        std::fs::write(folder.path().join("requirements.yml"), "[]").unwrap();
        let lock = r#"{"lock": 1, "requested": [], "roles": [], "collections": []}"#;
        std::fs::write(folder.path().join("requirements.yml.lock"), lock).unwrap();
        Self(folder)
    }

    fn takes(&self, target: TargetKind, manifest: &Json) -> Result<(), Diagnostics> {
        let given = Given::default();
        let purpose = Purpose {
            target,
            given: &given,
            host: Host {
                arch: Some(Arch::Amd64),
                os_release: Ok("ID=debian\nVERSION_CODENAME=bookworm\n".to_owned()),
            },
            build_time: "20260727T101500Z".to_owned(),
            search: SearchPaths::default(),
        };
        let path = self.0.path().join("manifest.yaml");
        let document = yaml::parse(&path, manifest.to_string().as_bytes()).unwrap();
        parse(&path, &document, &purpose).map(drop)
    }
}

/// A mapping in an example whose keys the schema knows one by one.
struct Section {
    /// Where it stands, as a JSON pointer.
    at: String,
    known: BTreeSet<String>,
}

/// Returns the sections of an example.
fn sections(schema: &Json, value: &Json, at: &str, found: &mut Vec<Section>) {
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        sections(one, value, at, found);
    }
    if let (Some(known), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        if schema["additionalProperties"] == json!(false) {
            found.push(Section {
                at: at.to_owned(),
                known: known.keys().cloned().collect(),
            });
        }
        for (key, value) in object {
            if let Some(schema) = known.get(key) {
                sections(schema, value, &format!("{at}/{key}"), found);
            }
        }
    }
    let by_name = schema["patternProperties"].as_object();
    let by_name = by_name.and_then(|patterns| patterns.values().next());
    if let (Some(schema), Some(object)) = (by_name, value.as_object()) {
        for (key, value) in object {
            sections(schema, value, &format!("{at}/{key}"), found);
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        sections(&schema["items"], item, &format!("{at}/{number}"), found);
    }
}

fn sections_of(example: &Json) -> Vec<Section> {
    let mut found = Vec::new();
    sections(&schema().to_value(), example, "", &mut found);
    found
}

/// The parser lists what it knows when it meets what it does not.
#[test]
fn the_parser_knows_the_keys_of_the_schema_and_no_others() {
    let parser = Parser::new();
    let mut seen = 0;
    for (target, example) in examples() {
        parser.takes(target, &example).unwrap();
        for section in sections_of(&example) {
            let mut strange = example.clone();
            let object = strange.pointer_mut(&section.at).unwrap();
            object["qqqqqqqqqqqqqqqqqqqqqq"] = json!(1);
            let Err(said) = parser.takes(target, &strange) else {
                // Sections for other targets are not looked into.
                assert!(section.at.starts_with("/targets/"), "{}", section.at);
                continue;
            };
            let said = said.to_string();
            let (_, known) = said.split_once("known keys: ").expect(&said);
            let known = known.lines().next().unwrap().split(", ");
            let known: BTreeSet<String> = known.map(str::to_owned).collect();
            assert_eq!(known, section.known, "in {}", section.at);
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}

#[test]
fn every_key_that_works_is_in_an_example() {
    let mut unseen: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    for (_, example) in examples() {
        for Section { at, known } in sections_of(&example) {
            let rest = unseen.entry(known.clone()).or_insert_with(|| known.clone());
            let here = example.pointer(&at).unwrap().as_object().unwrap();
            rest.retain(|key| !here.contains_key(key));
        }
    }
    let promised = promised_keys(&schema().to_value());
    for (_, rest) in unseen {
        let missing: Vec<_> = rest.difference(&promised).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn what_does_not_work_yet_is_refused_by_name() {
    let parser = Parser::new();
    let schema = schema().to_value();
    let mut unmet = promised_keys(&schema);
    for (target, example) in promised_too() {
        for section in sections_of(&example) {
            let mut good = example.clone();
            without_promises(&schema, &mut good);
            let object = example.pointer(&section.at).unwrap().as_object().unwrap();
            for (key, value) in object {
                if good.pointer(&format!("{}/{key}", section.at)).is_some() {
                    continue;
                }
                let mut one = good.clone();
                let Some(here) = one.pointer_mut(&section.at) else {
                    continue; // below another such key
                };
                here[key] = value.clone();
                let said = parser.takes(target, &one).err().map(|e| e.to_string());
                let said = said.unwrap_or_default();
                assert!(
                    said.contains(&format!("{key}` is not supported yet")),
                    "{key} works: take `Later` from it in the schema. {said}"
                );
                unmet.remove(key);
            }
        }
    }
    assert!(unmet.is_empty(), "promised, and in no example: {unmet:?}");
}

/// Returns the names of the keys that do not work yet.
fn promised_keys(schema: &Json) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Some(object) = schema.as_object() else {
        return found;
    };
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if property["x-later"] == true {
            found.insert(key.clone());
        }
    }
    let below = object.values().flat_map(|value| match value {
        Json::Array(items) => items.iter().collect::<Vec<_>>(),
        Json::Object(fields) => fields.values().chain([value]).collect(),
        _ => Vec::new(),
    });
    below.for_each(|inner| found.extend(promised_keys(inner)));
    found
}

/// What may stand where something else should.
fn samples() -> Vec<Json> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(22),
        json!(-5),
        json!(3.5),
        json!("x"),
        json!("22"),
        json!("90s"),
        json!("yes"),
        json!("10.0.0.0/8"),
        json!("{{ version }}"),
        json!([]),
        json!(["x"]),
        json!([22]),
        json!({}),
        json!({"a": "b"}),
        json!([{}]),
    ]
}

/// Null is nothing elsewhere; here the parser asks for more than the schema can tell an editor.
const LAXER: [&str; 3] = [
    "/hardening_profile",
    "/hardening_exceptions",
    "/most_recent",
];

/// An editor warns of nothing that works, and of all that has the wrong shape.
#[test]
#[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
fn the_schema_takes_what_the_parser_takes_and_no_wrong_shapes() {
    let parser = Parser::new();
    let mut cases = Vec::new();
    for (target, example) in examples() {
        for section in sections_of(&example) {
            if section.at.starts_with("/targets/") {
                continue;
            }
            let here = example.pointer(&section.at).unwrap().as_object().unwrap();
            for key in here.keys().filter(|key| section.known.contains(*key)) {
                for sample in samples() {
                    let at = format!("{}/{key}", section.at);
                    let mut other = example.clone();
                    *other.pointer_mut(&at).unwrap() = sample.clone();
                    let said = parser.takes(target, &other).err().map(|e| e.to_string());
                    cases.push(json!({"at": at, "value": sample, "manifest": other, "said": said}));
                }
            }
        }
    }
    assert!(cases.len() > 1_000, "{}", cases.len());
    for case in &mut cases {
        case["valid"] = json!(false);
    }
    let valid = valid(&cases);
    let mut wrong = Vec::new();
    for (case, valid) in cases.iter().zip(valid) {
        let (at, said) = (case["at"].as_str().unwrap(), case["said"].as_str());
        let is_shape = said.is_some_and(|said| {
            let first = said.lines().next().unwrap_or_default();
            first.contains(" must be ") && first.contains(", not a ")
                || first.ends_with(", not nothing")
        });
        let is_laxer = case["value"].is_null() && LAXER.iter().any(|key| at.ends_with(key));
        if said.is_none() && !valid || is_shape && valid && !is_laxer {
            wrong.push(format!(
                "{at}: {} (valid: {valid}): {said:?}",
                case["value"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns which manifests a validator of JSON Schema that is not ours takes.
fn valid(cases: &[Json]) -> Vec<bool> {
    const SCRIPT: &str = "import json, sys, jsonschema\n\
        given = json.load(sys.stdin)\n\
        jsonschema.Draft7Validator.check_schema(given['schema'])\n\
        validator = jsonschema.Draft7Validator(given['schema'])\n\
        print(json.dumps([validator.is_valid(m) for m in given['manifests']]))";
    let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let manifests: Vec<&Json> = cases.iter().map(|case| &case["manifest"]).collect();
    let given = json!({"schema": schema(), "manifests": manifests}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(given.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `BLESS=1` writes the tables anew.
#[test]
fn the_reference_in_the_docs_is_the_schema_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let schema = schema().to_value();
    let mut written = String::new();
    let mut rest = text.as_str();
    let mut sections = BTreeSet::new();
    while let Some((before, after)) = rest.split_once("<!-- keys of ") {
        let (section, after) = after.split_once(" -->\n").unwrap();
        let (_, after) = after.split_once("<!-- end -->").unwrap();
        written += &format!(
            "{before}<!-- keys of {section} -->\n\n{}\n<!-- end -->",
            table(&schema, section)
        );
        sections.insert(section.to_owned());
        rest = after;
    }
    written += rest;
    match std::env::var_os("BLESS") {
        Some(_) => std::fs::write(&path, &written).unwrap(),
        None => assert!(
            written == text,
            "docs/manifest.md is not as the schema says: BLESS=1 writes it"
        ),
    }
    let mut wanted: BTreeSet<String> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    wanted.retain(|key| !["name", "targets", "requirements"].contains(&key.as_str()));
    wanted.insert("the manifest".to_owned());
    assert_eq!(sections, wanted);
}

/// Returns the rows of a section, those of mappings in it after their own.
fn table(schema: &Json, section: &str) -> String {
    let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    match section {
        "the manifest" => rows(schema, "", 0, &mut table),
        key => rows(&schema["properties"][key], "", 9, &mut table),
    }
    table
}

fn rows(schema: &Json, before: &str, depth: usize, table: &mut String) {
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        rows(one, before, depth, table);
    }
    if schema["items"].is_object() {
        rows(&schema["items"], before, depth, table);
    }
    let by_name = schema["patternProperties"].as_object();
    for schema in by_name.into_iter().flat_map(Map::values) {
        rows(schema, before, depth, table);
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let told = |field: &str| property[field].as_str().unwrap_or_default().to_owned();
        let default = match told("x-default") {
            _ if property["x-later"] == true => "not supported yet".to_owned(),
            text if text.is_empty() && required.contains(&json!(key)) => "required".to_owned(),
            text => text,
        };
        *table += &format!(
            "| `{before}{key}` | {default} | {} |\n",
            told("description")
        );
        if depth > 0 {
            rows(property, &format!("{before}{key}."), depth - 1, table);
        }
    }
}
