//! Patterns for files of the image, as a waiver names them.

use std::fmt;

use serde::{Serialize, Serializer};

/// A shell's pattern: `*` and `?` stop at a `/`, `**` is any number of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathGlob(glob::Pattern);

impl PathGlob {
    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };

    /// # Errors
    /// A fragment that says what is wrong with the pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        if !pattern.starts_with('/') {
            return Err("must begin with `/`: files are named from the root".to_owned());
        }
        if pattern.split('/').any(|part| part == "." || part == "..") {
            return Err("may have no `.` and `..`: files are named without".to_owned());
        }
        let pattern =
            glob::Pattern::new(pattern).map_err(|e| format!("is no pattern: {}", e.msg))?;
        Ok(Self(pattern))
    }

    pub(crate) fn fits(&self, path: &str) -> bool {
        self.0.matches_with(path, Self::OPTIONS)
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for PathGlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stops_at_a_folder_and_two_do_not() {
        for (pattern, path, fits) in [
            ("/etc/ssl/ca.key", "/etc/ssl/ca.key", true),
            ("/etc/ssl/ca.key", "/etc/ssl/ca.key.old", false),
            ("/opt/*/tests/*.pem", "/opt/app/tests/a.pem", true),
            ("/opt/*/tests/*.pem", "/opt/app/v1/tests/a.pem", false),
            ("/opt/**/*.pem", "/opt/app/v1/tests/a.pem", true),
            ("/opt/**/*.pem", "/opt/a.pem", true),
            ("/opt/app/**", "/opt/app/.hidden/key", true),
            ("/opt/app/**", "/opt/app2/key", false),
            ("/opt/app/**", "/opt/application", false),
            ("/**", "/root/.ssh/id_rsa", true),
            ("/home/*/.npmrc", "/home/ubuntu/.npmrc", true),
            ("/home/*/.npmrc", "/home/a/b/.npmrc", false),
            ("/OPT/app", "/opt/app", false),
        ] {
            let glob = PathGlob::new(pattern).unwrap();
            assert_eq!(glob.fits(path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_could_never_fit_is_refused() {
        for (pattern, why) in [
            ("opt/app/*", "must begin with `/`"),
            ("", "must begin with `/`"),
            ("/opt/../etc/x", "may have no `.` and `..`"),
            ("/opt/a**", "is no pattern: recursive wildcards"),
            ("/opt/[a", "is no pattern: invalid range"),
        ] {
            let error = PathGlob::new(pattern).unwrap_err();
            assert!(error.starts_with(why), "{pattern}: {error}");
        }
    }
}
