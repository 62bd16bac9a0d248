//! Manifests that are refused, in the words beside them, and what good ones become.

use amibake_playbook::value::{Mark, Value};

use super::*;

/// Reads a manifest on a host of the other architecture than most.
fn read_on(
    os_release: &str,
    path: &Path,
    text: &str,
    target: TargetKind,
    given: &Given,
) -> Result<Manifest, Diagnostics> {
    let purpose = Purpose {
        target,
        given,
        host: Host {
            arch: Some(Arch::Arm64),
            os_release: Ok(os_release.to_owned()),
        },
        build_time: "20260727T101500Z".to_owned(),
        search: SearchPaths::default(),
    };
    let document = yaml::parse(path, text.as_bytes()).unwrap();
    parse(path, &document, &purpose)
}

fn read(text: &str, target: TargetKind) -> Result<Manifest, Diagnostics> {
    read_on(
        "",
        Path::new("/m/web.yaml"),
        text,
        target,
        &Given::default(),
    )
}

/// Reads a good manifest of one image.
fn good(text: &str, target: TargetKind) -> Wanted {
    let mut images = read(text, target).unwrap().images;
    assert_eq!(images.len(), 1);
    images.remove(0)
}

/// Returns the one step of a manifest, which is tasks, and its variables.
fn tasks_of(wanted: &Wanted) -> (&str, &serde_json::Map<String, serde_json::Value>) {
    let [Step { provision, .. }] = &wanted.provision[..] else {
        panic!("one step");
    };
    let Provision::Tasks { yaml, vars } = provision else {
        panic!("tasks");
    };
    (yaml, vars)
}

/// Each `bad/NAME.yaml` is refused with the text of `bad/NAME.err`; a new case is a new pair.
#[test]
fn every_bad_manifest_is_refused_in_the_words_beside_it() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("src/manifest/bad");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap();
        let place = Path::new("/m").join(name);
        let said = read_on("", &place, &text, TargetKind::Ec2, &Given::default());
        let said = format!("{}\n", said.expect_err(&name.to_string_lossy()));
        let golden = path.with_extension("err");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        assert_eq!(
            said,
            std::fs::read_to_string(&golden).unwrap(),
            "{}",
            path.display()
        );
    }
    assert!(seen >= 20, "only {seen} cases");
}

#[test]
fn a_variable_takes_the_strongest_value() {
    let text = "name: web\nvariables: {v: {default: d}}\nsource: {ubuntu: \"24.04\"}\nimage: {name: \"w-{{ v }}-{{ arch }}\"}\n";
    let layer = |value: &str| [("v".to_owned(), value.to_owned())].into();
    let name = |given: Given| {
        let read = read_on("", Path::new("/m/web.yaml"), text, TargetKind::Ec2, &given);
        read.unwrap().images.remove(0).image.name
    };
    assert_eq!(name(Given::default()), "w-d-amd64");
    assert_eq!(
        name(Given::new(vec![[].into(), layer("file"), layer("env")])),
        "w-file-amd64"
    );
    assert_eq!(
        name(Given::new(vec![layer("var"), layer("file")])),
        "w-var-amd64"
    );
}

#[test]
fn a_target_has_its_own_source() {
    let text = "name: web\nsource: {ubuntu: \"24.04\"}\ntargets: {container: {source: {debian: bookworm}}}\n";
    let of = |target| good(text, target).source;
    assert_eq!(of(TargetKind::Ec2), Source::Ubuntu("24.04".into()));
    assert_eq!(of(TargetKind::Container), Source::Debian("bookworm".into()));
}

#[test]
fn a_container_is_by_default_as_its_host() {
    for (source, on_ec2, in_container) in [
        ("source: {ubuntu: \"24.04\"}", Arch::Amd64, Arch::Arm64),
        (
            "source: {ubuntu: \"24.04\", arch: amd64}",
            Arch::Amd64,
            Arch::Amd64,
        ),
    ] {
        let text = format!("name: web\n{source}\n");
        assert_eq!(good(&text, TargetKind::Ec2).arch, on_ec2);
        assert_eq!(good(&text, TargetKind::Container).arch, in_container);
    }
    let of = |os_release| {
        let image = without_source(os_release).unwrap().images.remove(0);
        (image.source, image.arch)
    };
    let ubuntu = "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n";
    assert_eq!(of(ubuntu), (Source::Ubuntu("noble".into()), Arch::Arm64));
    let debian = of("ID=\"debian\"\nVERSION_CODENAME=\"bookworm\"\n").0;
    assert_eq!(debian, Source::Debian("bookworm".into()));
}

