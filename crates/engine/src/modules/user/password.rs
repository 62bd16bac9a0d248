//! What a password hash looks like.

/// Returns whether `password` seems to be in clear, by the rules of Ansible's warning.
pub(super) fn looks_unhashed(password: &str) -> bool {
    if password.is_empty() || matches!(password, "*" | "!" | "*************") {
        return false;
    }
    if password.contains([':', '*', '!']) {
        return true;
    }
    let fields: Vec<&str> = password.split('$').collect();
    let [_, scheme, .., hash] = fields[..] else {
        return true;
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "./=".contains(c);
    let length = match scheme {
        "1" => Some(22),
        "5" | "y" => Some(43),
        "6" => Some(86),
        _ => None,
    };
    !hash.chars().all(allowed) || length.is_some_and(|length| hash.len() != length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_told_from_hashes() {
        for clear in ["secret", "!secret", "$6$salt$short", "$1$a$b:", "a$b"] {
            assert!(looks_unhashed(clear), "{clear}");
        }
        let sha512 = format!("$6$salt${}", "a".repeat(86));
        let yescrypt = format!("$y$j9T$salt${}", "a".repeat(43));
        for hash in ["*", "!", "", &sha512, &yescrypt, "$2b$12$abc"] {
            assert!(!looks_unhashed(hash), "{hash}");
        }
    }
}
