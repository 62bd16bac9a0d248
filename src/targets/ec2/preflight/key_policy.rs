//! The policy of a KMS key, as far as it can be told without what only a call says: a condition may hold.

use serde_json::Value as Json;

/// Who would use a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyUser<'a> {
    /// Twelve digits.
    pub(super) account: &'a str,
    /// The role or user, by ARN; anybody of the account, if that is not said.
    pub(super) principal: Option<&'a str>,
}

/// The statements of a policy.
#[derive(Debug)]
pub(super) struct KeyPolicy {
    statements: Vec<Json>,
}

impl KeyPolicy {
    /// Reads one, if it has the form of one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let policy: Json = serde_json::from_str(text).ok()?;
        let statements = listed(policy.get("Statement")?);
        statements.iter().all(|s| s.is_object()).then(|| Self {
            statements: statements.into_iter().cloned().collect(),
        })
    }

    /// Returns the actions that it lets nobody allow the user: neither by itself, nor by leaving it to the
    /// policies of the user's account.
    pub(super) fn lacking<'s>(&self, user: &KeyUser<'_>, actions: &[&'s str]) -> Vec<&'s str> {
        let speaks = |effect: &str, action: &str| {
            let mut of_effect = self.statements.iter().filter(|s| s["Effect"] == effect);
            of_effect.any(|s| {
                let holds = effect == "Allow" || s.get("Condition").is_none();
                holds && is_about(s, user) && has_action(s, action)
            })
        };
        let is_lacking = |action: &&&str| !speaks("Allow", action) || speaks("Deny", action);
        actions.iter().filter(is_lacking).copied().collect()
    }
}

/// Returns whether a statement is about the user, or hands the decision to its account.
fn is_about(statement: &Json, user: &KeyUser<'_>) -> bool {
    let Some(principal) = statement.get("Principal") else {
        // All but some: who these are is not looked at, and such a statement may be meant.
        return statement["Effect"] == "Allow";
    };
    if principal == "*" {
        return true;
    }
    let named = principal.get("AWS").map(listed).unwrap_or_default();
    named
        .iter()
        .filter_map(|named| named.as_str())
        .any(|named| {
            let mut parts = named.splitn(6, ':');
            let (account, who) = (parts.nth(4), parts.next().unwrap_or_default());
            let is_of_account = named == user.account || account == Some(user.account);
            let is_whole = named == user.account || who == "root";
            named == "*" || (is_of_account && (is_whole || is_principal(who, user)))
        })
}

/// Returns whether a policy names the user: `role/ci`, `role/teams/ci`, or a session of it.
fn is_principal(who: &str, user: &KeyUser<'_>) -> bool {
    let Some(principal) = user.principal else {
        return true;
    };
    let own = principal.rsplit(':').next().unwrap_or_default();
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let kind = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    match who.strip_prefix("assumed-role/") {
        Some(session) => kind(own) == "role" && kind(session) == last(own),
        None => kind(who) == kind(own) && last(who) == last(own),
    }
}

fn has_action(statement: &Json, action: &str) -> bool {
    let any = |named: &Json| {
        let named = listed(named);
        named
            .iter()
            .filter_map(|n| n.as_str())
            .any(|pattern| is_like(action, pattern))
    };
    match (statement.get("Action"), statement.get("NotAction")) {
        (Some(named), _) => any(named),
        (None, Some(others)) => !any(others),
        (None, None) => false,
    }
}

/// Returns whether a text is as a pattern has it, in which `*` is any text, upper case or lower.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, between @ .., last] = &parts[..] else {
        return text == pattern;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for part in between {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Returns a value's items, or itself where it is alone.
fn listed(value: &Json) -> Vec<&Json> {
    match value {
        Json::Array(items) => items.iter().collect(),
        alone => vec![alone],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACCOUNT: &str = "123456789012";
    const ROLE: &str = "arn:aws:iam::123456789012:role/ci";

    fn lacking(statements: &Json, actions: &[&'static str]) -> Vec<&'static str> {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let user = KeyUser {
            account: ACCOUNT,
            principal: Some(ROLE),
        };
        KeyPolicy::read(&text).unwrap().lacking(&user, actions)
    }

    fn allow(principal: &Json, actions: &Json) -> Json {
        json!({"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"})
    }

    #[test]
    fn what_the_policy_of_a_key_leaves_to_iam_or_to_the_role_is_not_lacking() {
        let both = ["kms:CreateGrant", "kms:ReEncryptFrom"];
        let root = json!({"AWS": "arn:aws:iam::123456789012:root"});
        for (principal, actions, lacks) in [
            (root.clone(), json!("kms:*"), 0),
            (json!({"AWS": ACCOUNT}), json!("*"), 0),
            (json!("*"), json!(["kms:ReEncrypt*", "kms:creategrant"]), 0),
            (json!({"AWS": [ROLE]}), json!(["kms:ReEncrypt*"]), 1),
            (
                json!({"AWS": "arn:aws:iam::123456789012:role/teams/ci"}),
                json!("kms:*"),
                0,
            ),
            (
                json!({"AWS": "arn:aws:sts::123456789012:assumed-role/ci/run-7"}),
                json!("kms:*"),
                0,
            ),
            (
                json!({"AWS": "arn:aws:iam::123456789012:role/admin"}),
                json!("kms:*"),
                2,
            ),
            (
                json!({"AWS": "arn:aws:iam::123456789012:user/ci"}),
                json!("kms:*"),
                2,
            ),
            (
                json!({"AWS": "arn:aws:iam::210987654321:root"}),
                json!("kms:*"),
                2,
            ),
            (json!({"Service": "ec2.amazonaws.com"}), json!("kms:*"), 2),
            (root, json!("kms:Describe*"), 2),
        ] {
            let statement = json!([allow(&principal, &actions)]);
            assert_eq!(lacking(&statement, &both).len(), lacks, "{statement}");
        }
    }

    #[test]
    fn a_denial_counts_where_nothing_depends_on_the_call() {
        let all = allow(&json!({"AWS": ACCOUNT}), &json!("kms:*"));
        let mut no = json!({"Effect": "Deny", "Principal": "*", "Action": "kms:CreateGrant"});
        let both = ["kms:CreateGrant", "kms:Decrypt"];
        assert_eq!(lacking(&json!([all, no]), &both), ["kms:CreateGrant"]);
        no["Condition"] = json!({"Bool": {"kms:GrantIsForAWSResource": "false"}});
        assert!(lacking(&json!([all, no]), &both).is_empty());
    }

    #[test]
    fn another_account_is_anybody_of_it() {
        let named = allow(
            &json!({"AWS": "arn:aws:iam::210987654321:role/web"}),
            &json!("kms:*"),
        );
        let text = json!({"Statement": named}).to_string();
        let policy = KeyPolicy::read(&text).unwrap();
        let lacking = |account| {
            let principal = None;
            policy
                .lacking(&KeyUser { account, principal }, &["kms:Decrypt"])
                .len()
        };
        assert_eq!((lacking("210987654321"), lacking("333333333333")), (0, 1));
        assert!(KeyPolicy::read("{}").is_none() && KeyPolicy::read("no").is_none());
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(is_like("kms:ReEncryptFrom", "kms:ReEncrypt*"));
        assert!(is_like("kms:ReEncryptFrom", "kms:*Encrypt*From"));
        assert!(!is_like("kms:Decrypt", "kms:ReEncrypt*"));
        assert!(!is_like("kms:Decrypt", "kms:Dec"));
    }
}
