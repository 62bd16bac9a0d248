//! The client of the tests' own SDKs: HTTP alone, counted.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::json;

use super::server::Account;
use crate::clock::leaping::leap_past;
use crate::targets::ec2::counted::counted;

/// Returns one.
pub(super) fn client() -> SharedHttpClient {
    counted(Builder::new().build_http())
}

/// Has a clock that leaps go on although the account never answers what was asked of it.
pub(super) async fn leap_past_silence(account: &Account) -> Infallible {
    loop {
        let hung = account.control("hung", json!({})).await;
        let hung: Vec<String> = serde_json::from_value(hung).unwrap();
        let hung: BTreeSet<u64> = hung.iter().filter_map(|n| n.parse().ok()).collect();
        while leap_past(&hung) {
            // Whoever is woken has something to do first, and so have those whom that wakes.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
