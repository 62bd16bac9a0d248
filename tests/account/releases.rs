//! A release that fails, and an image that stays although it should not: `reap` removes it, and does
//! not release what a build has called failed.

use serde_json::json;

use super::build::Build;
use super::child::amibake;
use super::server::{Account, REGION, assert_one_image_more};
use crate::exit::Exit;

/// A build whose image can be released only in part; returns the image.
async fn stays(account: &Account) -> String {
    let built = Build::of(account).run().await.ended(Exit::LeftBehind);
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    let left = account.inventory().await;
    assert_eq!(left["images"].len(), 1, "{}", built.said);
    let image = left["images"][0].clone();
    let named = built.left_behind();
    assert!(
        named.iter().any(|(what, _)| what.contains(&image)),
        "{named:?}"
    );
    image
}

/// How the last of its calls fails: it is refused, or it is done and passes for refused.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_whose_release_failed_is_removed_by_its_tags_alone_when_it_expires() {
    let _pace = super::fast();
    for (kind, more) in [
        ("denied", json!({})),
        ("expired-token", json!({"done": true})),
    ] {
        let account = Account::open().await;
        let before = account.inventory().await;
        account.fault("ModifyImageAttribute", kind, more).await;
        let image = stays(&account).await;
        let described = account.description(&image).await;
        assert!(described.contains("(amibake run "), "{kind}: {described}");

        std::fs::remove_dir_all(account.state_folder()).unwrap();
        let told = amibake(&account, &["reap", "--region", REGION], 0).await;
        assert!(told.stdout.contains(&image), "{kind}: {}", told.stdout);
        assert!(!told.stdout.contains("finish"), "{kind}: {}", told.stdout);
        account.control("expire", json!({})).await;
        amibake(&account, &["reap", "--region", REGION], 0).await;
        assert_eq!(account.inventory().await, before, "{kind}");
    }
}

/// Its tags cannot be written back, and say that it is released: it has passed, and so it is.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_still_says_it_is_released_has_its_release_finished() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    account.deny("ModifyImageAttribute", 1).await;
    account.deny("CreateTags", 3).await;
    let image = stays(&account).await;
    let told = amibake(&account, &["reap", "--region", REGION], 0).await;
    assert!(told.stdout.contains("finish"), "{}", told.stdout);
    assert_one_image_more(&before, &account.inventory().await);
    let described = account.description(&image).await;
    assert!(described.contains("[amibake content "), "{described}");
    assert!(!described.contains("(amibake run "), "{described}");
}

/// What RegisterImage would lose keeps CreateImage's image, under its final name from the first.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_with_product_codes_is_warned_of_and_released_as_it_is() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    account
        .control("ways", json!({"product_codes": ["abc"]}))
        .await;
    let hold = json!({"seconds": 600});
    account
        .fault("ModifyImageAttribute", "hold-before", hold)
        .await;
    let build = Build::of(&account);
    let looking = async {
        account.wait_until_held().await;
        let image = account.inventory().await["images"][0].clone();
        let untested = account.description(&image).await;
        account.release().await;
        untested
    };
    let (built, untested) = tokio::join!(build.run(), looking);
    let built = built.ended(Exit::Done);
    let warning = "has product codes, which RegisterImage would lose: the image has its final name before it is tested";
    assert!(built.said.contains(warning), "{}", built.said);
    assert!(
        untested.contains("(amibake candidate of run "),
        "{untested}"
    );
    assert_one_image_more(&before, &account.inventory().await);
    let image = built.image.unwrap().id;
    let described = account.description(&image).await;
    assert!(
        described.starts_with("web, baked by amibake [amibake content "),
        "{described}"
    );
    assert!(described.ends_with(']'), "{described}");
    assert!(
        !account
            .actions()
            .await
            .contains(&"RegisterImage".to_owned())
    );
}

/// Keys for secure boot would be gone, and the machine another than the one that was tested.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn uefi_variables_travel_to_the_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let variables = "QU1aTlVFRkk=";
    account
        .control("ways", json!({"uefi_data": variables}))
        .await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let actions = account.actions().await;
    assert!(actions.contains(&"RegisterImage".to_owned()));
    let image = built.image.unwrap().id;
    assert_eq!(account.uefi_data(&image).await.as_deref(), Some(variables));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn uefi_variables_that_may_not_be_read_keep_the_first_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    account
        .control("ways", json!({"uefi_data": "QU1aTlVFRkk="}))
        .await;
    account.deny("DescribeImageAttribute", 1).await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let warning = "may have UEFI variables, which RegisterImage would lose without the permission ec2:DescribeImageAttribute";
    assert!(built.said.contains(warning), "{}", built.said);
    let actions = account.actions().await;
    assert!(!actions.contains(&"RegisterImage".to_owned()));
}
