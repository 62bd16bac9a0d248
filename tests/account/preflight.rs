//! What `preflight` sees that a build would run into, and that it makes nothing.

use std::time::Duration;

use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use serde_json::{Value as Json, json};

use super::build::Build;
use super::child::{Process, Work, amibake};
use super::publish::{FRIEND, OTHER};
use super::server::{Account, REGION};
use crate::exit::Exit;
use crate::targets::Fault;
use crate::targets::ec2::{Check, Verdict};

/// An image, and its snapshots, that everybody may have.
const PUBLIC: &str =
    ", encrypt: false, share: {public: true, confirm_public: web, snapshots: true}";

/// Returns the checks of one kind.
fn about<'c>(checks: &'c [Check], what: &str) -> Vec<&'c Check> {
    checks.iter().filter(|check| check.about == what).collect()
}

/// Insists that the command has told nothing but that all is well, and what cannot be asked.
pub(super) fn assert_in_order(told: &str) {
    let is_well = |line: &str| line.starts_with("ok ") || line.starts_with("not checked  tags ");
    assert!(told.lines().all(is_well), "{told}");
}

/// Insists on one check of a kind, with these words.
fn assert_told(checks: &[Check], what: &str, verdict: Verdict, words: &str) {
    let told = about(checks, what);
    let mut fitting = told
        .iter()
        .filter(|c| c.verdict == verdict && c.detail.contains(words));
    assert!(fitting.next().is_some(), "{what}: {words}\n{checks:#?}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_account_that_is_in_order_is_told_so_and_stays_as_it_was() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    let checks = Build::of(&account).preflight().await;
    // What an organisation demands of images cannot be asked, and is listed.
    assert_told(&checks, "tags", Verdict::NotChecked, "CreateImage");
    let bad = checks
        .iter()
        .filter(|c| c.verdict != Verdict::Ok && c.about != "tags")
        .collect::<Vec<_>>();
    assert!(bad.is_empty(), "{bad:#?}");
    for what in [
        "credentials",
        "source",
        "name",
        "network",
        "instance type",
        "quota",
        "encryption",
        "allowed AMIs",
    ] {
        assert_eq!(about(&checks, what).len(), 1, "{what}: {checks:#?}");
    }
    assert_told(
        &checks,
        "permissions",
        Verdict::Ok,
        "ec2:RunInstances, by a dry run",
    );
    assert_told(
        &checks,
        "permissions",
        Verdict::Ok,
        "ec2:CreateLaunchTemplate, by a dry run",
    );
    assert_told(&checks, "permissions", Verdict::Ok, "ec2:StopInstances");
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_to_have_the_id_is_looked_at_in_each_region() {
    let _pace = super::fast();
    let account = super::publish::account().await;
    let put = super::build::parameters_in(&account, OTHER)
        .await
        .put_parameter();
    let put = put.name("/ami/text").value("a text");
    put.r#type("String".into()).send().await.unwrap();
    let in_order = format!(", regions: [{OTHER}], ssm_parameter: /ami/new, launch_template: web");
    let checks = Build::publishing(&account, &in_order).preflight().await;
    for region in [REGION, OTHER] {
        let well =
            format!("nothing stands in the way of /ami/new and launch template web in {region}");
        assert_told(&checks, "publication", Verdict::Ok, &well);
    }
    let wrong = format!(", regions: [{OTHER}], ssm_parameter: /ami/text, launch_template: nobody");
    let checks = Build::publishing(&account, &wrong).preflight().await;
    for told in [
        "there is no launch template nobody in eu-west-1",
        "the parameter /ami/text in us-east-1 is of the data type text",
    ] {
        assert_told(&checks, "publication", Verdict::Failed, told);
    }
    let publication = about(&checks, "publication");
    assert!(
        publication
            .iter()
            .all(|check| check.fault == Some(Fault::Manifest))
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_may_not_be_asked_is_listed_as_not_checked_and_fails_nothing() {
    let _pace = super::fast();
    let account = Account::open().await;
    let open = json!({"public_access": "unblocked", "public_snapshots": "unblocked"});
    account.control("ways", open).await;
    for action in [
        "DescribeInstanceTypes",
        "GetServiceQuota",
        "GetEbsDefaultKmsKeyId",
        "GetEbsEncryptionByDefault",
        "GetAllowedImagesSettings",
        "GetImageBlockPublicAccessState",
        "GetSnapshotBlockPublicAccessState",
        "SimulatePrincipalPolicy",
    ] {
        account.deny(action, 1).await;
        let image = match action {
            "GetEbsDefaultKmsKeyId" => "",
            _ => PUBLIC,
        };
        let checks = Build::publishing(&account, image).preflight().await;
        let not_checked =
            |c: &&Check| c.verdict == Verdict::NotChecked && c.detail.contains(action);
        assert!(
            checks.iter().any(|c| not_checked(&c)),
            "{action}: {checks:#?}"
        );
        let failed = |c: &&Check| c.verdict == Verdict::Failed;
        assert_eq!(checks.iter().find(failed), None);
        account.control("clear", json!({})).await;
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_stands_in_the_way_is_named_with_whose_fault_it_is() {
    let _pace = super::fast();
    let account = Account::open().await;
    let with = async |more: &str, ways: Json, image: Json| {
        account.control("ways", ways).await;
        account.control("image", image).await;
        Build::with(&account, more).preflight().await
    };
    let none = || json!({});

    let checks = with(", instance_type: m6g.large", none(), none()).await;
    assert_told(
        &checks,
        "instance type",
        Verdict::Failed,
        "m6g.large is for arm64, and the image is for x86_64",
    );
    let checks = with(", instance_type: t3.smal", none(), none()).await;
    assert_told(&checks, "instance type", Verdict::Failed, "t3.smal");
    assert_eq!(
        about(&checks, "instance type")[0].fault,
        Some(Fault::Manifest)
    );

    let resolute = "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-amd64-server-20260701";
    let checks = with(
        ", instance_type: [m4.large, t3.small]",
        none(),
        json!({"name": resolute}),
    )
    .await;
    // PEERS2026 1.5: families that 26.04 does not boot on.
    assert_told(
        &checks,
        "instance type",
        Verdict::Failed,
        "does not boot on m4, the family of m4.large",
    );
    assert_told(&checks, "instance type", Verdict::Ok, "t3.small");

    let noble =
        json!({"name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260701"});
    let checks = with("", json!({"quotas": {"L-1216C47A": 1.0}}), noble).await;
    assert_told(&checks, "quota", Verdict::Failed, "0 of 1 vCPUs");
    assert_eq!(about(&checks, "quota")[0].fault, Some(Fault::World));
    let checks = with(
        "",
        json!({"quotas": {}, "allowed_images": "enabled"}),
        json!({"image_allowed": false}),
    )
    .await;
    assert_told(
        &checks,
        "allowed AMIs",
        Verdict::Failed,
        "do not allow the source",
    );
    let checks = with("", json!({"allowed_images": "audit-mode"}), none()).await;
    assert_told(&checks, "allowed AMIs", Verdict::Warning, "audit mode");
    let checks = with(
        ", subnet: subnet-0123456789abcdef0",
        json!({"allowed_images": "disabled"}),
        none(),
    )
    .await;
    assert_told(&checks, "network", Verdict::Failed, "does not exist");
}

/// A scheduled job asks before it builds: last night's image and its copy have the name, and are what the build
/// takes. Of another content, or too old, they stand in its way.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_a_build_takes_may_have_the_name_that_it_wants() {
    let _pace = super::fast();
    let account = Account::open().await;
    let named = format!(", name: nightly, regions: [{OTHER}]");
    let nightly =
        |more: &str| Build::publishing(&account, &(named.clone() + more)).of_shared_content();
    let built = nightly("").run().await.ended(Exit::Done).image.unwrap().id;
    let checks = nightly("").preflight().await;
    assert_told(&checks, "content", Verdict::Ok, &built);
    assert_eq!(about(&checks, "name").len(), 2, "{checks:#?}");
    let failed = |c: &&Check| c.verdict == Verdict::Failed;
    assert_eq!(checks.iter().find(failed), None);
    assert!(nightly("").run().await.ended(Exit::Done).reused);
    // What only a machine would need keeps nobody from an image that is there.
    account
        .control("ways", json!({"quotas": {"L-1216C47A": 1.0}}))
        .await;
    let subnet = ", subnet: subnet-0123456789abcdef0";
    let checks = Build::whole(&account, subnet, &named).of_shared_content();
    let checks = checks.preflight().await;
    let next = "(for the next build that launches something)";
    assert_told(&checks, "quota", Verdict::Warning, next);
    assert_told(&checks, "network", Verdict::Warning, next);
    assert_eq!(checks.iter().find(failed), None);
    account.control("ways", json!({"quotas": {}})).await;

    tokio::time::sleep(Duration::from_secs(2)).await;
    for in_the_way in [
        Build::publishing(&account, &named).preflight().await,
        nightly(", max_age: 1s").preflight().await,
    ] {
        assert_told(&in_the_way, "name", Verdict::Failed, "nightly already");
        assert!(about(&in_the_way, "content").is_empty());
    }
}

/// In each region, of images and of snapshots.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_the_account_does_not_let_become_public_is_told_with_the_command_that_does() {
    let _pace = super::fast();
    let account = Account::open().await;
    let image = format!("{PUBLIC}, regions: [{OTHER}]");
    let checks = async |images: &str, snapshots: &str| {
        let ways = json!({"public_access": images, "public_snapshots": snapshots});
        account.control("ways", ways).await;
        Build::publishing(&account, &image).preflight().await
    };
    for (images, snapshots, blocked, free) in [
        ("block-new-sharing", "unblocked", "image", "snapshot"),
        ("unblocked", "block-all-sharing", "snapshot", "image"),
    ] {
        let told = checks(images, snapshots).await;
        assert_eq!(about(&told, "public sharing").len(), 4, "{told:#?}");
        for region in [REGION, OTHER] {
            let state = format!("{blocked}s become public in {region} (block-");
            assert_told(&told, "public sharing", Verdict::Failed, &state);
            let command = format!("disable-{blocked}-block-public-access --region {region}");
            assert_told(&told, "public sharing", Verdict::Failed, &command);
            let free = format!("of {free}s not blocked in {region}");
            assert_told(&told, "public sharing", Verdict::Ok, &free);
        }
        let failed = |c: &&Check| c.verdict == Verdict::Failed;
        let fault = told.iter().find(failed).unwrap().fault;
        assert_eq!(fault, Some(Fault::World), "the manifest is good");
    }
    let told = checks("unblocked", "unblocked").await;
    let is_ok = |c: &&Check| c.verdict == Verdict::Ok;
    assert!(
        about(&told, "public sharing").iter().all(is_ok),
        "{told:#?}"
    );
    // Who shares with nobody does not mind.
    let told = Build::of(&account).preflight().await;
    assert!(about(&told, "public sharing").is_empty(), "{told:#?}");
}

/// PEERS2026 2.2 row 27: the account encrypts by a key that nobody else may use, and the image is shared.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_account_that_encrypts_by_default_shares_no_image_and_launches_none_for_that() {
    let _pace = super::fast();
    let account = Account::open().await;
    let on = json!({"encrypts_by_default": true});
    account.control("ways", on).await;
    let before = account.inventory().await;
    let shared = format!(", encrypt: false, share: {{accounts: ['{FRIEND}']}}");
    let words = "encrypts volumes by default in eu-west-1, by a key that others may not use, and the manifest shares the image";
    let told = Build::publishing(&account, &shared).preflight().await;
    assert_told(&told, "encryption", Verdict::Failed, words);
    let built = Build::publishing(&account, &shared).run().await;
    let built = built.ended(Exit::Usage);
    assert!(built.said.contains(words), "{}", built.said);
    assert!(
        built.said.contains("image.encrypt.kms_key"),
        "{}",
        built.said
    );
    assert_eq!(account.inventory().await, before);

    let own = ", encrypt: false";
    let told = Build::publishing(&account, own).preflight().await;
    let by_default = "by the account's default in eu-west-1";
    assert_told(&told, "encryption", Verdict::Ok, by_default);
    Build::publishing(&account, own)
        .run()
        .await
        .ended(Exit::Done);
}

/// A key that is not there, or that nobody may use, in any of the regions.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_key_is_looked_at_in_each_region_that_has_a_copy() {
    let _pace = super::fast();
    let account = super::publish::account().await;
    let image = super::publish::everything();
    let checks = async || Build::publishing(&account, &image).preflight().await;
    assert_told(
        &checks().await,
        "encryption",
        Verdict::Failed,
        "there is no key alias/ami in eu-west-1",
    );
    let mut keys = Vec::new();
    for region in [super::server::REGION, super::publish::OTHER] {
        let told = checks().await;
        let missing = format!("there is no key alias/ami in {region}");
        assert_told(&told, "encryption", Verdict::Failed, &missing);
        let kms = super::build::keys_in(&account, region).await;
        let id = super::build::make_key(&kms, "alias/ami").await;
        let there = format!("alias/ami in {region} is Enabled, a customer's key");
        assert_told(&checks().await, "encryption", Verdict::Ok, &there);
        keys.push((kms, id));
    }
    let (kms, id) = &keys[1];
    kms.disable_key().key_id(id).send().await.unwrap();
    let told = checks().await;
    assert_told(
        &told,
        "encryption",
        Verdict::Failed,
        "the key alias/ami in us-east-1 is Disabled",
    );
    let wrong = about(&told, "encryption")
        .into_iter()
        .find(|c| c.verdict == Verdict::Failed);
    assert_eq!(wrong.unwrap().fault, Some(Fault::Manifest));
    kms.enable_key().key_id(id).send().await.unwrap();
    let pair = kms.create_key().key_spec(KeySpec::Rsa2048);
    let pair = pair.key_usage(KeyUsageType::EncryptDecrypt).send().await;
    let pair = pair.unwrap().key_metadata.unwrap().key_id;
    let name = |id: &str| kms.update_alias().alias_name("alias/ami").target_key_id(id);
    name(&pair).send().await.unwrap();
    assert_told(
        &checks().await,
        "encryption",
        Verdict::Failed,
        "the key alias/ami in us-east-1 is not symmetric",
    );
    name(id).send().await.unwrap();
    account.deny("DescribeKey", 1).await;
    assert_told(
        &checks().await,
        "encryption",
        Verdict::NotChecked,
        "DescribeKey",
    );
}

/// What IAM allows counts for nothing where the key's own policy leaves nothing to it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_own_policy_of_a_key_is_read_for_the_caller_and_for_those_whom_the_image_is_shared_with()
 {
    let _pace = super::fast();
    let account = super::publish::account().await;
    let image = super::publish::everything();
    let checks = async || Build::publishing(&account, &image).preflight().await;
    let mut keys = Vec::new();
    for region in [super::server::REGION, super::publish::OTHER] {
        let kms = super::build::keys_in(&account, region).await;
        let id = super::build::make_key(&kms, "alias/ami").await;
        keys.push((kms, id));
    }
    let told = checks().await;
    for (verdict, text) in [
        (
            Verdict::Ok,
            "the own policy of the key alias/ami in eu-west-1 leaves it to IAM",
        ),
        (
            Verdict::Ok,
            "the own policy of the key alias/ami in us-east-1 leaves it to IAM",
        ),
        (
            Verdict::Warning,
            "shared with 210987654321, which the own policy of the key alias/ami in us-east-1 does not let use kms:CreateGrant, kms:Decrypt, kms:DescribeKey",
        ),
        (
            Verdict::NotChecked,
            "whether the own policy of the key alias/ami in eu-west-1 lets arn:aws:organizations",
        ),
    ] {
        assert_told(&told, "encryption", verdict, text);
    }
    let (kms, id) = &keys[1];
    let number = &account.number;
    let statement = |principal: &str, action: &str| {
        let principal = format!("arn:aws:iam::{principal}");
        json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*"})
    };
    let set = async |statements: Json| {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let put = kms.put_key_policy().key_id(id).policy_name("default");
        put.policy(policy).send().await.unwrap();
    };
    let friend = statement("210987654321:root", "kms:*");
    set(json!([
        statement(&format!("{number}:role/admin"), "kms:*"),
        friend
    ]))
    .await;
    let told = checks().await;
    let no = "nor IAM's policies of its account allow kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext, kms:ReEncryptFrom, kms:ReEncryptTo, kms:CreateGrant";
    assert_told(&told, "encryption", Verdict::Warning, no);
    let of_friend = |c: &&Check| c.detail.contains("in us-east-1 does not let use");
    assert_eq!(told.iter().find(of_friend), None);
    set(json!([statement(&format!("{number}:root"), "kms:Re*")])).await;
    let told = checks().await;
    let no = "allow kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext, kms:CreateGrant: a build fails";
    assert_told(&told, "encryption", Verdict::Warning, no);

    account.deny("GetKeyPolicy", 1).await;
    for region in ["eu-west-1", "us-east-1"] {
        let unread =
            format!("the own policy of the key alias/ami in {region}: GetKeyPolicy was refused");
        assert_told(&checks().await, "encryption", Verdict::NotChecked, &unread);
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_command_ends_as_its_worst_check_and_prints_all_of_them() {
    let account = Account::open().await;
    let manifest = account.home().join("web.yaml");
    let write = |more: &str| {
        let text = format!(
            "name: web\nsource: {{ubuntu: '24.04'}}\nbuilder: {{connect: private-ip{more}}}\n"
        );
        std::fs::write(&manifest, text).unwrap();
    };
    let path = manifest.to_str().unwrap();
    write("");
    let told = amibake(&account, &["preflight", path], 0).await.stdout;
    assert_in_order(&told);
    let told = amibake(&account, &["preflight", "--json", path], 0)
        .await
        .stdout;
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["checks"][0]["about"], "credentials");

    // The service that tells where SSH comes from is asked, as by a build.
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("private-ip", "public-ip")).unwrap();
    let work = ["preflight", path].map(str::to_owned).to_vec();
    let nobody = [("AMIBAKE_CHECKIP_URL", "http://127.0.0.1:9/")];
    let asked = Process::start(&account, super::PACE, Work::Command(work), &nobody);
    let told = asked.end().await.ended(1).stdout;
    assert!(told.contains("FAILED       address"), "{told}");

    write(", instance_type: m6g.large");
    amibake(&account, &["preflight", path], 2).await;
    write("");
    account.deny("RunInstances", 1).await;
    let told = amibake(&account, &["preflight", path], 1).await.stdout;
    assert!(told.contains("FAILED"), "{told}");
}
