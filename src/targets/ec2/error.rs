//! What EC2 answered when it was not yes, and what the user can do about it.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ledger::JournalError;
use crate::targets::TargetError;

/// A conversation with EC2 that did not end as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ec2Error {
    /// EC2 answered, and the answer was no.
    #[error("{operation} was refused in {region}: {code}")]
    Refused {
        /// API action as the EC2 reference spells it: `RunInstances`.
        operation: &'static str,
        region: String,
        /// EC2's own code: `InvalidAMIID.NotFound`. Retries decide on this, never on the message.
        code: String,
        /// The first thing AWS support asks for.
        request_id: Option<String>,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer, or none that could be read. What was asked may have happened.
    #[error("{operation} got no answer in {region}")]
    NoAnswer {
        operation: &'static str,
        region: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was asked: there is nothing to sign it with.
    #[error("there are no AWS credentials for {operation} in {region}")]
    NoCredentials {
        operation: &'static str,
        region: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something went to a state from which it will not come to the one waited for.
    #[error("{what} became {state} while waiting for {wanted}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    DeadEnd {
        /// `i-0abc12`.
        what: String,
        state: String,
        wanted: &'static str,
        /// EC2's reason.
        reason: Option<String>,
    },
    /// The name was free when the bake began.
    #[error("{by} has taken the name {name} while this image was made")]
    Taken {
        name: String,
        /// `ami-0abc12`.
        by: String,
    },
    #[error("what was about to be created could not be recorded")]
    Journal(#[from] JournalError),
    #[error("{what} was not {wanted} within {} s", after.as_secs())]
    TooSlow {
        what: String,
        wanted: &'static str,
        after: std::time::Duration,
        /// Which of `builder.timeouts` makes it longer.
        key: Option<&'static str>,
    },
}

impl Ec2Error {
    /// Returns what the SDK says, as ours.
    pub(crate) fn from_sdk<E, R>(
        operation: &'static str,
        region: &str,
        error: SdkError<E, R>,
    ) -> Self
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let region = region.to_owned();
        match error {
            SdkError::ServiceError(answer) => {
                let error = answer.into_err();
                // A gateway's page, say: EC2 itself has not answered.
                let Some(code) = error.code().map(str::to_owned) else {
                    return Self::NoAnswer {
                        operation,
                        region,
                        source: said(&error).into(),
                    };
                };
                let request_id = error.request_id().map(str::to_owned);
                let mut said = error.message().unwrap_or("no reason was given").to_owned();
                if let Some(id) = &request_id {
                    said = format!("{said} (request {id})");
                }
                Self::Refused {
                    operation,
                    region,
                    code,
                    request_id,
                    source: said.into(),
                }
            }
            other if lacks_credentials(&other) => Self::NoCredentials {
                operation,
                region,
                source: said(&other).into(),
            },
            other => Self::NoAnswer {
                operation,
                region,
                source: said(&other).into(),
            },
        }
    }

    /// Returns what came of a call for another who waited for its answer, too.
    pub(super) fn for_another(&self) -> Self {
        match self {
            Self::Refused {
                operation,
                region,
                code,
                request_id,
                source,
            } => Self::Refused {
                operation,
                region: region.clone(),
                code: code.clone(),
                request_id: request_id.clone(),
                source: source.to_string().into(),
            },
            Self::NoAnswer {
                operation,
                region,
                source,
            } => Self::NoAnswer {
                operation,
                region: region.clone(),
                source: source.to_string().into(),
            },
            Self::NoCredentials {
                operation,
                region,
                source,
            } => Self::NoCredentials {
                operation,
                region: region.clone(),
                source: source.to_string().into(),
            },
            Self::DeadEnd { .. } | Self::Taken { .. } | Self::Journal(_) | Self::TooSlow { .. } => {
                unreachable!("no call ends so: {self}")
            }
        }
    }

    /// Returns EC2's code, if it answered with one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::NoAnswer { .. }
            | Self::NoCredentials { .. }
            | Self::DeadEnd { .. }
            | Self::Taken { .. }
            | Self::Journal(_)
            | Self::TooSlow { .. } => None,
        }
    }

    /// Returns whether EC2 said no: what was asked for has not come to be.
    ///
    /// A throttled call is no proof of that, nor one whose credentials have ended: it is the last of
    /// several tries, of which an earlier one may have been done and its answer lost. That a name is
    /// taken may be just that, too: ours is named after the run.
    pub(super) fn is_refusal(&self) -> bool {
        let is_proof = |code| {
            !is_broken(code)
                && !is_throttled(code)
                && !is_about_credentials(code)
                && !is_taken(code)
        };
        matches!(self, Self::Taken { .. }) || self.code().is_some_and(is_proof)
    }

    /// Returns whether the same call may be answered otherwise a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_broken(code) || is_throttled(code),
            Self::NoAnswer { .. } => true,
            Self::NoCredentials { .. }
            | Self::DeadEnd { .. }
            | Self::Taken { .. }
            | Self::TooSlow { .. }
            | Self::Journal(_) => false,
        }
    }

    /// Returns whether the account has as much of it under way as it may.
    pub(super) fn is_full(&self) -> bool {
        self.code() == Some("ResourceLimitExceeded")
    }

    /// Returns whether somebody else has asked for the same thing: with our token and other tags, or
    /// by its name.
    pub(super) fn means_another_asks(&self) -> bool {
        matches!(
            self.code(),
            Some("IdempotentParameterMismatch" | "InvalidAMIName.Duplicate")
        )
    }

    /// Returns whether nobody answered.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }

    /// Returns whether the credentials lack the permission.
    pub(crate) fn is_denied(&self) -> bool {
        self.code().is_some_and(is_denied)
    }

    /// Returns whether EC2 does not know the thing: it is gone, or so new that not all of EC2 has
    /// heard of it.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code()
            .is_some_and(|c| is_unknown(c) || c == "ParameterNotFound")
    }

    /// Returns whether an image is gone, or in a state that does not permit the call: which of them
    /// is not said.
    pub(super) fn is_unavailable(&self) -> bool {
        self.code() == Some("InvalidAMIID.Unavailable")
    }

    /// Returns whether something else that is on its way out still needs the thing.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(
            self.code(),
            Some("DependencyViolation" | "InvalidSnapshot.InUse")
        )
    }

    fn hint(&self) -> Option<String> {
        let code = match self {
            Self::Refused { code, .. } => code.as_str(),
            Self::NoAnswer { .. } => {
                return Some(
                    "check the network, AWS_ENDPOINT_URL, and that the region's name is right"
                        .into(),
                );
            }
            Self::NoCredentials { source, .. } => {
                let has_token = std::env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
                return Some(logging_in(&source.to_string(), has_token).to_owned());
            }
            Self::Taken { .. } => {
                return Some(
                    "builds of one manifest that begin in the same second have the same {{ build_time }}: build again, or name the images apart"
                        .into(),
                );
            }
            Self::DeadEnd { .. } | Self::Journal(_) => return None,
            Self::TooSlow { key, .. } => {
                return key.map(|key| format!("builder.timeouts.{key} makes the wait longer"));
            }
        };
        let hint = match code {
            code if is_denied(code) => "the credentials lack the permission for this action",
            "ExpiredToken" | "ExpiredTokenException" => {
                "the credentials have ended: a build needs some that last as long as it does, or a profile or role that renews them"
            }
            code if is_about_credentials(code) => {
                "the credentials are not valid, or the clock of this machine is wrong"
            }
            "OptInRequired" | "PendingVerification" => {
                "the account must accept the image's terms, or be verified, first"
            }
            "InvalidAMIName.Duplicate" => "put {{ build_time }} into image.name",
            code if is_capacity(code) => {
                "list more types in builder.instance_type, or more subnets"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<Ec2Error> for TargetError {
    fn from(error: Ec2Error) -> Self {
        let hint = error.hint();
        let message = error.to_string();
        let mut outer = match std::error::Error::source(&error).map(ToString::to_string) {
            Some(source) => Self::new(message).because(source),
            None => Self::new(message),
        };
        if let Some(hint) = hint {
            outer = outer.with_hint(hint);
        }
        outer
    }
}

/// Returns how to get credentials where whoever should have given them says `why` there are none. The SDK has no
/// errors of these kinds, only words.
fn logging_in(why: &str, has_identity_token: bool) -> &'static str {
    let why = why.to_lowercase();
    let of_sso = ["sso token", "sso/cache", "session token not found"];
    if of_sso.iter().any(|words| why.contains(words)) {
        return "`aws sso login` begins a session, with the same AWS_PROFILE; a scheduled build needs a role that nobody logs in for";
    }
    if why.contains("takes a code of") {
        return "run it on a terminal, where somebody says the code, or choose a profile whose role is assumed without one";
    }
    // Whoever has nothing to do with such tokens is told of that provider among all that were asked.
    if has_identity_token || why.contains("invalididentitytoken") {
        return "look at AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, and at whom the role's trust policy lets assume it";
    }
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role; `amibake build --target container` needs no AWS"
}

/// Returns whether no provider of credentials had any, or one of them failed.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<CredentialsError>)
}

/// Returns whether EC2 does not know what was named. Of templates it says so in more words.
fn is_unknown(code: &str) -> bool {
    let ends = [".NotFound", ".NotFoundException", ".VersionNotFound"];
    ends.iter().any(|end| code.ends_with(end))
}

/// Returns whether a policy says no.
fn is_denied(code: &str) -> bool {
    matches!(
        code,
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException"
    )
}

/// Returns whether the account has no room for the machine until others have ended.
pub(super) fn is_quota(code: &str) -> bool {
    matches!(code, "VcpuLimitExceeded" | "InstanceLimitExceeded")
}

/// Returns whether another type or another subnet may do.
pub(super) fn is_capacity(code: &str) -> bool {
    matches!(
        code,
        "InsufficientInstanceCapacity"
            | "InsufficientHostCapacity"
            | "InsufficientReservedInstanceCapacity"
            | "InsufficientCapacity"
            | "Unsupported"
            | "SpotMaxPriceTooLow"
            | "InsufficientFreeAddressesInSubnet"
    )
}

/// Returns whether it was not looked at what was asked, since nobody knew who asks.
fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "TokenRefreshRequired"
            | "UnrecognizedClientException"
    )
}

