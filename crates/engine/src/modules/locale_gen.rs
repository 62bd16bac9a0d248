//! `community.general.locale_gen`: locales, by `/etc/locale.gen` and `locale-gen`.
//!
//! Ubuntu's old way, files below `/var/lib/locales`, is of releases that are no longer supported.

use std::path::Path;

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Value as Json, json};

use super::text_file;
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::Command;

pub(super) struct LocaleGen;

const WANTED: &str = "/etc/locale.gen";
const OLD_WANTED: &str = "/var/lib/locales/supported.d";
const SUPPORTED: &str = "/usr/share/i18n/SUPPORTED";

/// How `locale -a` writes encodings, and how their names are written.
const ENCODINGS: &[(&str, &str)] = &[
    (".utf8", ".UTF-8"),
    (".eucjp", ".EUC-JP"),
    (".iso885915", ".ISO-8859-15"),
    (".cp1251", ".CP1251"),
    (".koi8r", ".KOI8-R"),
    (".armscii8", ".ARMSCII-8"),
    (".euckr", ".EUC-KR"),
    (".gbk", ".GBK"),
    (".gb18030", ".GB18030"),
    (".euctw", ".EUC-TW"),
];

impl ActionModule for LocaleGen {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let names = args.list("name");
        if !Path::new(WANTED).exists() {
            return Err(Failure::new(match Path::new(OLD_WANTED).exists() {
                true => format!(
                    "{OLD_WANTED} without {WANTED} is the way of old releases of Ubuntu, which is not supported"
                ),
                false => format!(
                    "/var/lib/locales/supported.d and {WANTED} are missing. Is the package \"locales\" installed?"
                ),
            }));
        }
        let mut fields = json!({"name": names, "mechanism": "glibc", "ubuntu_mode": false});
        check_available(&names, context).map_err(|failure| with(failure, &fields))?;
        let wanted = args.str("state") != Some("absent");
        let before = are_present(&names, context)?;
        if before != wanted && !context.check {
            let text = text_file::read(Path::new(WANTED))
                .map_err(|e| Failure::new(format!("could not read {WANTED}: {e}")))?;
            let text = with_locales(&text.unwrap_or_default(), &names, wanted)?;
            text_file::write(Path::new(WANTED), &text, context)?;
            Command::new(["locale-gen"]).checked(context)?;
        }
        let after = match context.check {
            true => before,
            false => are_present(&names, context)?,
        };
        if context.diff {
            // Ansible's module has none to show.
            fields["diff"] = json!({});
        }
        Ok(Outcome::of(after != before, fields))
    }
}

/// Adds the fields that Ansible's module fails with.
fn with(mut failure: Failure, fields: &Json) -> Failure {
    failure = failure.with("vars", fields.clone());
    failure = failure.with("output", fields.clone());
    for (name, value) in fields.as_object().into_iter().flatten() {
        failure = failure.with(name, value.clone());
    }
    failure
}

/// Refuses what neither the list of supported locales nor the machine has.
fn check_available(names: &[&str], context: &mut Context<'_>) -> Result<(), Failure> {
    let text = text_file::read(Path::new(SUPPORTED)).ok().flatten();
    let text = text.ok_or_else(|| Failure::new(format!("could not read {SUPPORTED}")))?;
    let supported: Vec<&str> = text.lines().filter_map(supported_name).collect();
    let unknown = names.iter().filter(|name| !supported.contains(name));
    let unknown: Vec<&str> = unknown.copied().collect();
    let missing = not_generated(&unknown, context)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "The following locales you have entered are not available on your system: {}",
        missing.join(", ")
    )))
}

/// Reads `de_DE.UTF-8 UTF-8`, also where it is commented out.
fn supported_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mut words = line.strip_prefix('#').unwrap_or(line).split_whitespace();
    let name = words.next().filter(|name| name.len() > 1)?;
    let _charset = words.next()?;
    words.next().is_none().then_some(name)
}

fn are_present(names: &[&str], context: &mut Context<'_>) -> Result<bool, Failure> {
    Ok(not_generated(names, context)?.is_empty())
}

fn not_generated<'a>(
    names: &[&'a str],
    context: &mut Context<'_>,
) -> Result<Vec<&'a str>, Failure> {
    let listed = Command::new(["locale", "-a"])
        .parsable()
        .checked(context)?
        .stdout;
    let there: Vec<String> = listed.lines().map(with_encoding).collect();
    let missing = names
        .iter()
        .filter(|name| !there.contains(&with_encoding(name)));
    Ok(missing.copied().collect())
}

fn with_encoding(name: &str) -> String {
    let name = name.to_owned();
    ENCODINGS
        .iter()
        .fold(name, |name, (short, full)| name.replace(short, full))
}

/// Returns the list with the lines of these locales in or out of comments.
fn with_locales(text: &str, names: &[&str], wanted: bool) -> Result<String, Failure> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for name in names {
        let pattern = format!(r"^#?\s*{}( .+)", escaped(name));
        let regex = Regex::new(&pattern, Flags::default())
            .map_err(|e| Failure::new(format!("{name} is no name of a locale: {e}")))?;
        for line in &mut lines {
            let found = regex.search(line.as_bytes(), 0).ok().flatten();
            let rest = found.and_then(|groups| line.get(groups.get(1)?.start..).map(str::to_owned));
            if let Some(rest) = rest {
                *line = format!("{}{name}{rest}", if wanted { "" } else { "# " });
            }
        }
    }
    Ok(lines.concat())
}

fn escaped(name: &str) -> String {
    let escape = |c: char| match c.is_alphanumeric() || c == '_' {
        true => c.to_string(),
        false => format!("\\{c}"),
    };
    name.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_in_and_out_of_comments() {
        let text = "# This file lists locales\n# de_DE.UTF-8 UTF-8  \n# de_DE.UTF-8@euro X\nen_US.UTF-8 UTF-8\n";
        let on = with_locales(text, &["de_DE.UTF-8"], true).unwrap();
        assert_eq!(on, text.replace("# de_DE.UTF-8 ", "de_DE.UTF-8 "));
        let off = with_locales(text, &["en_US.UTF-8"], false).unwrap();
        assert_eq!(off, text.replace("en_US", "# en_US"));
    }

    #[test]
    fn the_list_of_supported_locales_is_read_through_comments() {
        assert_eq!(supported_name("# de_DE ISO-8859-1"), Some("de_DE"));
        assert_eq!(supported_name("de_DE.UTF-8 UTF-8  "), Some("de_DE.UTF-8"));
        assert_eq!(supported_name("# This file lists locales"), None);
        assert_eq!(with_encoding("de_DE.utf8"), "de_DE.UTF-8");
    }
}
