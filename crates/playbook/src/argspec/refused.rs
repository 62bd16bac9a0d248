//! Values that Ansible's modules take and ours do not: said by name, never passed over.

use super::ModuleSpec;

/// Why `copy` has no `local_follow: false` for folders.
pub const LINKS_ARE_FOLLOWED: &str =
    "the links among a playbook's files are followed before they travel";

/// Returns why a parameter of a module cannot have the value that reads `text`, if it cannot.
#[must_use]
pub fn refused(spec: &ModuleSpec, param: &str, text: &str) -> Option<&'static str> {
    let param = spec.param(param).map_or(param, |known| known.name);
    match (spec.name, param) {
        ("ansible.builtin.service", "use") if !is_manager(text) => {
            Some("services are managed by `systemd` or `sysvinit`")
        }
        ("ansible.builtin.hostname", "use") if !STRATEGIES.contains(&text) => {
            Some("a name is set as `systemd`, `debian`, `alpine` or `sles` do it")
        }
        ("ansible.builtin.uri" | "ansible.builtin.get_url", param) => refused_by_web(param, text),
        ("ansible.builtin.git", "gpg_allowlist") if is_given(text) => {
            Some("signatures are verified by the keyring of the user alone")
        }
        ("ansible.builtin.user", "local") if crate::yaml::truth(text) == Some(true) => {
            Some("it needs the tools of libuser")
        }
        ("ansible.builtin.template", "output_encoding") if !is_utf_8(text) => {
            Some("files are written as UTF-8")
        }
        ("community.crypto.openssh_keypair", "passphrase") if !text.is_empty() => {
            Some("keys are made by `ssh-keygen`, which would show it to all users of the machine")
        }
        ("community.crypto.openssh_keypair", "backend") if text == "cryptography" => {
            Some("keys are made by `ssh-keygen`")
        }
        ("community.crypto.openssl_dhparam", "select_crypto_backend") if text == "cryptography" => {
            Some("parameters are made by `openssl`")
        }
        (module, param) if module.starts_with("community.postgresql.") => {
            refused_by_postgresql(param, text)
        }
        (module, param) if module.starts_with("community.mysql.") => refused_by_mysql(param, text),
        _ => None,
    }
}

/// What no request takes.
fn refused_by_web(param: &str, text: &str) -> Option<&'static str> {
    match param {
        "use_gssapi" if crate::yaml::truth(text) == Some(true) => {
            Some("there is no Kerberos; servers are logged in to by `Basic` and `Digest`")
        }
        "ciphers" if is_given(text) => Some("TLS has the ciphers of rustls, which are all good"),
        "unix_socket" if is_given(text) => Some("servers are spoken to over a network"),
        _ => None,
    }
}

/// Whether the text of a parameter says something: what is empty, or left out by a template, does not.
fn is_given(text: &str) -> bool {
    !matches!(text.trim(), "" | "[]" | "null")
}

/// What no module of MySQL and MariaDB takes.
fn refused_by_mysql(param: &str, text: &str) -> Option<&'static str> {
    match param {
        "client_cert" | "client_key" | "ca_cert" | "check_hostname" => {
            Some("servers are spoken to without TLS; name a socket (`login_unix_socket`)")
        }
        "unsafe_login_password" if crate::yaml::truth(text) == Some(true) => {
            Some("it stands for a password on a command line, which all users of the machine see")
        }
        _ => None,
    }
}

/// What no module of PostgreSQL takes.
fn refused_by_postgresql(param: &str, text: &str) -> Option<&'static str> {
    let wants_tls = match param {
        "ssl_mode" => matches!(text, "require" | "verify-ca" | "verify-full"),
        "ca_cert" | "ssl_cert" | "ssl_key" => true,
        _ => false,
    };
    wants_tls.then_some("servers are spoken to without TLS; name a socket (`login_unix_socket`)")
}

/// The ways of `hostname` to set a name.
const STRATEGIES: &[&str] = &["systemd", "debian", "alpine", "sles"];

/// Whether `service` can hand a task on to a module of this name.
fn is_manager(name: &str) -> bool {
    let name = name.to_lowercase();
    let module = super::find(&name).map(|spec| spec.name);
    let managers = [
        "ansible.builtin.systemd_service",
        "ansible.builtin.sysvinit",
    ];
    name == "auto" || module.is_some_and(|module| managers.contains(&module))
}

/// Whether a name of Python's codecs is UTF-8's; none is the default.
fn is_utf_8(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    matches!(plain.to_lowercase().as_str(), "" | "utf8" | "u8")
}
