//! `cert`: what it makes of ACM and IAM, that it makes nothing twice, and that a key is nowhere but there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, ProtocolEnum,
};
use aws_sdk_iam::types::ServerCertificateMetadata;
use serde_json::{Value as Json, json};

use super::build::{client, settings};
use super::child::{Outcome, Process, Work, amibake};
use super::nothing_twice::another_second;
use super::server::{Account, REGION};
use crate::cert::{Certificates, Store, Wanted};
use crate::run::parse_rfc3339;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2;

/// Calls that change something.
const CHANGES: [&str; 9] = [
    "ImportCertificate",
    "UploadServerCertificate",
    "DeleteServerCertificate",
    "DeleteCertificate",
    "AddTagsToCertificate",
    "ModifyListener",
    "AddListenerCertificates",
    "RemoveListenerCertificates",
    "UpdateServerCertificate",
];

async fn cert(account: &Account, words: &[&str], code: u8) -> Outcome {
    let words: Vec<&str> = ["cert"].iter().chain(words).copied().collect();
    amibake(account, &words, code).await
}

/// Runs it, and returns the ARN that it prints.
async fn arn(account: &Account, words: &[&str]) -> String {
    let outcome = cert(account, words, 0).await;
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    outcome.stdout.trim().to_owned()
}

async fn acm(account: &Account) -> aws_sdk_acm::Client {
    aws_sdk_acm::Client::new(&settings(account).load().await)
}

async fn iam(account: &Account) -> aws_sdk_iam::Client {
    aws_sdk_iam::Client::new(&settings(account).load().await)
}

async fn balancing(account: &Account) -> aws_sdk_elasticloadbalancingv2::Client {
    aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await)
}

/// Returns how many changing calls there were since this was asked last.
async fn changes(account: &Account) -> Vec<String> {
    let actions = account.actions().await;
    account.control("calls/clear", json!({})).await;
    let mut changing = actions;
    changing.retain(|action| CHANGES.contains(&action.as_str()));
    changing
}

/// Makes a load balancer whose listener shows a certificate; returns the listener.
async fn listener(account: &Account, name: &str, certificate: &str) -> String {
    let subnets = client(account)
        .await
        .describe_subnets()
        .send()
        .await
        .unwrap();
    let subnets = subnets.subnets().iter().filter_map(|s| s.subnet_id.clone());
    let balancing = balancing(account).await;
    let balancer = balancing.create_load_balancer().name(name);
    let balancer = balancer.set_subnets(Some(subnets.collect()));
    let balancer = balancer.send().await.unwrap();
    let balancer = balancer.load_balancers()[0].load_balancer_arn().unwrap();
    let fixed = FixedResponseActionConfig::builder().status_code("404");
    let action = Action::builder().r#type(ActionTypeEnum::FixedResponse);
    let action = action.fixed_response_config(fixed.build());
    let made = balancing
        .create_listener()
        .load_balancer_arn(balancer)
        .protocol(ProtocolEnum::Https)
        .port(443)
        .ssl_policy("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09")
        .certificates(Certificate::builder().certificate_arn(certificate).build())
        .default_actions(action.build());
    let made = made.send().await.unwrap();
    made.listeners()[0].listener_arn().unwrap().to_owned()
}

/// Returns the certificates of a listener, its default first.
async fn shown(account: &Account, listener: &str) -> Vec<String> {
    let asked = balancing(account).await.describe_listener_certificates();
    let answer = asked.listener_arn(listener).send().await.unwrap();
    let certificates = answer.certificates.unwrap_or_default();
    certificates
        .into_iter()
        .filter_map(|c| c.certificate_arn)
        .collect()
}

