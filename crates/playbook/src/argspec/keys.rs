//! Modules about keys: `openssh_keypair`, `openssl_dhparam`.

use super::Kind::{Bool, Int, Path, Raw, Str};
use super::files::and_attributes;
use super::{ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[OPENSSH_KEYPAIR, OPENSSL_DHPARAM];

const OPENSSH_KEYPAIR: ModuleSpec = ModuleSpec::new(
    "community.crypto.openssh_keypair",
    and_attributes![
        Param::new("state", Str)
            .default("present")
            .choices(&["present", "absent"]),
        Param::new("size", Int),
        Param::new("type", Str)
            .default("rsa")
            .choices(&["rsa", "dsa", "rsa1", "ecdsa", "ed25519"]),
        Param::new("force", Bool).default("false"),
        Param::new("path", Path).required(),
        Param::new("comment", Str),
        Param::new("regenerate", Str)
            .default("partial_idempotence")
            .choices(&[
                "never",
                "fail",
                "partial_idempotence",
                "full_idempotence",
                "always",
            ]),
        Param::new("passphrase", Str).no_log(),
        Param::new("private_key_format", Str)
            .default("auto")
            .choices(&["auto", "pkcs1", "pkcs8", "ssh"]),
        Param::new("backend", Str)
            .default("auto")
            .choices(&["auto", "cryptography", "opensshbin"]),
    ],
);

const OPENSSL_DHPARAM: ModuleSpec = ModuleSpec::new(
    "community.crypto.openssl_dhparam",
    and_attributes![
        Param::new("state", Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("size", Int).default("4096"),
        Param::new("force", Bool).default("false"),
        Param::new("path", Path).required(),
        Param::new("backup", Bool).default("false"),
        Param::new("select_crypto_backend", Str)
            .default("auto")
            .choices(&["auto", "cryptography", "openssl"]),
        Param::new("return_content", Bool).default("false"),
    ],
);
