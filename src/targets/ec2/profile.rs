//! The profile that the environment chooses: whether it is there, and what of it the SDK does not read.

use std::path::PathBuf;

use aws_config::profile::{Profile as Section, ProfileSet};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use crate::targets::TargetError;

/// Chooses a profile.
const VARIABLE: &str = "AWS_PROFILE";

/// The profile of whoever chooses none: it need not be there.
const DEFAULT: &str = "default";

/// How many roles may be assumed one by another.
const LONGEST_CHAIN: usize = 10;

/// All profiles, and which one is chosen.
#[derive(Debug)]
pub(super) struct Profiles {
    all: ProfileSet,
}

/// A role, as a profile names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleStep {
    pub(super) role_arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
    pub(super) duration_seconds: Option<i32>,
    /// The device that says who is there.
    pub(super) mfa_serial: Option<String>,
}

/// How credentials come about where a person has to say a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MfaChain {
    /// The profile whose credentials come first.
    pub(super) base: String,
    /// The roles, in the order in which they are assumed. Never empty.
    pub(super) steps: Vec<RoleStep>,
}

impl Profiles {
    /// Reads the files of profiles.
    ///
    /// # Errors
    /// Files that cannot be read, and a profile that was chosen and is not there.
    pub(super) async fn load() -> Result<Self, TargetError> {
        let (fs, env) = (Fs::real(), Env::real());
        let all = aws_config::profile::load(&fs, &env, &EnvConfigFiles::default(), None).await;
        let all = all.map_err(|error| {
            TargetError::manifest(format!("the AWS profiles in {} cannot be read", files()))
                .because(error)
        })?;
        let profiles = Self { all };
        profiles.check_chosen()?;
        Ok(profiles)
    }

    fn check_chosen(&self) -> Result<(), TargetError> {
        let chosen = self.all.selected_profile();
        if chosen == DEFAULT || self.all.get_profile(chosen).is_some() {
            return Ok(());
        }
        let mut known: Vec<&str> = self.all.profiles().collect();
        known.sort_unstable();
        let error =
            TargetError::manifest(format!("there is no AWS profile {chosen} in {}", files()));
        Err(error.with_hint(nearest(chosen, &known)))
    }

    /// Returns a key of the chosen profile.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.all.get(key)
    }

    /// Returns how to get credentials where that takes a code of a person; `None` where it does not, and
    /// the SDK knows how.
    ///
    /// # Errors
    /// A profile that asks for a code and says nothing of who assumes the role.
    pub(super) fn mfa_chain(&self) -> Result<Option<MfaChain>, TargetError> {
        let mut steps = Vec::new();
        let mut name = self.all.selected_profile().to_owned();
        while let Some(section) = self.all.get_profile(&name) {
            let Some(step) = step(section) else { break };
            let source = section.get("source_profile").map(str::to_owned);
            steps.push((name.clone(), step));
            match source {
                Some(source) if source != name && steps.len() < LONGEST_CHAIN => name = source,
                Some(_) => break, // its own keys
                None => {
                    let is_asked = steps.iter().any(|(_, step)| step.mfa_serial.is_some());
                    return match is_asked {
                        true => Err(without_source(&name)),
                        false => Ok(None),
                    };
                }
            }
        }
        if steps.iter().all(|(_, step)| step.mfa_serial.is_none()) {
            return Ok(None);
        }
        steps.reverse();
        let steps = steps.into_iter().map(|(_, step)| step).collect();
        Ok(Some(MfaChain { base: name, steps }))
    }
}

/// Returns whether the environment has keys, which go before a profile.
pub(super) fn has_keys_of_its_own() -> bool {
    std::env::var_os("AWS_ACCESS_KEY_ID").is_some_and(|key| !key.is_empty())
}

fn step(section: &Section) -> Option<RoleStep> {
    let own = |key: &str| section.get(key).map(str::to_owned);
    if own("web_identity_token_file").is_some() {
        return None; // a token is who it is by itself
    }
    Some(RoleStep {
        role_arn: own("role_arn")?,
        external_id: own("external_id"),
        session_name: own("role_session_name"),
        duration_seconds: own("duration_seconds").and_then(|text| text.parse().ok()),
        mfa_serial: own("mfa_serial"),
    })
}

