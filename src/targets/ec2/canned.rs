//! An EC2 with canned answers, for tests: the real SDK, whose calls a function answers.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::SharedAsyncSleep;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::{Response, StatusCode};
use aws_smithy_types::body::SdkBody;

use super::Ec2;
use super::sdk_clock::SdkSleep;

/// A call, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) region: String,
    /// `DescribeImages`.
    pub(super) action: String,
    /// All its parameters: `Filter.1.Name=image-id&…`.
    pub(super) parameters: String,
}

/// What EC2 says.
pub(super) enum Said {
    /// What the answer holds: `<imagesSet>…</imagesSet>`.
    Yes(String),
    /// An error's code.
    No(&'static str),
}

/// The calls that were made, and what answers them.
#[derive(Clone)]
pub(super) struct Canned {
    made: Arc<Mutex<Vec<Call>>>,
    answer: Arc<dyn Fn(&Call) -> Said + Send + Sync>,
}

impl Canned {
    /// Returns an EC2 in `region` that `answer` speaks for, and the calls it will have been asked.
    pub(super) fn ec2(
        region: &'static str,
        answer: impl Fn(&Call) -> Said + Send + Sync + 'static,
    ) -> (Ec2, Self) {
        Self::with_tries(region, RetryConfig::disabled(), answer)
    }

    /// The same with the SDK's own tries.
    pub(super) fn with_tries(
        region: &'static str,
        tries: RetryConfig,
        answer: impl Fn(&Call) -> Said + Send + Sync + 'static,
    ) -> (Ec2, Self) {
        let canned = Self {
            made: Arc::default(),
            answer: Arc::new(answer),
        };
        let region = Region::from_static(region);
        let credentials = Credentials::new("AKIA", "secret", None, None, "canned");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(tries)
            .sleep_impl(SharedAsyncSleep::new(SdkSleep))
            .http_client(canned.clone())
            .build();
        let mut ec2 = Ec2::by(config, &region);
        ec2.poll = Duration::from_millis(1);
        (ec2, canned)
    }

    /// Returns the calls as `eu-west-1 DescribeImages`, in order.
    pub(super) fn made(&self) -> Vec<String> {
        let made = self.made.lock().unwrap();
        let told = made.iter().map(|c| format!("{} {}", c.region, c.action));
        told.collect()
    }

    /// Returns the parameters of each call of this action.
    pub(super) fn asked(&self, action: &str) -> Vec<String> {
        let made = self.made.lock().unwrap();
        let asked = made.iter().filter(|call| call.action == action);
        asked.map(|call| call.parameters.clone()).collect()
    }
}

impl fmt::Debug for Canned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canned")
    }
}

impl HttpClient for Canned {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let parameters = String::from_utf8_lossy(body).into_owned() + "&";
        let action = parameters
            .split('&')
            .find_map(|p| p.strip_prefix("Action="));
        let region = request.uri().split('.').nth(1).unwrap_or_default();
        let call = Call {
            region: region.to_owned(),
            action: action.expect("a call of EC2's query API").to_owned(),
            parameters,
        };
        let said = (self.answer)(&call);
        let (status, text) = match said {
            Said::Yes(holds) => {
                let action = &call.action;
                (200, format!("<{action}Response>{holds}</{action}Response>"))
            }
            Said::No(code) => {
                let error = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
                let whole = format!("<Response><Errors>{error}</Errors></Response>");
                (400, whole)
            }
        };
        self.made.lock().unwrap().push(call);
        let status = StatusCode::try_from(status).unwrap();
        HttpConnectorFuture::ready(Ok(Response::new(status, SdkBody::from(text))))
    }
}