#[test]
fn a_container_on_another_host_needs_a_source() {
    for (os_release, why) in [
        (
            "ID=fedora\nVERSION_ID=41\n",
            "this host is neither Debian nor Ubuntu: /etc/os-release has ID=fedora",
        ),
        (
            "ID=debian\nVERSION_CODENAME=\n",
            "/etc/os-release has no VERSION_CODENAME",
        ),
    ] {
        let said = without_source(os_release).unwrap_err().to_string();
        assert!(
            said.starts_with("/m/web.yaml:1:1: the manifest has no `source`"),
            "{said}"
        );
        assert!(said.contains(why) && said.contains("hint: "), "{said}");
    }
}

fn without_source(os_release: &str) -> Result<Manifest, Diagnostics> {
    let path = Path::new("/m/web.yaml");
    let given = Given::default();
    read_on(
        os_release,
        path,
        "name: web\n",
        TargetKind::Container,
        &given,
    )
}

/// Every text but those that must be known before.
#[test]
fn each_image_has_its_own_architecture_and_time_in_every_section() {
    let text = r#"
name: web
source: {filter: {owners: [self], name: "base-{{ arch }}"}, arch: [amd64, arm64]}
builder: {instance_type: "{{ arch }}.small", tags: {Arch: "{{ arch }}", Built: "{{ build_time }}"}}
provision:
  - tasks: [{debug: {msg: "{{ arch }}"}}]
    vars: {url: "https://example.org/tool-{{ arch }}.deb"}
test:
  - command: {run: "dpkg --print-architecture", contains: "{{ arch }}"}
image: {tags: {Built: "{{ build_time }}"}}
"#;
    let images = read(text, TargetKind::Ec2).unwrap().images;
    let arches: Vec<String> = images.iter().map(|image| image.arch.to_string()).collect();
    assert_eq!(arches, ["amd64", "arm64"]);
    for (image, arch) in images.iter().zip(arches) {
        let Source::Filter(filter) = &image.source else {
            panic!("a filter");
        };
        assert_eq!(filter.filters["name"], [format!("base-{arch}")]);
        assert_eq!(image.builder.instance_types, [format!("{arch}.small")]);
        assert_eq!(image.builder.tags["Arch"], arch);
        assert_eq!(image.builder.tags["Built"], "20260727T101500Z");
        let (yaml, vars) = tasks_of(image);
        assert_eq!(vars["url"], format!("https://example.org/tool-{arch}.deb"));
        assert!(yaml.contains("{{ arch }}"), "the playbook's own: {yaml}");
        let [ImageTest { test, .. }] = &image.tests[..] else {
            panic!("one test");
        };
        let Test::Command { contains, .. } = test else {
            panic!("a command");
        };
        assert_eq!(contains.as_ref(), Some(&arch));
        assert_eq!(image.image.name, format!("web-{arch}-20260727T101500Z"));
        assert_eq!(image.image.tags["Built"], "20260727T101500Z");
    }
}

#[test]
fn inline_tasks_keep_their_lines_and_their_templates() {
    let text = "name: web\nsource: {ubuntu: \"24.04\"}\nprovision:\n  - tasks:\n      - debug:\n          msg: \"{{ x }}\"\n    vars: {x: 1}\ntest: []\n";
    let manifest = good(text, TargetKind::Ec2);
    let (yaml, vars) = tasks_of(&manifest);
    assert_eq!(yaml, "\n\n\n\n      - debug:\n          msg: \"{{ x }}\"\n");
    assert_eq!(vars["x"], 1);
}

#[test]
fn data_among_the_variables_of_a_step_stays_data() {
    let text = "name: web\nsource: {ubuntu: \"24.04\"}\nprovision:\n  - tasks: [{ping: }]\n    vars: {a: \"{{ name }}\", b: !unsafe \"{{ name }}\", c: !unsafe [\"{{ x }}\"], 80: {80: x}}\ntest: []\n";
    let manifest = good(text, TargetKind::Ec2);
    let (_, vars) = tasks_of(&manifest);
    let arrived = |name: &str| Value::from_authored_json(&vars[name]);
    assert_eq!(arrived("a").as_str(), Some("web"));
    assert_eq!(arrived("b").as_str(), Some("{{ name }}"));
    assert_eq!(arrived("b").mark(), Some(Mark::Data));
    assert_eq!(arrived("c").repr(), "['{{ x }}']");
    assert!(!arrived("c").is_latent());
    assert_eq!(arrived("80").repr(), "{80: 'x'}");
}

