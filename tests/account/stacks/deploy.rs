//! `stack deploy`: the first one, one that changes parameters, the image, both or nothing, and what it prints.

use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::child::Outcome;
use super::super::server::Account;
use super::{BASE_IMAGE, amibake_leaping, another_image, certificate, described, open, outputs};

/// Calls that read, by how their names begin.
pub(super) const READING: [&str; 4] = ["Describe", "Get", "List", "Simulate"];

/// Deploys to the stack `web`, with a rollout as short as can be.
pub(super) async fn deploy(account: &Account, more: &[&str], code: u8) -> Outcome {
    let mut words = vec!["stack", "deploy", "web", "--bake", "1s", "--keep", "1s"];
    words.extend(more);
    amibake_leaping(account, &words, code).await
}

/// Deploys for the first time.
pub(super) async fn first(account: &Account, more: &[&str], code: u8) -> Outcome {
    let words = first_words(&certificate(account).await);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(more);
    amibake_leaping(account, &words, code).await
}

/// Returns a first deploy as it is typed.
pub(super) fn first_words(certificate: &str) -> Vec<String> {
    let mut words = ["stack", "deploy", "web", "--bake", "1s", "--keep", "1s"].to_vec();
    let certificate = format!("CertificateArn={certificate}");
    words.extend(["--ami", BASE_IMAGE, "--param", &certificate]);
    words.into_iter().map(str::to_owned).collect()
}

