//! Credentials of a role that wants a code from a person, which the SDK does not know: the code is asked
//! for once. Nobody may be there when the session ends, so it is not asked for again.

use std::sync::LazyLock;

use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::profile::{MfaChain, RoleStep};
use crate::prompt;

/// The session of this process: all its builds have one, since a code is good for one session.
static SESSION: LazyLock<Mutex<Option<Credentials>>> = LazyLock::new(Mutex::default);

/// Why there are none.
#[derive(Debug, thiserror::Error)]
enum MfaError {
    #[error(
        "the session of {role_arn} has ended, and a new one takes a code of {serial}: nobody is asked in the middle of a build"
    )]
    Ended { role_arn: String, serial: String },
    #[error(
        "{role_arn} takes a code of {serial}, and there is no terminal to ask for it: a scheduled build needs a role that is assumed without one"
    )]
    NoTerminal {
        role_arn: String,
        serial: String,
        source: std::io::Error,
    },
    #[error("the code of {serial} was not accepted for {role_arn}")]
    Refused {
        role_arn: String,
        serial: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Assumes roles one by another, asking for codes.
#[derive(Debug)]
pub(super) struct MfaProvider {
    chain: MfaChain,
    /// How STS is asked.
    config: SdkConfig,
}

impl MfaProvider {
    pub(super) fn new(chain: MfaChain, config: SdkConfig) -> Self {
        Self { chain, config }
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let mut session = SESSION.lock().await;
        match session.as_ref() {
            Some(known) if !has_ended(known) => return Ok(known.clone()),
            Some(_) => return Err(CredentialsError::provider_error(self.ended())),
            None => {}
        }
        let mut credentials = self.base().await?;
        for step in &self.chain.steps {
            credentials = self.assume(step, credentials).await?;
        }
        let features = credentials.get_property_mut_or_default::<Vec<AwsCredentialFeature>>();
        // Nobody renews them: a build is told when they end.
        features.push(AwsCredentialFeature::CredentialsProfile);
        *session = Some(credentials.clone());
        Ok(credentials)
    }

    /// Returns the credentials of the first profile, as the SDK reads them.
    async fn base(&self) -> Result<Credentials, CredentialsError> {
        let config = ProviderConfig::default().with_region(self.config.region().cloned());
        let config = match self.config.http_client() {
            Some(http) => config.with_http_client(http),
            None => config,
        };
        let provider = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_name(self.chain.base.clone())
            .build();
        provider.provide_credentials().await
    }

    async fn assume(
        &self,
        step: &RoleStep,
        by: Credentials,
    ) -> Result<Credentials, CredentialsError> {
        let code = match &step.mfa_serial {
            Some(serial) => Some(ask(&step.role_arn, serial).await?),
            None => None,
        };
        let config = self.config.to_builder();
        let config = config.credentials_provider(SharedCredentialsProvider::new(by));
        let sts = aws_sdk_sts::Client::new(&config.build());
        let name = step.session_name.as_deref().unwrap_or("amibake");
        let answer = sts
            .assume_role()
            .role_arn(&step.role_arn)
            .role_session_name(name)
            .set_external_id(step.external_id.clone())
            .set_duration_seconds(step.duration_seconds)
            .set_serial_number(step.mfa_serial.clone())
            .set_token_code(code)
            .send()
            .await;
        let answer = answer.map_err(|source| {
            CredentialsError::provider_error(MfaError::Refused {
                role_arn: step.role_arn.clone(),
                serial: step.mfa_serial.clone().unwrap_or_default(),
                source: source.into_service_error().into(),
            })
        })?;
        let given = answer.credentials;
        let given = given.ok_or_else(|| CredentialsError::unhandled("STS gave no credentials"))?;
        let ends = std::time::SystemTime::try_from(given.expiration).ok();
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            ends,
            "AssumeRoleWithMfa",
        ))
    }

    fn ended(&self) -> MfaError {
        let step = self.chain.steps.iter().find(|s| s.mfa_serial.is_some());
        MfaError::Ended {
            role_arn: step.map(|s| s.role_arn.clone()).unwrap_or_default(),
            serial: step.and_then(|s| s.mfa_serial.clone()).unwrap_or_default(),
        }
    }
}

impl ProvideCredentials for MfaProvider {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.credentials())
    }
}

fn has_ended(credentials: &Credentials) -> bool {
    let ends = credentials.expiry().map(OffsetDateTime::from);
    ends.is_some_and(|ends| ends <= OffsetDateTime::now_utc())
}

/// Asks on the terminal for a code.
async fn ask(role_arn: &str, serial: &str) -> Result<String, CredentialsError> {
    let question = format!(
        "Code of {serial} (the session cannot be renewed unattended; a scheduled build needs another role): "
    );
    let asked = tokio::task::spawn_blocking(move || prompt::secret(&question)).await;
    let answer = asked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let code = answer.map_err(|source| {
        CredentialsError::invalid_configuration(MfaError::NoTerminal {
            role_arn: role_arn.to_owned(),
            serial: serial.to_owned(),
            source,
        })
    })?;
    Ok(code.trim().to_owned())
}