#[test]
fn tasks_in_flow_style_keep_their_templates_and_tags() {
    let text = "name: web\nsource: {ubuntu: \"24.04\"}\nprovision:\n  - tasks: [{debug: {msg: \"{{ inventory_hostname }}\"}},\n      {name: \"a \\\"b\\\"\", debug: {msg: !unsafe \"{{ x }}\"}, retries: 3, when: [yes, 'a']}]\n";
    let manifest = good(text, TargetKind::Ec2);
    let (yaml, _) = tasks_of(&manifest);
    let (_, written) = text.split_once("tasks: ").unwrap();
    assert_eq!(yaml, format!("\n\n\n           {}\n", written.trim_end()));
}

/// An alias means nothing without its anchor, which may stand anywhere.
#[test]
fn tasks_in_flow_style_are_written_out_where_they_have_aliases() {
    let text = "name: web\nvariables: {v: {default: &hello hi}}\nsource: {ubuntu: \"24.04\"}\nprovision:\n  - tasks: [{debug: {msg: *hello}}, {name: \"a \\\"b\\\"\", debug: {msg: !unsafe \"{{ x }}\"}, retries: 3, when: [yes, 'a']}]\n";
    let manifest = good(text, TargetKind::Ec2);
    let (yaml, _) = tasks_of(&manifest);
    assert_eq!(
        yaml.trim_start(),
        r#"[{"debug": {"msg": "hi"}}, {"name": "a \"b\"", "debug": {"msg": !unsafe "{{ x }}"}, "retries": 3, "when": [true, "a"]}]
"#
    );
    assert_eq!(
        yaml.len() - yaml.trim_start().len(),
        "\n\n\n\n           ".len()
    );
    let path = Path::new("/m/web.yaml");
    yaml::parse(path, yaml.as_bytes()).unwrap();
}

/// They may be one manifest, or two of one name.
#[test]
fn no_manifest_starts_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yaml");
    let text = "name: web\nsource: {manifest: web.yaml}\n";
    std::fs::write(&path, text).unwrap();
    let said = read_on("", &path, text, TargetKind::Ec2, &Given::default()).unwrap_err();
    let said = said.to_string();
    let told = "web.yaml:2:20: `source.manifest` is this manifest, or one of the same name: web";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_secret_that_nothing_is_made_of_may_be_missing() {
    let text = "name: web\nvariables: {token: {sensitive: true}, size: {}}\nsource: {ubuntu: \"24.04\"}\nprovision: [{tasks: [{ping: }], vars: {t: \"{{ token }}\"}}]\n";
    let read = |given: &Given| {
        let path = Path::new("/m/web.yaml");
        read_on("", path, text, TargetKind::Ec2, given).map_err(|e| e.to_string())
    };
    let given = Given::new(vec![[("size".to_owned(), "m".to_owned())].into()]);
    let said = read(&given).unwrap_err();
    assert!(said.contains("variable `token` has no value"), "{said}");
    let given = given.with_secrets(Secrets::Unneeded);
    read(&given).unwrap();
    // What is not secret may be part of anything.
    let said = read(&Given::default().with_secrets(Secrets::Unneeded)).unwrap_err();
    assert!(said.contains("variable `size` has no value"), "{said}");
}

#[test]
fn a_checksum_is_checked_when_the_manifest_is_read() {
    let image = |source: &str| {
        let text = format!("name: web\nsource: {{{source}}}\n");
        read(&text, TargetKind::Container)
    };
    let sum = "0f".repeat(32);
    image(&format!(
        "image: \"http://x/r.tar\", checksum: \"sha256:{sum}\""
    ))
    .unwrap();
    image("image: root.tar").unwrap();
    for bad in [
        format!("image: root.tar, checksum: \"{sum}\""),
        "image: root.tar, checksum: \"sha256:0f\"".to_owned(),
        "image: \"http://x/r.tar\"".to_owned(),
    ] {
        let said = image(&bad).expect_err(&bad).to_string();
        assert!(said.contains("checksum"), "{said}");
    }
}

#[test]
fn an_image_s_name_is_one_that_its_target_takes() {
    use TargetKind::{Container, Ec2};
    let long = "x".repeat(112);
    for (name, targets) in [
        ("web-{{ arch }}-{{ build_time }}", &[Ec2, Container][..]),
        ("web (v1.2) [it's] a_b@c", &[Ec2, Container]),
        ("teams/web", &[Ec2]),
        ("/web", &[Ec2]),
        ("../web", &[Ec2]),
        ("web:{{ build_time }}", &[Container]),
        ("wéb", &[Container]),
        ("we", &[Container]),
        (&format!("{long}{{{{ build_time }}}}"), &[Ec2, Container]),
        (&format!("{long}x{{{{ build_time }}}}"), &[]),
        ("", &[]),
        ("a\tb", &[]),
    ] {
        let text = format!("name: web\nsource: {{ubuntu: \"24.04\"}}\nimage: {{name: {name:?}}}\n");
        for target in [Ec2, Container] {
            assert_eq!(
                read(&text, target).is_ok(),
                targets.contains(&target),
                "{name} on {target:?}"
            );
        }
    }
}