fn without_source(name: &str) -> TargetError {
    let message = format!("the AWS profile {name} has mfa_serial and no source_profile");
    TargetError::manifest(message)
        .with_hint("name the profile whose keys assume the role by source_profile")
}

/// Returns what might have been meant.
fn nearest(chosen: &str, known: &[&str]) -> String {
    let near = |name: &&&str| strsim::damerau_levenshtein(chosen, name) <= 2;
    match (known.iter().find(near), known) {
        (Some(near), _) => format!("did you mean {near}? {VARIABLE} chooses it"),
        (None, []) => format!("unset {VARIABLE} to use credentials of the environment"),
        (None, known) => format!("{VARIABLE} chooses it; there are {}", known.join(", ")),
    }
}

/// Returns the files that profiles are read from, for people.
fn files() -> String {
    let named = |variable: &str, usual: &str| {
        let named = std::env::var_os(variable).filter(|path| !path.is_empty());
        let path = named.map_or_else(|| PathBuf::from(usual), PathBuf::from);
        path.display().to_string()
    };
    let config = named("AWS_CONFIG_FILE", "~/.aws/config");
    let credentials = named("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
    format!("{config} or {credentials}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_runtime::env_config::file::EnvConfigFileKind;

    async fn profiles(chosen: &str, text: &str) -> Profiles {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, text);
        let (env, fs) = (Env::from_slice(&[(VARIABLE, chosen)]), Fs::from_slice(&[]));
        let all = aws_config::profile::load(&fs, &env, &files.build(), None).await;
        Profiles { all: all.unwrap() }
    }

    const CHAIN: &str = "[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = s\n\
        [profile ops]\nrole_arn = arn:aws:iam::1:role/ops\nsource_profile = keys\nmfa_serial = arn:aws:iam::1:mfa/ann\n\
        [profile ci]\nrole_arn = arn:aws:iam::2:role/ci\nsource_profile = ops\nexternal_id = x-17\nduration_seconds = 3600\n\
        [profile plain]\nrole_arn = arn:aws:iam::2:role/ci\nsource_profile = keys\nexternal_id = x-17\n\
        [profile sourceless]\nrole_arn = arn:aws:iam::2:role/ci\nmfa_serial = arn:aws:iam::1:mfa/ann\n";

    #[tokio::test]
    async fn roles_that_need_a_code_are_assumed_one_by_another_by_us_and_others_by_the_sdk() {
        let chain = profiles("ci", CHAIN).await.mfa_chain().unwrap().unwrap();
        assert_eq!(chain.base, "keys");
        let roles: Vec<&str> = chain.steps.iter().map(|s| s.role_arn.as_str()).collect();
        assert_eq!(roles, ["arn:aws:iam::1:role/ops", "arn:aws:iam::2:role/ci"]);
        assert_eq!(
            chain.steps[0].mfa_serial.as_deref(),
            Some("arn:aws:iam::1:mfa/ann")
        );
        assert_eq!(chain.steps[1].external_id.as_deref(), Some("x-17"));
        assert_eq!(chain.steps[1].duration_seconds, Some(3600));
        for other in ["plain", "keys", "default"] {
            let chain = profiles(other, CHAIN).await.mfa_chain();
            assert_eq!(chain.unwrap(), None, "{other}");
        }
        let error = profiles("sourceless", CHAIN).await.mfa_chain().unwrap_err();
        assert!(
            error.to_string().contains("sourceless has mfa_serial"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_profile_that_is_not_there_is_told_with_the_one_that_was_meant() {
        let told = async |chosen: &str, text: &str| {
            let checked = profiles(chosen, text).await.check_chosen();
            checked.err().map(|error| error.on_one_line())
        };
        assert_eq!(told("ci", CHAIN).await, None);
        // PEERS2026 2.2 row 7: nobody need have a file.
        assert_eq!(told("default", "").await, None);
        let near = told("plian", CHAIN).await.unwrap();
        assert!(
            near.contains("no AWS profile plian in ~/.aws/config or"),
            "{near}"
        );
        assert!(near.contains("did you mean plain?"), "{near}");
        let far = told("production", CHAIN).await.unwrap();
        assert!(far.contains("there are ci, keys, ops, plain"), "{far}");
    }
}
