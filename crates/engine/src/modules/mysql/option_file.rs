//! Option files (`my.cnf`): read as PyMySQL does, and written for programs that are to know a password.

use std::io::Write as _;
use std::path::Path;

use amibake_playbook::ini::{self, Ini, Section};
use tempfile::NamedTempFile;

/// Options of an option file with which PyMySQL speaks TLS.
const TLS: &[&str] = &["ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-cipher"];
/// The files that client programs read by themselves, but for that of the user.
const USUAL: &[&str] = &["/etc/my.cnf", "/etc/mysql/my.cnf"];

/// What the section `client` says.
#[derive(Debug, Default)]
pub(super) struct OptionFile(Section);

impl OptionFile {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        let how = ini::Options {
            allow_no_value: true,
            case_sensitive: false,
        };
        let ini = Ini::parse(&String::from_utf8_lossy(&text), how);
        let ini = ini.map_err(|error| error.to_string())?;
        Ok(Self(ini.section("client").unwrap_or_default()))
    }

    /// Returns an option, without the quotes around it; one that is empty is none.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let value = self.0.get(key)?.as_deref()?;
        let bare = ['\'', '"']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        Some(bare.unwrap_or(value).to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns an option that asks for TLS, if there is one.
    pub(super) fn asks_for_tls(&self) -> Option<&'static str> {
        TLS.iter().copied().find(|key| self.get(key).is_some())
    }
}

/// Writes an option file, readable for its owner alone, in which a password wins over what other files say:
/// the `given` one and, unless that is to be the only one, those that are usual.
pub(super) fn with_password(
    password: &str,
    given: Option<&Path>,
    only: bool,
    home: Option<&Path>,
) -> std::io::Result<NamedTempFile> {
    let mut text = String::new();
    let own = home.map(|home| home.join(".my.cnf"));
    let usual = USUAL.iter().map(Path::new).filter(|_| !only);
    let own = own.as_deref().filter(|_| !only);
    for file in usual.chain(given).chain(own).filter(|file| file.exists()) {
        text += &format!("!include {}\n", file.display());
    }
    text += &format!("[client]\npassword={}\n", quoted(password));
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Returns a value in quotes, in which nothing begins a comment.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn options_lose_their_quotes_and_what_is_no_option_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.cnf");
        let text = "# a comment\n[client]\nuser=root\npassword='a\"b'\nquick\n!includedir /etc/x\n[mysqld]\nport=1\n";
        std::fs::write(&path, text).unwrap();
        let file = OptionFile::read(&path).unwrap();
        assert_eq!(file.get("user").as_deref(), Some("root"));
        assert_eq!(file.get("password").as_deref(), Some("a\"b"));
        assert_eq!((file.get("quick"), file.get("port")), (None, None));
        assert_eq!(file.asks_for_tls(), None);
        std::fs::write(&path, "[client]\nssl-ca=/x\n").unwrap();
        assert_eq!(
            OptionFile::read(&path).unwrap().asks_for_tls(),
            Some("ssl-ca")
        );
        std::fs::write(&path, "user=root\n").unwrap();
        assert!(
            OptionFile::read(&path)
                .unwrap_err()
                .contains("no section headers")
        );
    }

    #[test]
    fn a_password_comes_last_and_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".my.cnf");
        std::fs::write(&own, "").unwrap();
        let file = with_password("a#\"\\b", None, false, Some(home.path())).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let end = format!(
            "!include {}\n[client]\npassword=\"a#\\\"\\\\b\"\n",
            own.display()
        );
        assert!(text.ends_with(&end), "{text}");
        let mode = file.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let only = with_password("a", Some(&own), true, Some(home.path())).unwrap();
        let text = std::fs::read_to_string(only.path()).unwrap();
        assert_eq!(text.matches("!include").count(), 1);
    }
}