fn path(account: &Account, name: &str) -> String {
    account.home().join(name).to_str().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_is_made_once_and_renewed_in_place_before_it_ends() {
    let account = Account::open().await;
    let file = path(&account, "web.pem");
    let words = [
        "web",
        "--domain",
        "hello.example.com",
        "--domain",
        "10.0.0.7",
        "--certificate-file",
        &file,
    ];
    let short = [&words[..], &["--valid-for", "20d", "--renew-before", "10d"]].concat();
    let first = arn(&account, &short).await;
    assert_eq!(changes(&account).await, ["ImportCertificate"]);
    let old = read(&file);

    // What is valid for long enough stays, by its names or without them.
    let again = cert(&account, &["web", "--renew-before", "10d"], 0).await;
    assert!(
        again
            .said
            .contains("nothing was changed (hello.example.com, 10.0.0.7)"),
        "{}",
        again.said
    );
    assert_eq!(again.stdout.trim(), first);
    assert_eq!(arn(&account, &short).await, first);
    assert_eq!(changes(&account).await, [""; 0]);
    assert_eq!(read(&file), old);

    // It ends in 20 days, and 30 are usual.
    let listener = listener(&account, "web", &first).await;
    let renewed = cert(&account, &["web", "--json", "--certificate-file", &file], 0).await;
    let told: Json = serde_json::from_str(&renewed.stdout).unwrap();
    assert_eq!(
        (&told["arn"], &told["made"]),
        (&json!(first), &json!("ends-soon"))
    );
    assert_eq!(told["domains"], json!(["hello.example.com", "10.0.0.7"]));
    let days =
        parse_rfc3339(told["ends"].as_str().unwrap()).unwrap() - time::OffsetDateTime::now_utc();
    assert!((396..=397).contains(&days.whole_days()), "{days}");
    assert!(renewed.said.contains("was renewed"), "{}", renewed.said);
    assert_eq!(changes(&account).await, ["ImportCertificate"]);
    assert_ne!(read(&file), old);
    assert_eq!(shown(&account, &listener).await, [first.as_str()]);

    // Other names are another certificate at the same ARN.
    let other = ["web", "--domain", "*.example.com"];
    assert_eq!(arn(&account, &other).await, first);
    assert_eq!(changes(&account).await, ["ImportCertificate"]);
    assert_eq!(arn(&account, &other).await, first);
    assert_eq!(arn(&account, &["web", "--renew"]).await, first);
    assert_eq!(changes(&account).await, ["ImportCertificate"]);
    let tags = acm(&account).await.list_tags_for_certificate();
    let tags = tags.certificate_arn(&first).send().await.unwrap();
    assert_eq!(tags.tags()[0].key(), "amibake:certificate");
    assert_eq!(tags.tags()[0].value(), Some("web"));
    assert_ne!(
        arn(&account, &["other", "--domain", "hello.example.com"]).await,
        first
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_key_is_written_where_that_is_asked_for_and_seen_nowhere_else() {
    let account = Account::open().await;
    let (key, pem) = (path(&account, "key.pem"), path(&account, "web.pem"));
    let words = [
        "web",
        "--domain",
        "hello.example.com",
        "--key-file",
        &key,
        "--certificate-file",
        &pem,
    ];
    let outcome = cert(&account, &words, 0).await;
    assert!(!(outcome.stdout + &outcome.said).contains("PRIVATE"));
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(read(&key).starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(read(&pem).starts_with("-----BEGIN CERTIFICATE-----"));
    let told = cert(&account, &words, 1).await.said;
    assert!(
        told.contains("is not written: no new key was made"),
        "{told}"
    );

    // One that could not be imported has no key on the disk.
    std::fs::remove_file(&key).unwrap();
    account.deny("ImportCertificate", 1).await;
    let told = cert(&account, &[&words[..], &["--renew"]].concat(), 1)
        .await
        .said;
    assert!(
        told.contains("ImportCertificate was refused in eu-west-1: AccessDenied"),
        "{told}"
    );
    let keys = |folder: &Path| {
        let files = std::fs::read_dir(folder).unwrap().flatten();
        let files = files.filter(|file| file.path().is_file());
        let mut texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        texts.any(|text| text.contains("PRIVATE KEY"))
    };
    assert!(!keys(account.home()));
    let told = cert(
        &account,
        &[
            "new",
            "--domain",
            "a.example.com",
            "--key-file",
            "/no/such/key",
        ],
        1,
    )
    .await;
    assert!(told.said.contains("/no/such/key"), "{}", told.said);
    assert!(
        changes(&account)
            .await
            .iter()
            .filter(|a| *a == "ImportCertificate")
            .count()
            == 2
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_import_whose_answer_is_lost_is_found_and_not_made_twice() {
    let account = Account::open().await;
    account.control("stacks", json!({"page": 1})).await;
    arn(&account, &["another", "--domain", "another.example.com"]).await;
    account.fault("ImportCertificate", "lost", json!({})).await;
    let made = arn(&account, &["web", "--domain", "hello.example.com"]).await;
    account.assert_all_hit().await;
    let imports = changes(&account).await;
    assert_eq!(imports, ["ImportCertificate", "ImportCertificate"]);
    assert_eq!(arn(&account, &["web"]).await, made);

    // Throttled ones are made again, and one that is not answered at all is no certificate.
    account
        .fault("ImportCertificate", "throttle", json!({"times": 2}))
        .await;
    let third = arn(&account, &["third", "--domain", "hello.example.com"]).await;
    assert_eq!(changes(&account).await.len(), 3);
    assert_eq!(arn(&account, &["third"]).await, third);
}

/// Two of one name: each was made while the other was.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn of_two_of_a_name_the_one_in_use_is_renewed_and_the_other_told() {
    let account = Account::open().await;
    let web = ["web", "--domain", "hello.example.com"];
    account
        .fault("ImportCertificate", "hold-before", json!({"seconds": 60}))
        .await;
    let words = ["cert"].iter().chain(&web).map(|word| (*word).to_owned());
    let held = Process::start(&account, 2, Work::Command(words.collect()), &[]);
    let held = held.held(&account).await;
    let first = arn(&account, &web).await;
    account.release().await;
    let second = held.end().await.ended(0).stdout.trim().to_owned();
    assert_ne!(first, second);
    account.control("clear", json!({})).await;
    listener(&account, "web", &second).await;
    let outcome = cert(&account, &["web", "--renew"], 0).await;
    assert_eq!(outcome.stdout.trim(), second);
    let told = format!("{first} is called web too, and is not renewed");
    assert!(outcome.said.contains(&told), "{}", outcome.said);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_certificate_of_another_s_that_has_our_tag_is_not_replaced() {
    let account = Account::open().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let params = rcgen::CertificateParams::new(vec!["hello.example.com".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tag = aws_sdk_acm::types::Tag::builder()
        .key("amibake:certificate")
        .value("web");
    let blob = |text: String| aws_sdk_acm::primitives::Blob::new(text.into_bytes());
    let import = acm(&account).await.import_certificate();
    import
        .certificate(blob(certificate.pem()))
        .private_key(blob(key.serialize_pem()))
        .tags(tag.build().unwrap())
        .send()
        .await
        .unwrap();
    changes(&account).await;
    let told = cert(&account, &["web", "--renew"], 1).await.said;
    assert!(told.contains("a key of the kind EC 384"), "{told}");
    assert!(
        told.contains("take the tag amibake:certificate off it"),
        "{told}"
    );
    assert_eq!(changes(&account).await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn in_iam_a_new_one_is_shown_before_the_old_one_goes() {
    let account = Account::open().await;
    account.control("stacks", json!({"page": 1})).await;
    let web = ["web", "--in", "iam", "--domain", "hello.example.com"];
    let first = arn(&account, &web).await;
    assert!(
        first.contains(":server-certificate/amibake/web/web-20"),
        "{first}"
    );
    assert_eq!(arn(&account, &web).await, first);
    assert_eq!(changes(&account).await, ["UploadServerCertificate"]);
    let (one, two) = (
        listener(&account, "one", &first).await,
        listener(&account, "two", &first).await,
    );
    // Beside another's default, too.
    let other = arn(&account, &["other", "--domain", "other.example.com"]).await;
    let three = listener(&account, "three", &other).await;
    let add = balancing(&account)
        .await
        .add_listener_certificates()
        .listener_arn(&three);
    add.certificates(Certificate::builder().certificate_arn(&first).build())
        .send()
        .await
        .unwrap();
    changes(&account).await;

    // What IAM took a moment ago, load balancers may not know yet.
    let unknown = json!({"code": "CertificateNotFound", "times": 2});
    account.fault("ModifyListener", "error", unknown).await;
    another_second().await; // the newest is known by it
    let outcome = cert(&account, &["web", "--in", "iam", "--renew"], 0).await;
    account.assert_all_hit().await;
    let second = outcome.stdout.trim().to_owned();
    assert_ne!(second, first);
    for listener in [&one, &two] {
        assert_eq!(shown(&account, listener).await, [second.as_str()]);
        assert!(
            outcome
                .said
                .contains(&format!("{listener} shows {second} now")),
            "{}",
            outcome.said
        );
    }
    assert_eq!(
        shown(&account, &three).await,
        [other.as_str(), second.as_str()]
    );
    let left = iam(&account)
        .await
        .list_server_certificates()
        .path_prefix("/amibake/");
    let left = left
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .unwrap();
    let left: Vec<&str> = left.iter().map(ServerCertificateMetadata::arn).collect();
    assert_eq!(left, [second.as_str()]);
    let order = changes(&account).await;
    let place = |action: &str| order.iter().rposition(|made| made == action).unwrap();
    assert!(place("UploadServerCertificate") < place("ModifyListener"));
    assert!(place("AddListenerCertificates") < place("RemoveListenerCertificates"));
    assert_eq!(
        place("DeleteServerCertificate"),
        order.len() - 1,
        "{order:?}"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_renewal_in_iam_that_was_interrupted_is_gone_on_with() {
    let account = Account::open().await;
    let web = ["web", "--in", "iam", "--domain", "hello.example.com"];
    let first = arn(&account, &web).await;
    let listener = listener(&account, "one", &first).await;
    account.deny("ModifyListener", 1).await;
    another_second().await; // the newest is known by it
    let told = cert(&account, &["web", "--in", "iam", "--renew"], 1)
        .await
        .said;
    assert!(told.contains("not all listeners show it yet"), "{told}");
    assert!(told.contains("ModifyListener was refused"), "{told}");
    assert_eq!(shown(&account, &listener).await, [first.as_str()]);
    account.control("clear", json!({})).await;
    // A killed one too: nothing is uploaded again, and the listener shows what is there.
    let second = arn(&account, &web).await;
    assert_ne!(second, first);
    assert_eq!(shown(&account, &listener).await, [second.as_str()]);
    assert_eq!(
        changes(&account).await,
        ["ModifyListener", "DeleteServerCertificate"]
    );

    // What a listener elsewhere still shows stays, and that is said.
    let conflict = json!({"code": "DeleteConflict", "times": 999});
    account
        .fault("DeleteServerCertificate", "error", conflict)
        .await;
    another_second().await; // the newest is known by it
    let outcome = cert(&account, &["web", "--in", "iam", "--renew"], 3).await;
    assert!(
        outcome.stdout.starts_with("arn:aws:iam:"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.said.contains("aws iam delete-server-certificate"),
        "{}",
        outcome.said
    );
    account.control("clear", json!({})).await;
    assert_eq!(arn(&account, &web).await, outcome.stdout.trim());
    assert_eq!(changes(&account).await, ["DeleteServerCertificate"]);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_old_one_in_iam_stays_while_a_stack_names_it() {
    let account = Account::open().await;
    let web = ["web", "--in", "iam", "--domain", "hello.example.com"];
    let first = arn(&account, &web).await;
    super::operations::stack(&account, "site", &[("CertificateArn", &first)]).await;
    another_second().await; // the newest is known by it
    let outcome = cert(&account, &["web", "--in", "iam", "--renew"], 0).await;
    let told = format!("{first} stays: the stack site names it in CertificateArn");
    assert!(outcome.said.contains(&told), "{}", outcome.said);
    let second = outcome.stdout.trim().to_owned();
    super::operations::stack(&account, "site", &[("CertificateArn", &second)]).await;
    changes(&account).await;
    assert_eq!(arn(&account, &web).await, second);
    assert_eq!(changes(&account).await, ["DeleteServerCertificate"]);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn status_tells_when_each_ends_and_what_shows_it() {
    let account = Account::open().await;
    let told = cert(&account, &["status"], 0).await.stdout;
    assert_eq!(told, "no certificate is there\n");
    let told = cert(&account, &["status", "web"], 1).await.said;
    assert!(told.contains("there is no certificate web"), "{told}");
    let web = arn(&account, &["web", "--domain", "hello.example.com"]).await;
    listener(&account, "front", &web).await;
    let db = [
        "db",
        "--in",
        "iam",
        "--domain",
        "db.example.com",
        "--valid-for",
        "20d",
        "--renew-before",
        "1d",
    ];
    let db = arn(&account, &db).await;
    let told = cert(&account, &["status", "web"], 0).await.stdout;
    assert!(told.starts_with("valid     web until 20"), "{told}");
    assert!(
        told.contains(&format!(
            "for hello.example.com: {web}, used by arn:aws:elasticloadbalancing:{REGION}"
        )),
        "{told}"
    );
    assert!(told.contains(":loadbalancer/app/front/"), "{told}");
    let told = cert(&account, &["status"], 4).await.stdout;
    assert!(told.starts_with("ends soon db until 20"), "{told}");
    // Whole days are left of 20 while it is the second in which it was made.
    let left = ["(19 d) for db.example.com", "(20 d) for db.example.com"];
    assert!(left.iter().any(|left| told.contains(left)), "{told}");
    let told = cert(&account, &["status", "--soon", "10d", "--json"], 0)
        .await
        .stdout;
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told[0]["arn"], &told[0]["store"]),
        (&json!(db), &json!("iam"))
    );
    assert!([json!(396), json!(397)].contains(&told[1]["days_left"]));
    account.deny("ListServerCertificates", 1).await;
    let outcome = cert(&account, &["status", "web"], 1).await;
    assert!(outcome.stdout.contains(&web), "{}", outcome.stdout);
    assert!(
        outcome.said.contains("ListServerCertificates was refused"),
        "{}",
        outcome.said
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_cannot_be_made_is_refused_before_anything_is_asked() {
    let account = Account::open().await;
    let told = cert(&account, &["web"], 2).await.said;
    assert!(told.contains("what it is for is not said"), "{told}");
    let told = cert(
        &account,
        &["web", "--domain", "a.example.com", "--valid-for", "30d"],
        2,
    )
    .await
    .said;
    assert!(told.contains("each run would renew it"), "{told}");
    let many: Vec<String> = (0..101).map(|n| format!("a{n}.example.com")).collect();
    let mut words = vec!["web"];
    words.extend(many.iter().flat_map(|name| ["--domain", name]));
    let told = cert(&account, &words, 2).await.said;
    assert!(told.contains("100 are the most"), "{told}");
    assert_eq!(changes(&account).await, [""; 0]);
}

/// The policies for these commands, as they can be attached.
const ACM: &str = include_str!("../../stack/iam/cert.json");
const IAM: &str = include_str!("../../stack/iam/cert-in-iam.json");
const STATUS: &str = include_str!("../../stack/iam/cert-status.json");

/// Some statements of a policy, which are what one thing that is done needs.
#[derive(Debug, Clone, Copy)]
struct Part {
    policy: &'static str,
    statements: &'static [&'static str],
}

impl Part {
    /// Returns the policy with these statements alone, and without one of their actions.
    fn without(self, action: &str) -> Json {
        let mut policy: Json = serde_json::from_str(self.policy).unwrap();
        let statements = policy["Statement"].as_array_mut().unwrap();
        statements.retain(|one| self.statements.contains(&one["Sid"].as_str().unwrap()));
        assert_eq!(statements.len(), self.statements.len(), "{self:?}");
        for statement in statements {
            let actions = statement["Action"].as_array_mut().unwrap();
            actions.retain(|one| one != action);
        }
        policy
    }

    /// Returns its actions, each with the name of its statement.
    fn actions(self) -> BTreeMap<String, String> {
        let policy = self.without("");
        let statements = policy["Statement"].as_array().unwrap();
        let of = |one: &Json| {
            let sid = one["Sid"].as_str().unwrap().to_owned();
            let actions = one["Action"].as_array().unwrap().clone().into_iter();
            actions.map(move |action| (action.as_str().unwrap().to_owned(), sid.clone()))
        };
        statements.iter().flat_map(of).collect()
    }
}

async fn allow(account: &Account, policy: Json) {
    account.control("ways", json!({"policy": policy})).await;
}

/// Returns what is told of making a certificate, errors and warnings; whether it was made.
async fn told_of(account: &Account, name: &str, store: Store) -> (String, bool) {
    let day = Duration::from_secs(86_400);
    let wanted = Wanted {
        name: name.parse().unwrap(),
        store,
        domains: vec!["there.example.com".parse().unwrap()],
        valid_for: 397 * day,
        renew_before: 30 * day,
        forced: true,
        key_file: None,
    };
    let ec2 = Ec2::with(settings(account)).await.unwrap();
    match Certificates::of(&ec2).ensure(&wanted).await {
        Ok(ensured) => (ensured.warnings.join("\n"), ensured.left_behind.is_empty()),
        Err(error) => (error.on_one_line(), false),
    }
}

async fn told_of_status(account: &Account) -> (String, bool) {
    let ec2 = Ec2::with(settings(account)).await.unwrap();
    let (_, errors) = Certificates::of(&ec2).standing(None).await;
    let told: Vec<String> = errors.iter().map(TargetError::on_one_line).collect();
    (told.join("\n"), told.is_empty())
}

/// Removes each action in turn: what is done without it names it, or fails to. All of them are asked for, and no others.
async fn try_each(part: Part, what: impl AsyncFn(&Account, usize) -> (String, bool)) {
    let account = Account::open().await;
    let mut shown = Vec::new();
    for store in ["acm", "iam"] {
        let words = ["there", "--in", store, "--domain", "there.example.com"];
        let there = arn(&account, &words).await;
        shown.push((listener(&account, store, &there).await, there));
    }
    // IAM's is beside another's default, too.
    let add = balancing(&account).await.add_listener_certificates();
    let add = add.listener_arn(&shown[0].0);
    let more = Certificate::builder().certificate_arn(&shown[1].1);
    add.certificates(more.build()).send().await.unwrap();
    let _pace = super::fast();
    let actions = part.actions();
    for (number, (without, statement)) in actions.iter().enumerate() {
        allow(&account, part.without(without)).await;
        let (told, went_well) = what(&account, number).await;
        let bare = without.rsplit(':').next().unwrap();
        assert!(told.contains(bare), "without {without}: {told}");
        // Without these the old one stays, and is said to.
        let goes_on = statement == "MayBeMissing";
        assert_eq!(went_well, goes_on, "without {without}: {told}");
    }
    allow(&account, part.without("")).await;
    account.control("demanded", json!({})).await;
    let (told, went_well) = what(&account, actions.len()).await;
    assert!(went_well, "{told}");
    let asked = account.control("demanded", json!({})).await;
    let asked: BTreeSet<String> = serde_json::from_value(asked).unwrap();
    assert_eq!(asked, actions.into_keys().collect(), "{part:?}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_policies_are_enough_all_of_them_is_used_and_each_action_that_is_missing_is_named() {
    let anew = |store| {
        async move |account: &Account, number: usize| {
            told_of(account, &format!("web-{number}"), store).await
        }
    };
    let again = |store| async move |account: &Account, _| told_of(account, "there", store).await;
    let part = |policy, statements| Part { policy, statements };
    let new = part(ACM, &["Needed", "NeededForNew"]);
    try_each(new, anew(Store::Acm)).await;
    let renewed = part(ACM, &["Needed", "NeededToRenew"]);
    try_each(renewed, again(Store::Acm)).await;
    try_each(part(IAM, &["Needed"]), anew(Store::Iam)).await;
    let renewed = part(IAM, &["Needed", "NeededToRenew", "MayBeMissing"]);
    try_each(renewed, again(Store::Iam)).await;
    let status = part(STATUS, &["Needed", "NeededWhereIamHasSome"]);
    try_each(status, async |account: &Account, _| {
        told_of_status(account).await
    })
    .await;
}

/// No policy for a command lies about that the documentation does not lead to.
#[test]
fn docs_lead_to_every_policy() {
    let documented = include_str!("../../docs/deploy.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stack/iam");
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let names: Vec<String> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let link = format!("[{name}](../stack/iam/{name})");
        assert!(documented.contains(&link), "docs/deploy.md has no {link}");
    }
}