/// Returns what an error of the SDK and its causes say, each once. Its own words for what it was
/// at (`dispatch failure`, `io error`) tell a user nothing.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let said = error.to_string();
        let is_known = words.last().is_some_and(|last| last.contains(&said));
        let is_inner = [
            "dispatch failure",
            "io error",
            "other",
            "response error",
            "service error",
        ]
        .contains(&said.as_str());
        if !is_known && !is_inner {
            words.push(said);
        }
    }
    match words.is_empty() {
        true => error.to_string(),
        false => words.join(": "),
    }
}

/// Returns whether EC2 failed by itself: whether the thing was done is not known.
fn is_broken(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "Unavailable"
            | "RequestTimeout"
    )
}

/// Returns whether a thing of that name is there already.
fn is_taken(code: &str) -> bool {
    matches!(code, "InvalidAMIName.Duplicate" | "InvalidGroup.Duplicate")
}

/// Returns whether too much was asked in too short a time: the codes for which the SDK waits too.
fn is_throttled(code: &str) -> bool {
    code.contains("Throttl")
        || matches!(
            code,
            "RequestLimitExceeded"
                | "BandwidthLimitExceeded"
                | "TooManyRequestsException"
                | "SlowDown"
                | "PriorRequestNotComplete"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_identity_token_is_not_told_of_one() {
        let asked = "Attempted: WebIdentityToken: the credential provider was not enabled";
        let none = logging_in(asked, false);
        assert!(none.starts_with("set AWS_PROFILE"));
        // Other commands have no such option.
        assert!(none.ends_with("; `amibake build --target container` needs no AWS"));
        let refused = "InvalidIdentityToken: no provider is found in your account";
        for (why, has_token) in [(asked, true), (refused, false)] {
            assert!(logging_in(why, has_token).contains("AWS_WEB_IDENTITY_TOKEN_FILE"));
        }
    }

    fn refused(code: &str) -> Ec2Error {
        let (region, code) = ("eu-west-1".to_owned(), code.to_owned());
        Ec2Error::Refused {
            operation: "RunInstances",
            region,
            code,
            request_id: None,
            source: "no".into(),
        }
    }

    #[test]
    fn a_failure_of_ec2_or_a_throttled_call_is_no_proof_that_nothing_came_to_be() {
        assert!(refused("UnauthorizedOperation").is_refusal());
        assert!(!refused("InternalError").is_refusal());
        assert!(!refused("RequestLimitExceeded").is_refusal());
        assert!(!refused("EC2ThrottledException").is_refusal());
        for code in [
            "ExpiredToken",
            "RequestExpired",
            "AuthFailure",
            "InvalidAMIName.Duplicate",
            "InvalidGroup.Duplicate",
        ] {
            assert!(!refused(code).is_refusal(), "{code}");
            assert!(!refused(code).is_transient(), "{code}");
        }
    }

    #[test]
    fn a_call_that_got_no_answer_says_why_in_the_words_of_the_trade() {
        use aws_sdk_ec2::operation::run_instances::RunInstancesError;
        use aws_smithy_runtime_api::client::result::ConnectorError;
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error =
            SdkError::<RunInstancesError, ()>::dispatch_failure(ConnectorError::io(refused.into()));
        let error = Ec2Error::from_sdk("RunInstances", "eu-west-1", error);
        let said = crate::exit::chain(&error);
        assert_eq!(
            said,
            "RunInstances got no answer in eu-west-1: connection refused"
        );
    }

    #[test]
    fn what_is_transient_is_asked_again_and_a_plain_no_is_not() {
        assert!(refused("InternalError").is_transient());
        assert!(refused("RequestLimitExceeded").is_transient());
        assert!(!refused("UnauthorizedOperation").is_transient());
    }

    #[test]
    fn only_a_wait_that_the_manifest_limits_is_said_to_be_made_longer_by_it() {
        let hint = |key| {
            let slow = Ec2Error::TooSlow {
                what: "i-0abc12".to_owned(),
                wanted: "stopped",
                after: std::time::Duration::from_secs(1_200),
                key,
            };
            slow.hint()
        };
        let longer = "builder.timeouts.image makes the wait longer";
        assert_eq!(hint(Some("image")).as_deref(), Some(longer));
        assert_eq!(hint(None), None);
    }

    #[test]
    fn a_vcpu_quota_does_not_walk_the_ladder() {
        assert!(is_capacity("InsufficientInstanceCapacity"));
        assert!(is_quota("VcpuLimitExceeded") && !is_capacity("VcpuLimitExceeded"));
    }
}
