//! Every file in `tests/bad` is refused in the words beside it, as `build` and `validate` refuse it. `BLESS=1` writes them anew.

use std::path::Path;

use amibake_playbook::files::Disk;
use amibake_playbook::syntax;

#[test]
fn bad_playbooks_are_refused_in_the_words_beside_them() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/bad");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yml") {
            continue;
        }
        cases += 1;
        let strict = syntax::Options {
            strict: true,
            ..syntax::Options::default()
        };
        let shown = match syntax::parse(&Disk::here(), &path, &strict) {
            Ok(_) => "accepted\n".to_owned(),
            Err(e) => format!("{e}\n")
                .replace(&format!("{}/", folder.display()), "")
                .replace(&folder.display().to_string(), "."),
        };
        let beside = path.with_extension("err");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&beside, &shown).unwrap();
        }
        if shown == "accepted\n" || std::fs::read_to_string(&beside).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", path.display()));
        }
    }
    assert!(cases >= 30);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
