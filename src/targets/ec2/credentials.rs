//! Credentials that end before a bake must: told when it begins, since what ends in the middle
//! leaves a machine that nobody can end.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::ProvideCredentials;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Ec2;
use crate::clock::Instant;
use crate::plan::BakePlan;
use crate::run::rfc3339;
use crate::targets::PhaseContext;

/// Where tools that write credentials to the environment say when they end.
const VARIABLES: [&str; 2] = ["AWS_CREDENTIAL_EXPIRATION", "AWS_SESSION_EXPIRATION"];

impl Ec2 {
    /// Says so when the credentials end before the bake must. Not having any is told by the first
    /// call.
    pub(super) async fn warn_of_credentials_that_end(
        &self,
        plan: &BakePlan,
        cx: &PhaseContext<'_>,
    ) {
        let Some(provider) = &self.credentials else {
            return;
        };
        let Ok(credentials) = provider.provide_credentials().await else {
            return;
        };
        let told = VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        let left = cx.until.saturating_duration_since(Instant::now());
        let now = OffsetDateTime::now_utc();
        if let Some(end) = end(&credentials, told.as_deref())
            && end < now + left
        {
            cx.phase
                .warn(warning(end, now, plan.builder.timeouts.total));
        }
    }
}

/// Returns when the credentials end, if nobody renews them meanwhile: the SDK does where a role or
/// a service gives them.
fn end(credentials: &Credentials, told: Option<&str>) -> Option<OffsetDateTime> {
    let from = credentials
        .get_property::<Vec<Feature>>()
        .map_or(&[][..], Vec::as_slice);
    if from.contains(&Feature::CredentialsEnvVars) {
        // The SDK does not read their end, which the environment may tell.
        credentials.session_token()?;
        return OffsetDateTime::parse(told?, &Rfc3339).ok();
    }
    let needs_a_person = [
        Feature::CredentialsProcess,
        Feature::CredentialsSso,
        Feature::CredentialsProfile,
    ];
    let renewed = [
        Feature::CredentialsStsAssumeRole,
        Feature::CredentialsStsAssumeRoleWebId,
        Feature::CredentialsImds,
        Feature::CredentialsHttp,
    ];
    let ends = from.iter().any(|f| needs_a_person.contains(f))
        && !from.iter().any(|f| renewed.contains(f));
    credentials.expiry().filter(|_| ends).map(Into::into)
}

fn warning(end: OffsetDateTime, now: OffsetDateTime, total: Duration) -> String {
    let left = (end - now).whole_minutes().max(0);
    format!(
        "the AWS credentials end in {left} min, at {}, and this build may take {} (builder.timeouts.total): should they not be renewed by then, it fails, and `amibake reap` with new ones removes what it made",
        rfc3339(end),
        minutes(total)
    )
}

fn minutes(time: Duration) -> String {
    format!("{} min", time.as_secs().div_ceil(60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn from(features: &[Feature], token: Option<&str>) -> Credentials {
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        let token = token.map(str::to_owned);
        let mut made = Credentials::new("id", "secret", token, Some(expiry), "test");
        let known = made.get_property_mut_or_default::<Vec<Feature>>();
        known.extend_from_slice(features);
        made
    }

    fn hour(credentials: &Credentials, told: Option<&str>) -> Option<i64> {
        end(credentials, told).map(|end| end.unix_timestamp() / 3600)
    }

    #[test]
    fn an_end_that_nobody_puts_off_is_told() {
        let process = [Feature::CredentialsProfile, Feature::CredentialsProcess];
        assert_eq!(hour(&from(&process, None), None), Some(1));
        assert_eq!(hour(&from(&[Feature::CredentialsSso], None), None), Some(1));
        let renewed = [
            Feature::CredentialsProfile,
            Feature::CredentialsStsAssumeRole,
        ];
        assert_eq!(hour(&from(&renewed, None), None), None);
        assert_eq!(hour(&from(&[Feature::CredentialsImds], None), None), None);
    }

    #[test]
    fn the_end_of_a_session_in_the_environment_is_what_the_environment_says() {
        let session = from(&[Feature::CredentialsEnvVars], Some("token"));
        assert_eq!(hour(&session, Some("1970-01-01T02:00:00Z")), Some(2));
        assert_eq!(hour(&session, Some("soon")), None);
        assert_eq!(hour(&session, None), None);
        let key = from(&[Feature::CredentialsEnvVars], None);
        assert_eq!(hour(&key, Some("1970-01-01T02:00:00Z")), None, "of others");
    }

    #[test]
    fn the_warning_says_how_long_they_last_and_what_to_do() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let said = warning(
            now + Duration::from_secs(1200),
            now,
            Duration::from_secs(7200),
        );
        assert!(
            said.contains(
                "end in 20 min, at 1970-01-01T00:20:00Z, and this build may take 120 min"
            )
        );
    }
}
