//! What the gate looks for, by names that stay: manifests waive them, result files carry them.
//!
//! How each is found is `guest`'s; what its findings lead to is decided in `guest::gate`.

use std::fmt;

use serde::Serialize;

/// What a finding means for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nobody could log in, or the machine would not set itself up: it fails.
    Login,
    /// Something of the builder, of another machine or of a person is in the image: it fails.
    Residue,
    /// It is not as it should be, and works: a warning, unless the gate is strict.
    Posture,
}

/// Declares the checks once: variant, name, class, and what it is for.
macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident;)*) => {
        /// One check of the gate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Check {
            $($(#[$doc])* $variant,)*
        }

        impl Check {
            /// All of them.
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns the name that manifests and results have.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            pub(crate) fn class(self) -> Class {
                match self {
                    $(Self::$variant => Class::$class,)*
                }
            }
        }
    };
}

checks! {
    /// cloud-init is not installed.
    CloudInitMissing = "cloud-init-missing", Login;
    /// cloud-init, or one of its stages, is switched off.
    CloudInitDisabled = "cloud-init-disabled", Login;
    /// cloud-init does not look where the target's data is.
    Datasource = "datasource", Login;
    /// Neither sshd's service nor its socket starts at boot.
    SshDisabled = "ssh-disabled", Login;
    /// sshd refuses its configuration.
    SshConfig = "ssh-config", Login;
    /// sshd listens elsewhere than it is connected to.
    SshPort = "ssh-port", Login;
    /// sshd would not take the login user's key.
    SshLogin = "ssh-login", Login;
    /// The login user has no shell, has expired, or nobody may log in.
    LoginUser = "login-user", Login;

    /// What sealing should have removed is there.
    BuilderResidue = "builder-residue", Residue;
    /// A key that is not the candidate's own login key lets somebody in.
    AuthorizedKeys = "authorized-keys", Residue;
    /// A host key of the builder proves the image's machines.
    HostKeys = "host-keys", Residue;
    /// The builder's machine-id.
    MachineId = "machine-id", Residue;
    /// A network or udev rule names the builder's network card.
    BuilderMac = "builder-mac", Residue;
    /// What a package made when it was installed, equal on all machines of the image.
    PackageIdentity = "package-identity", Residue;
    /// A private key.
    PrivateKey = "private-key", Residue;
    /// A file that programs keep credentials in, with some in it.
    CredentialsFile = "credentials-file", Residue;
    /// A text that looks like a token of a well-known service.
    SecretString = "secret-string", Residue;
    /// Swap that holds what was in memory.
    Swap = "swap", Residue;
    /// A unit has lost the enabled-state that it had when the builder was sealed.
    UnitState = "unit-state", Residue;

    /// An account has a password, or needs none.
    AccountPassword = "account-password", Posture;
    /// Passwords expire, and with them logins by key.
    PasswordExpiry = "password-expiry", Posture;
    /// The builder's host name is in a configuration file.
    BuilderName = "builder-name", Posture;
    /// Anybody may write a file that others rely on.
    WorldWritable = "world-writable", Posture;
    /// A unit failed in the candidate's boot.
    FailedUnit = "failed-unit", Posture;
    /// Something listens on a port that is not in `image.ports`.
    ListeningPort = "listening-port", Posture;
    /// A search took too long, and did not see everything.
    SearchIncomplete = "search-incomplete", Posture;
    /// The clock is wrong, or nothing keeps it.
    Clock = "clock", Posture;
}

impl Check {
    /// Returns the check of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Check {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_found_by_its_name() {
        for check in Check::ALL {
            assert_eq!(Check::named(check.name()), Some(check));
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(check.name().chars().all(plain), "{check}");
        }
        assert_eq!(Check::named("private"), None);
    }

    /// On a machine by tests/system; what needs a slow disk or a clock of its own by unit tests of `guest`.
    #[test]
    fn each_check_has_a_test_that_plants_what_it_looks_for() {
        let on_machines = include_str!("../tests/system/build_gate.rs");
        for check in Check::ALL {
            let elsewhere = matches!(check, Check::Clock | Check::SearchIncomplete);
            let planted = on_machines.contains(&format!("\"{check}"));
            assert!(planted || elsewhere, "{check}");
        }
    }
}
