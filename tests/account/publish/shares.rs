//! Who may use an image and its snapshots, and who no longer may.

use serde_json::json;

use super::{
    FRIEND, ORGANIZATION, OTHER, account, everything, image, images, parameter, permissions_of,
    shared_with, snapshot, table, volumes_of,
};
use crate::account::build::Build;
use crate::account::child::amibake;
use crate::account::fast;
use crate::account::server::{Account, REGION};
use crate::exit::Exit;

const UNIT: &str = "arn:aws:organizations::123456789012:ou/o-abcde12345/ou-ab12-cdefgh34";

async fn is_everybodys(account: &Account, region: &'static str, snapshot: &str) -> bool {
    let told = permissions_of(account, region, snapshot).await;
    told.iter().any(|p| p.group.is_some())
}

/// The last call of all that can be taken back is refused.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_others_could_act_on_is_taken_back_and_the_image_stays_as_one_that_has_passed() {
    let _pace = fast();
    let account = account().await;
    // An older image is where this one is to be.
    let older = Build::publishing(&account, &everything()).run().await;
    let older = older.ended(Exit::Done).image.unwrap().id;
    let before = account.inventory().await;
    // The first renews, the second writes the user's tags, and the third releases.
    let refused = json!({"region": REGION, "nth": 3, "times": 1});
    account.fault("CreateTags", "denied", refused).await;
    let wanted = everything().replace(&format!("{REGION}, {OTHER}"), REGION);
    let built = Build::publishing(&account, &wanted).run().await;
    let built = built.ended(Exit::LeftBehind);
    account.assert_all_hit().await;
    assert!(built.image.is_none(), "it is not published");
    let images = images(&account, REGION).await;
    let new = images
        .iter()
        .find(|i| i.image_id() != Some(&older))
        .unwrap();
    let id = new.image_id().unwrap();
    let tags = table(new.tags());
    assert_eq!(tags["amibake:state"], "passed");
    assert!(
        !tags.contains_key("Team") && !tags.contains_key("Name"),
        "{tags:?}"
    );
    assert!(new.description().unwrap().contains("(amibake run "));
    assert_eq!(shared_with(&account, REGION, id).await, [""; 0]);
    assert_eq!(volumes_of(&account, REGION, snapshot(new)).await, [""; 0]);
    let now = account.inventory().await;
    for kind in ["parameters", "template_versions"] {
        assert_eq!(now[kind], before[kind], "{}", built.said);
    }
    let named = built.left_behind();
    assert!(named.iter().any(|(what, _)| what.contains(id)), "{named:?}");
    assert!(
        built.said.contains("others may have used"),
        "{}",
        built.said
    );

    // Until it expires `reap` leaves it, and the command goes on.
    amibake(&account, &["reap", "--region", REGION], 0).await;
    let command = named[0].1.to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    amibake(&account, &words, 0).await;
    assert_eq!(parameter(&account, REGION).await.as_deref(), Some(id));
    assert_eq!(
        shared_with(&account, REGION, id).await,
        [FRIEND, ORGANIZATION]
    );
}

/// An image that everybody may launch is not encrypted; and the account must let one become public.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_is_public_and_a_unit_s_in_every_region_and_is_taken_back_by_the_manifest() {
    let _pace = fast();
    let account = account().await;
    let free = json!({"public_access": "unblocked", "public_snapshots": "unblocked"});
    account.control("ways", free).await;
    let wanted =
        |share: &str| format!(", encrypt: false, regions: [{REGION}, {OTHER}], share: {{{share}}}");
    let open = format!(
        "public: true, confirm_public: web, organizational_units: ['{UNIT}'], snapshots: true"
    );
    let build = Build::publishing(&account, &wanted(&open)).of_shared_content();
    build.run().await.ended(Exit::Done);
    for region in [REGION, OTHER] {
        let image = image(&account, region).await;
        let id = image.image_id().unwrap();
        assert_eq!(shared_with(&account, region, id).await, ["all", UNIT]);
        assert!(is_everybodys(&account, region, snapshot(&image)).await);
    }
    let build = Build::publishing(&account, &wanted("")).of_shared_content();
    let again = build.run().await.ended(Exit::Done);
    assert!(again.reused, "{}", again.said);
    for region in [REGION, OTHER] {
        let image = image(&account, region).await;
        let id = image.image_id().unwrap();
        assert_eq!(shared_with(&account, region, id).await, [""; 0]);
        assert!(!is_everybodys(&account, region, snapshot(&image)).await);
    }
}
