//! User data: public keys, the one-time host key, the dead-man timer, and nothing else of ours.
//! The user's own is merged as MIME. Anybody in the account can read it.

use std::time::Duration;

use base64::Engine;
use russh::keys::ssh_key::LineEnding;

use crate::guest::prepare::arm_timer;
use crate::run::RunId;
use crate::targets::{Keys, Role, TargetError};

/// EC2's limit, before base64.
const LIMIT_BYTES: usize = 16 * 1024;

/// Returns user data as RunInstances takes it, in base64.
pub(super) fn render(
    keys: &Keys,
    run: &RunId,
    role: Role,
    lifetime: Duration,
    own: Option<&str>,
) -> Result<String, TargetError> {
    let ours = cloud_config(keys, &arm_timer(run, role, lifetime))?;
    let text = match own {
        None => ours,
        Some(own) => merge(&ours, own)?,
    };
    if text.len() > LIMIT_BYTES {
        let own = own.map_or(0, str::len);
        return Err(TargetError::manifest(format!(
            "user data has {} bytes, and EC2 takes {LIMIT_BYTES}; builder.user_data is {own} of them",
            text.len()
        )));
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(text))
}

/// JSON is YAML: nothing needs quoting by hand.
fn cloud_config(keys: &Keys, timer: &str) -> Result<String, TargetError> {
    let unusable = |e| TargetError::new("a key could not be written").because(e);
    let private = keys.host.to_openssh(LineEnding::LF).map_err(unusable)?;
    let config = serde_json::json!({
        "bootcmd": [["sh", "-c", timer]],
        "ssh_authorized_keys": [keys.login.public_key().to_openssh().map_err(unusable)?],
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": private.as_str(),
            "ed25519_public": keys.host.public_key().to_openssh().map_err(unusable)?,
        },
    });
    Ok(format!("#cloud-config\n{config:#}\n"))
}

fn merge(ours: &str, own: &str) -> Result<String, TargetError> {
    let boundary = "==amibake-user-data==";
    if own.contains(boundary) {
        return Err(TargetError::manifest(
            "builder.user_data contains amibake's own MIME boundary",
        ));
    }
    let own = part(own)?;
    Ok(format!(
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n\
         --{boundary}\n{own}\n--{boundary}\nContent-Type: text/cloud-config\n\
         Merge-Type: list(append)+dict(recurse_list,no_replace)+str()\n\n{ours}\n--{boundary}--\n"
    ))
}

/// Returns one MIME part: a message that is MIME already, or text by its first line.
fn part(own: &str) -> Result<String, TargetError> {
    let start = own.trim_start();
    if start
        .get(..13)
        .is_some_and(|s| s.eq_ignore_ascii_case("content-type:"))
    {
        return Ok(start.to_owned());
    }
    let known = [
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("#include", "text/x-include-url"),
        ("#!", "text/x-shellscript"),
    ];
    let kind = known
        .iter()
        .find(|(prefix, _)| start.starts_with(prefix))
        .map(|(_, kind)| kind);
    let kind = kind.ok_or_else(|| {
        TargetError::manifest("builder.user_data is not in a format that cloud-init knows")
            .with_hint("begin it with `#cloud-config` or `#!/bin/sh`")
    })?;
    Ok(format!(
        "Content-Type: {kind}\nMIME-Version: 1.0\n\n{start}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(own: Option<&str>) -> String {
        let keys = Keys::make().unwrap();
        let run = "20260727t101500z-0a1b2c".parse().unwrap();
        let half_an_hour = Duration::from_secs(1800);
        let text = render(&keys, &run, Role::Builder, half_an_hour, own).unwrap();
        String::from_utf8(
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn user_data_carries_keys_and_timer_and_nothing_else() {
        let text = decoded(None);
        let json: serde_json::Value =
            serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "bootcmd",
                "ssh_authorized_keys",
                "ssh_deletekeys",
                "ssh_keys"
            ]
        );
        assert_eq!(
            text.matches("PRIVATE KEY-----").count(),
            2,
            "the host key's two marks alone"
        );
    }

    #[test]
    fn the_user_s_own_user_data_is_merged_as_mime() {
        let text = decoded(Some("#!/bin/sh\necho hello\n"));
        assert!(text.starts_with("Content-Type: multipart/mixed;"));
        assert!(text.contains(
            "Content-Type: text/x-shellscript\nMIME-Version: 1.0\n\n#!/bin/sh\necho hello"
        ));
        assert!(text.contains("Content-Type: text/cloud-config"));
    }

    #[test]
    fn user_data_that_is_too_long_or_unknown_is_the_manifest_s_fault() {
        let keys = Keys::make().unwrap();
        for own in [
            "hello".to_owned(),
            format!("#!/bin/sh\n{}", "x".repeat(20_000)),
        ] {
            let run = "20260727t101500z-0a1b2c".parse().unwrap();
            let minute = Duration::from_secs(60);
            let error = render(&keys, &run, Role::Builder, minute, Some(&own)).unwrap_err();
            assert_eq!(error.fault, crate::targets::Fault::Manifest);
        }
    }
}
