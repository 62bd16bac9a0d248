//! `stack status`: what each colour is made of, by whose manifest, and who works on the stack.

use serde_json::{Value as Json, json};

use super::super::build::Build;
use super::super::server::Account;
use super::deploy::{deploy, first};
use super::{BASE_IMAGE, amibake_leaping, open, start_leaping};
use crate::clock::leaping;
use crate::exit::Exit;

const STATUS: [&str; 4] = ["stack", "status", "web", "--json"];

async fn status(account: &Account) -> Json {
    let told = amibake_leaping(account, &STATUS, 0).await.stdout;
    serde_json::from_str(&told).unwrap()
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn each_colour_is_told_with_its_image_and_the_manifest_content_and_date_of_that() {
    leaping::run(async {
        let account = open().await;
        first(&account, &[], 0).await;
        let built = Build::of(&account).run().await.ended(Exit::Done);
        let image = built.image.unwrap().id;
        deploy(&account, &["--ami", &image], 0).await;
        let told = status(&account).await;
        assert_eq!(told["live"], "green", "{told}");
        let of = |colour: &str| told["colours"][colour].clone();
        let (blue, green) = (of("blue"), of("green"));
        assert_eq!(
            (&blue["traffic"], &green["traffic"]),
            (&json!(0), &json!(100))
        );
        assert_eq!(
            (&blue["healthy"], &green["healthy"]),
            (&json!(0), &json!(2))
        );
        let ours = &green["image"];
        assert_eq!(
            (&ours["id"], &ours["manifest"]),
            (&json!(image), &json!("web"))
        );
        let (content, made) = (&ours["content"], &ours["made"]);
        let (content, made) = (content.as_str().unwrap(), made.as_str().unwrap());
        assert!(content.len() >= 16 && made.starts_with("20"), "{ours}");
        let other = &blue["image"];
        assert_eq!(
            (&other["id"], &other["manifest"]),
            (&json!(BASE_IMAGE), &Json::Null)
        );

        let text = amibake_leaping(&account, &STATUS[..3], 0).await.stdout;
        for line in [
            format!(
                "green    100 % of the traffic, 2 of 2 instances healthy\n         {image}: web, {content}, made {made}\n"
            ),
            format!(
                "blue     0 % of the traffic, 0 of 0 instances healthy\n         {BASE_IMAGE}: no manifest of ours, unknown content, "
            ),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn who_works_on_it_and_how_far_that_is_is_told() {
    leaping::run(async {
        let account = open().await;
        first(&account, &[], 0).await;
        assert_eq!(status(&account).await["lock"], Json::Null);
        // Its second: 10 % have moved.
        let second = json!({"nth": 2, "seconds": 600});
        account.fault("ModifyRule", "hold-before", second).await;
        let words = ["stack", "deploy", "web", "--ami", "current", "--bake", "1s"];
        let words = [&words[..], &["--param", "InstanceType=t3.medium"]].concat();
        let deploy = start_leaping(&account, &words).held(&account).await;
        let told = status(&account).await;
        let run = told["lock"]["run"].as_str().unwrap();
        assert_eq!(told["rollout"]["run"], run, "{told}");
        let text = amibake_leaping(&account, &STATUS[..3], 0).await.stdout;
        for line in [
            "blue     90 % of the traffic, 2 of 2 instances healthy",
            "green    10 % of the traffic, 2 of 2 instances healthy",
            "rollout  to green, under way, or interrupted, since 20",
            &format!("lock     run {run}, since 20"),
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        deploy.kill().await;
        account.release().await;
    });
}