fn json_of(outcome: &Outcome) -> Json {
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Returns the size, the most and the number of instances of a colour's group.
async fn sizes(account: &Account, group: &str) -> (i32, i32, usize) {
    let asg = aws_sdk_autoscaling::Client::new(&settings(account).load().await);
    let name = outputs(account, "web").await[group].clone();
    let asked = asg
        .describe_auto_scaling_groups()
        .auto_scaling_group_names(name);
    let told = asked.send().await.unwrap();
    let group = &told.auto_scaling_groups()[0];
    (
        group.min_size().unwrap(),
        group.max_size().unwrap(),
        group.instances().len(),
    )
}

async fn parameter(account: &Account, name: &str) -> String {
    let parameters = described(account, "web").await.parameters.unwrap();
    let mut all = parameters
        .into_iter()
        .filter(|p| p.parameter_key() == Some(name));
    all.next().unwrap().parameter_value.unwrap()
}

/// Insists that requests are answered, all of them by instances of one colour.
async fn assert_served_by(account: &Account, colour: &str) {
    let outputs = outputs(account, "web").await;
    let asked = json!({"listener": outputs["Listener"], "count": 20});
    let told = account.control("requests", asked).await;
    assert_eq!(told["statuses"], json!({"200": 20}), "{told}");
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let group = &outputs[&format!("TargetGroup{colour}")];
    let health = elb
        .describe_target_health()
        .target_group_arn(group)
        .send()
        .await
        .unwrap();
    let targets = health.target_health_descriptions().iter();
    let targets: Vec<&str> = targets.filter_map(|t| t.target()?.id()).collect();
    let answered = told["instances"].as_object().unwrap();
    assert!(
        answered.keys().all(|id| targets.contains(&id.as_str())),
        "{told} {targets:?}"
    );
}

pub(super) async fn changing_calls(account: &Account) -> Vec<String> {
    let mut asked = account.actions().await;
    asked.retain(|action| !READING.iter().any(|verb| action.starts_with(verb)));
    asked
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_first_deploy_makes_the_stack_and_each_later_one_changes_what_it_is_asked_for() {
    let account = open().await;
    let before = account.inventory().await;
    let outcome = first(&account, &["--param", "InstanceType=t3.medium"], 0).await;
    let told = json_of(&outcome);
    assert_eq!(told["changed"], true, "{told}");
    assert!(
        told["outputs"]["Url"]
            .as_str()
            .unwrap()
            .starts_with("https://"),
        "{told}"
    );
    assert!(
        outcome.said.contains("CREATE_COMPLETE web"),
        "{}",
        outcome.said
    );
    assert_eq!(sizes(&account, "GroupBlue").await, (2, 4, 2));
    assert_eq!(sizes(&account, "GroupGreen").await, (0, 4, 0));
    assert_eq!(parameter(&account, "InstanceTypeGreen").await, "t3.medium");
    assert_served_by(&account, "Blue").await;

    // Nothing: the same again, and the image that is live.
    for ami in [BASE_IMAGE, "current"] {
        account.control("calls/clear", json!({})).await;
        let told = json_of(&deploy(&account, &["--ami", ami, "--param", "MaxSize=4"], 0).await);
        assert_eq!(told["changed"], false, "{told}");
        assert!(told["outputs"]["Url"].is_string(), "{told}");
        assert_eq!(changing_calls(&account).await, Vec::<String>::new());
    }

    // Parameters only.
    deploy(&account, &["--ami", "current", "--param", "MaxSize=6"], 0).await;
    assert_eq!(sizes(&account, "GroupBlue").await, (2, 6, 2));
    assert_served_by(&account, "Blue").await;

    // The image only.
    let image = another_image(&account).await;
    deploy(&account, &["--ami", &image], 0).await;
    assert_eq!(parameter(&account, "ImageIdGreen").await, image);
    assert_eq!(parameter(&account, "ImageIdBlue").await, BASE_IMAGE);
    assert_served_by(&account, "Green").await;

    // Both.
    deploy(&account, &["--ami", BASE_IMAGE, "--param", "MaxSize=5"], 0).await;
    assert_eq!(sizes(&account, "GroupBlue").await.1, 5);
    assert_served_by(&account, "Blue").await;

    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
    let mut after = account.inventory().await;
    for kind in ["images", "snapshots"] {
        after.insert(kind.to_owned(), before[kind].clone()); // the image that was built
    }
    assert_eq!(after, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_plan_shows_what_would_change_and_leaves_nothing() {
    let account = open().await;
    account.control("stacks", json!({"page": 3})).await;
    let told = first(&account, &["--plan"], 0).await.stdout;
    assert!(
        told.starts_with("stack web in eu-west-1 is new:\n"),
        "{told}"
    );
    assert!(
        told.contains("+   GroupGreen (AWS::AutoScaling::AutoScalingGroup)"),
        "{told}"
    );
    assert!(
        told.contains(" to add, 0 to change, 0 to replace, 0 to remove"),
        "{told}"
    );
    assert!(told.contains("then:\n 1. "), "{told}");
    amibake_leaping(&account, &["stack", "history", "web"], 2).await;

    first(&account, &[], 0).await;
    let image = another_image(&account).await;
    let of_image = deploy(&account, &["--ami", &image, "--plan"], 0).await;
    let told = of_image.stdout;
    assert!(
        told.contains("~   LaunchTemplateGreen (AWS::EC2::LaunchTemplate)"),
        "{told}"
    );
    assert!(
        !told.contains("LaunchTemplateBlue") && !told.contains("REPLACED"),
        "{told}"
    );
    let changed = format!("LaunchTemplateData.ImageId: {BASE_IMAGE} -> {image}, by ImageIdGreen");
    assert!(told.contains(&changed), "{told}");
    let cidr = [
        "--ami",
        "current",
        "--param",
        "VpcCidr=10.21.0.0/16",
        "--plan",
    ];
    let told = deploy(&account, &cidr, 0).await.stdout;
    let replaced = told.lines().find(|line| line.starts_with("-/+ Vpc "));
    let replaced = replaced.unwrap_or(&told);
    assert!(replaced.contains("IS REPLACED: vpc-"), "{told}");
    assert!(
        told.contains("CidrBlock: 10.20.0.0/16 -> 10.21.0.0/16, by VpcCidr (this replaces it)"),
        "{told}"
    );
    assert_eq!(parameter(&account, "ImageIdGreen").await, BASE_IMAGE);
    let told = deploy(&account, &["--ami", "current", "--plan"], 0)
        .await
        .stdout;
    assert_eq!(
        told,
        "stack web in eu-west-1 is as wanted: nothing would change\n"
    );
    let sets = super::cfn(&account)
        .await
        .list_change_sets()
        .stack_name("web")
        .send();
    assert!(sets.await.unwrap().summaries().is_empty());
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_first_deploy_that_fails_leaves_nothing_and_says_why() {
    let account = open().await;
    let before = account.inventory().await;
    let trouble =
        json!({"resource": "NatGateway", "action": "CREATE", "reason": "no addresses are left"});
    account.control("trouble", trouble).await;
    let said = first(&account, &[], 1).await.said;
    assert!(
        said.contains("stack web could not be made: NatGateway (stack/web.yaml:"),
        "{said}"
    );
    assert!(
        said.contains("is CREATE_FAILED: no addresses are left"),
        "{said}"
    );
    assert_eq!(account.inventory().await, before);
    // What is refused when it is read has made a name, which goes too.
    let said = first(&account, &["--param", "ErrorPercent=0"], 2)
        .await
        .said;
    assert!(
        said.contains("'ErrorPercent' must be a number not less than 1"),
        "{said}"
    );
    amibake_leaping(&account, &["stack", "history", "web"], 2).await;
}