const PORTS: &str = "name: web\nsource: {ubuntu: \"24.04\"}\nimage: {ports: [22, 8080]}\n";

#[test]
fn each_step_is_told_what_may_listen_unless_it_has_its_own() {
    let ports = |vars: &str| {
        let text = format!("{PORTS}provision:\n  - tasks: [{{ping: }}]\n{vars}");
        let image = good(&text, TargetKind::Ec2);
        tasks_of(&image).1.get("image_ports").cloned()
    };
    assert_eq!(ports(""), Some(serde_json::json!([22, 8080])));
    let own = ports("    vars: {image_ports: [443]}\n");
    assert_eq!(own, Some(serde_json::json!([443])));
    for (builder, ssh) in [("", 22), ("builder: {port: 2222}\n", 2222)] {
        let text = format!(
            "name: web\nsource: {{ubuntu: \"24.04\"}}\n{builder}provision: [{{tasks: [{{ping: }}]}}]\n"
        );
        let none = good(&text, TargetKind::Ec2);
        assert_eq!(none.image.ports, None);
        assert_eq!(tasks_of(&none).1["image_ports"], serde_json::json!([ssh]));
    }
}

#[test]
fn what_is_waived_has_its_reason_and_its_place() {
    let text = "name: web\nsource: {ubuntu: \"24.04\"}\ngate:\n  level: strict\n  waive:\n    - {check: private-key, reason: a key of the test CA}\n";
    let gate = good(text, TargetKind::Ec2).gate;
    assert_eq!(gate.level, GateLevel::Strict);
    let [waiver] = &gate.waive[..] else {
        panic!("{gate:?}");
    };
    assert_eq!(waiver.check, crate::check::Check::PrivateKey);
    assert_eq!(waiver.reason, "a key of the test CA");
    assert_eq!(waiver.path, None);
    assert_eq!(waiver.span.to_string(), "/m/web.yaml:6:7");
    let usual = good("name: web\nsource: {ubuntu: \"24.04\"}\n", TargetKind::Ec2).gate;
    assert_eq!(usual, Gate::default());
}

#[test]
fn a_check_is_waived_once_for_all_or_for_each_of_several_paths() {
    let read = |waive: &str| {
        let text =
            format!("name: web\nsource: {{ubuntu: \"24.04\"}}\ngate: {{waive: [{waive}]}}\n");
        read(&text, TargetKind::Ec2).map(|mut read| read.images.remove(0).gate)
    };
    let one = "{check: private-key, path: /etc/ssl/test/*.key, reason: of the test CA}";
    let other = "{check: private-key, path: /opt/**, reason: the application's tests}";
    let all = "{check: private-key, reason: there are many}";
    let paths = read(&format!("{one}, {other}")).unwrap();
    let paths = paths.waive.iter().map(|w| w.path.as_ref().unwrap());
    let paths: Vec<String> = paths.map(ToString::to_string).collect();
    assert_eq!(paths, ["/etc/ssl/test/*.key", "/opt/**"]);
    for twice in [
        format!("{one}, {one}"),
        format!("{all}, {one}"),
        format!("{one}, {all}"),
    ] {
        assert!(read(&twice).is_err(), "{twice}");
    }
}

#[test]
fn a_step_that_hardens_says_by_which_profile_and_without_what() {
    let folder = tempfile::tempdir().unwrap();
    for role in [
        "hardening/os",
        "roles/devsec.hardening.ssh_hardening",
        "roles/web",
    ] {
        std::fs::create_dir_all(folder.path().join(role)).unwrap();
    }
    let path = folder.path().join("web.yaml");
    let of = |step: &str| {
        let text = format!("name: web\nsource: {{ubuntu: \"24.04\"}}\nprovision: [{step}]\n");
        let read = read_on("", &path, &text, TargetKind::Ec2, &Given::default());
        read.unwrap().images.remove(0).provision.remove(0).hardening
    };
    let ours = of("{role: hardening/os, vars: {hardening_profile: strict, hardening_exceptions: [{control: os.mount.tmp, reason: builds}]}}").unwrap();
    assert_eq!((&*ours.step, &*ours.profile), ("hardening/os", "strict"));
    assert_eq!(ours.exceptions[0].control, "os.mount.tmp");
    assert_eq!(ours.exceptions[0].reason, "builds");
    assert_eq!(of("{role: hardening/os}").unwrap().profile, "baseline");
    assert_eq!(of("{role: roles/web}"), None);
    // Another's role has no profiles of ours.
    assert_eq!(of("{role: roles/devsec.hardening.ssh_hardening}"), None);
}
