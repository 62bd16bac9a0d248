//! Credentials of whoever has no keys: a role with a code, IAM Identity Center (SSO), an identity token.

use serde_json::{Value as Json, json};

use super::child::Process;
use super::company::{preflight, preflight_words, with_profiles};
use super::server::{Account, REGION};

const DEVICE: &str = "arn:aws:iam::1:mfa/ann";

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_code_that_nobody_is_there_to_say_is_asked_for_by_its_device() {
    let account = Account::open().await;
    let mut env = with_profiles(&account);
    env.push(("AWS_PROFILE", "ann"));
    let outcome = preflight(&account, &env).await.ended(1);
    let told = "takes a code of arn:aws:iam::1:mfa/ann, and there is no terminal";
    assert!(outcome.said.contains(told), "{}", outcome.said);
    assert!(
        outcome.said.contains("a scheduled build needs"),
        "{}",
        outcome.said
    );
    let hint = "hint: run it on a terminal";
    assert!(outcome.said.contains(hint), "{}", outcome.said);
}

/// The code is asked for once, and not shown.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_code_is_asked_for_on_the_terminal_and_a_wrong_one_is_told() {
    let account = Account::open().await;
    account.control("ways", json!({"mfa_code": "123456"})).await;
    let mut env = with_profiles(&account);
    env.push(("AWS_PROFILE", "ann"));
    let question = format!("Code of {DEVICE}");
    for (code, exit) in [("123456", 0), ("654321", 1)] {
        account.control("calls/clear", json!({})).await;
        let work = preflight_words(&account);
        let process = Process::start_on_terminal(&account, work, &env, [&question, code]);
        let (outcome, shown) = process.end_shown().await;
        let outcome = outcome.ended(exit);
        let told = "the session cannot be renewed unattended";
        assert!(shown.contains(told) && !shown.contains(code), "{shown}");
        let refused = format!("the code of {DEVICE} was not accepted for arn:aws:iam::1:role/ci");
        let is_refused = outcome.said.contains(&refused);
        assert_eq!(is_refused, exit == 1, "{}", outcome.said);
        assert!(!outcome.said.contains(code), "{}", outcome.said);
        let calls = account.calls().await;
        let asked: Vec<&str> = calls
            .iter()
            .filter(|call| call.action == "AssumeRole")
            .map(|call| call.params["TokenCode"].as_str())
            .collect();
        assert_eq!(asked, [code], "a code is good for one session");
    }
}

/// Where the SDK keeps the token of a session: the SHA-1 of its name, `company`.
const CACHED: &str = ".aws/sso/cache/71b21161ffa1e6516bcc072aaf5ef38cbe85b511.json";

/// Writes a profile of a session, and what `aws sso login` has left of it.
fn with_session(account: &Account, token: Option<&Json>) -> Vec<(&'static str, &'static str)> {
    let number = &account.number;
    let config = format!(
        "[sso-session company]\nsso_start_url = https://company.awsapps.com/start\nsso_region = {REGION}\n\
         [profile web]\nsso_session = company\nsso_account_id = {number}\nsso_role_name = Builder\n"
    );
    let file = account.home().join(CACHED);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(account.home().join(".aws/config"), config).unwrap();
    match token {
        Some(token) => std::fs::write(&file, token.to_string()).unwrap(),
        None => _ = std::fs::remove_file(&file),
    }
    vec![
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_PROFILE", "web"),
    ]
}

fn token(text: &str, ends: &str) -> Json {
    json!({
        "accessToken": text, "expiresAt": ends, "region": REGION,
        "startUrl": "https://company.awsapps.com/start",
    })
}

const LATER: &str = "2099-01-01T00:00:00Z";
const BEFORE: &str = "2020-01-01T00:00:00Z";

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_session_of_the_identity_center_is_used_and_renewed() {
    let account = Account::open().await;
    let env = with_session(&account, Some(&token("of-ann", LATER)));
    preflight(&account, &env).await.ended(0);
    let actions = account.actions().await;
    assert!(
        actions.contains(&"GetRoleCredentials".to_owned()),
        "{actions:?}"
    );
    assert!(!actions.contains(&"CreateToken".to_owned()), "{actions:?}");

    let mut renewable = token("old", BEFORE);
    renewable["refreshToken"] = "again".into();
    renewable["clientId"] = format!("client-{}", account.number).into();
    renewable["clientSecret"] = "s".into();
    renewable["registrationExpiresAt"] = LATER.into();
    let env = with_session(&account, Some(&renewable));
    preflight(&account, &env).await.ended(0);
    let actions = account.actions().await;
    assert!(actions.contains(&"CreateToken".to_owned()), "{actions:?}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_session_that_has_ended_or_never_began_is_told_with_what_begins_one() {
    let account = Account::open().await;
    for (cached, why) in [
        (Some(token("of-ann", BEFORE)), "the SSO token has expired"),
        (
            Some(token("of-bob", LATER)),
            "Session token not found or invalid",
        ),
        (None, "failed to load the cached SSO token"),
    ] {
        let env = with_session(&account, cached.as_ref());
        let outcome = preflight(&account, &env).await.ended(1);
        assert!(outcome.said.contains(why), "{}", outcome.said);
        let hint = "hint: `aws sso login` begins a session, with the same AWS_PROFILE";
        assert!(outcome.said.contains(hint), "{}", outcome.said);
    }
}

/// As a runner of CI has it, where nobody has keys.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_runner_is_known_by_its_identity_token() {
    let account = Account::open().await;
    let file = account.home().join("token.jwt");
    let role = format!("arn:aws:iam::{}:role/ci", account.number);
    let env = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_ROLE_ARN", role.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
    ];
    std::fs::write(&file, "of-the-runner").unwrap();
    preflight(&account, &env).await.ended(0);
    let calls = account.calls().await;
    let mut assumed = calls.iter();
    let assumed = assumed.find(|call| call.action == "AssumeRoleWithWebIdentity");
    assert_eq!(assumed.unwrap().params["RoleArn"], role);

    let hint = "hint: look at AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, and at whom the role's trust policy";
    std::fs::write(&file, "of-another").unwrap();
    let outcome = preflight(&account, &env).await.ended(1);
    let why = "No OpenIDConnect provider found";
    assert!(outcome.said.contains(why), "{}", outcome.said);
    assert!(outcome.said.contains(hint), "{}", outcome.said);
    std::fs::remove_file(&file).unwrap();
    let outcome = preflight(&account, &env).await.ended(1);
    assert!(outcome.said.contains(hint), "{}", outcome.said);
}
