//! From a plan to a running instance with an address: climbing the ladder, RunInstances, waiting.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Image,
    Instance, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    ResourceType, ShutdownBehavior,
};

use super::debts::Removal;
use super::error::{Ec2Error, is_capacity, is_quota};
use super::ladder::{Network, Rung, ladder, types};
use super::quota::Queue;
use super::wait::{Wait, Wanted};
use super::{Ec2, YOUNG, tags, user_data};
use crate::ledger::Due;
use crate::manifest::{Connect, Volume};
use crate::plan::BakePlan;
use crate::targets::{Base, Keys, Machine, PhaseContext, Role, TargetError};
use crate::transport::BoxFuture;

/// How long a running instance may be without the address that is wanted.
const WITHOUT_ADDRESS: Duration = Duration::from_secs(20);

impl Ec2 {
    /// Starts a machine and waits until it runs and has an address.
    pub(super) async fn start(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError> {
        let keys = Keys::make()?;
        let own = plan
            .builder
            .user_data
            .as_deref()
            .filter(|_| role == Role::Builder);
        let user_data = user_data::render(
            &keys,
            &plan.run,
            role,
            plan.builder.timeouts.unattended,
            own,
        )?;
        let Base::Image { id, .. } = base else {
            let message = format!("EC2 boots images of its own, not {}", base.id());
            return Err(TargetError::new(message));
        };
        let image = self.image(id).await?;
        let network = self.network(plan).await?;
        let groups = self.security_groups(plan, &network.vpc_id, cx).await?;
        let request = Request {
            plan,
            image: &image,
            role,
            user_data: &user_data,
            groups: &groups,
        };
        let id = self.climb(&request, &network, cx).await?;
        let instance = self.wait_until_running(plan, &id, cx).await?;
        let connect = plan.builder.connect;
        let host = address(&instance, connect).ok_or_else(|| no_address(&id, connect))?;
        Ok(Machine {
            host,
            id,
            port: plan.builder.port,
            user: plan
                .builder
                .user
                .clone()
                .unwrap_or_else(|| "ubuntu".to_owned()),
            host_key: keys.host.public_key().clone(),
            login_key: keys.login,
        })
    }

    /// Tries types and subnets in order, on the capacity errors only; a full quota is waited for.
    async fn climb(
        &self,
        request: &Request<'_>,
        network: &Network,
        cx: &PhaseContext<'_>,
    ) -> Result<String, TargetError> {
        let types = types(request.plan);
        let climbed = self.state().climbed.clone();
        let mut rungs = ladder(&types, request.role, network, &climbed).into_iter();
        let mut queue = Queue::new(cx);
        let (mut rung, mut last) = (rungs.next(), None);
        for attempt in 1.. {
            let Some(here) = &rung else { break };
            match self.attempt(request, here, attempt, cx).await {
                Ok(id) => {
                    self.state().climbed.held.clone_from(&rung);
                    return Ok(id);
                }
                Err(error) if error.code().is_some_and(is_quota) => {
                    queue.wait(&here.instance_type, error).await?;
                }
                Err(error) if error.code().is_some_and(is_capacity) => {
                    cx.phase.progress(here.without(&error), None);
                    self.state().climbed.empty.extend(rung.clone());
                    last = Some(error);
                    rung = rungs.next();
                }
                Err(error) => return Err(self.explain(error).await),
            }
        }
        Err(last
            .expect("a ladder without rungs is refused before")
            .into())
    }

    /// Asks for the machine once: each attempt has its own token, and is a debt until refused.
    async fn attempt(
        &self,
        request: &Request<'_>,
        rung: &Rung,
        attempt: usize,
        cx: &PhaseContext<'_>,
    ) -> Result<String, Ec2Error> {
        let removal = Removal::TerminateInstance { role: request.role };
        let debt = self.undoing(&request.plan.run, removal).into();
        let call = self.run_instances(request, rung, attempt);
        let made = cx
            .ledger
            .create([(Due::Always, debt)], Ec2Error::is_refusal, call);
        let (_, id) = made.await?;
        Ok(id)
    }

    /// Returns what the machine is asked for by.
    pub(super) fn launch_request(
        &self,
        request: &Request<'_>,
        rung: &Rung,
        attempt: usize,
    ) -> RunInstancesFluentBuilder {
        let plan = request.plan;
        let role = request.role.to_string();
        let mut labels = tags::temporary(plan, &role);
        labels.insert(tags::ATTEMPT.into(), attempt.to_string());
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(&rung.subnet_id)
            .delete_on_termination(true)
            .set_groups(Some(request.groups.to_vec()))
            .set_associate_public_ip_address(
                (plan.builder.connect == Connect::PublicIp).then_some(true),
            )
            .build();
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .build();
        let mut call = self
            .ec2
            .run_instances()
            .image_id(request.image.image_id().unwrap_or_default())
            .instance_type(InstanceType::from(rung.instance_type.as_str()))
            .min_count(1)
            .max_count(1)
            .client_token(tags::token(&plan.run, request.role, attempt, &self.region))
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .metadata_options(metadata)
            .network_interfaces(interface)
            .user_data(request.user_data)
            .set_block_device_mappings(Some(request.volumes(&self.region)));
        for kind in [
            ResourceType::Instance,
            ResourceType::Volume,
            ResourceType::NetworkInterface,
        ] {
            call = call.tag_specifications(tags::specification(kind, &labels));
        }
        if let (Some(profile), Role::Builder) = (&plan.builder.instance_profile, request.role) {
            call = call.iam_instance_profile(
                IamInstanceProfileSpecification::builder()
                    .name(profile)
                    .build(),
            );
        }
        call
    }

    /// Returns the call that starts the machine. It borrows nothing, so that it outlives the bake.
    fn run_instances(
        &self,
        request: &Request<'_>,
        rung: &Rung,
        attempt: usize,
    ) -> BoxFuture<'static, Result<String, Ec2Error>> {
        let call = self.launch_request(request, rung, attempt);
        let (ec2, mut new) = (self.clone(), request.groups.to_vec());
        new.extend(request.image.image_id.clone());
        Box::pin(async move {
            let ask = || {
                // The SDK would ask five times where there is no capacity, which is status 500.
                let once =
                    aws_sdk_ec2::config::Builder::new().retry_config(RetryConfig::disabled());
                let sending = call.clone().customize().config_override(once).send();
                let ec2 = &ec2;
                Box::pin(async move { sending.await.map_err(|e| ec2.refused("RunInstances", e)) })
            };
            let answer = ec2.persist(|| ec2.once_known(&new, ask)).await?;
            let made = answer.instances.unwrap_or_default();
            let id = made.into_iter().find_map(|i| i.instance_id);
            let id = id.unwrap_or_default();
            ec2.born(&id);
            Ok(id)
        })
    }

    /// Waits until an instance runs; it has its address then, or will not get one.
    async fn wait_until_running(
        &self,
        plan: &BakePlan,
        id: &str,
        cx: &PhaseContext<'_>,
    ) -> Result<Instance, TargetError> {
        let wanted = Wanted {
            what: id,
            state: "running",
            limit: plan.builder.timeouts.launch,
            key: Some("launch"),
        };
        let (connect, bare) = (plan.builder.connect, &OnceLock::new());
        self.wait(wanted, cx, |age| async move {
            let found = self.polled_instance(id).await?;
            Ok(decide(found, connect, age, bare))
        })
        .await
    }

    /// Decodes EC2's encoded authorization message, where that is permitted.
    pub(super) async fn explain(&self, error: Ec2Error) -> TargetError {
        let encoded = match &error {
            Ec2Error::Refused { code, source, .. } if code == "UnauthorizedOperation" => {
                encoded_message(&source.to_string())
            }
            _ => None,
        };
        let Some(encoded) = encoded else {
            return error.into();
        };
        match self
            .sts
            .decode_authorization_message()
            .encoded_message(encoded)
            .send()
            .await
        {
            Ok(answer) => {
                let decoded = answer.decoded_message.unwrap_or_default();
                TargetError::new(error.to_string())
                    .because(decoded)
                    .with_hint("the credentials lack the permission for this action")
            }
            Err(_) => error.into(),
        }
    }
}

fn encoded_message(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("Encoded authorization failure message: ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// What every rung of the ladder asks for.
pub(super) struct Request<'a> {
    pub(super) plan: &'a BakePlan,
    pub(super) image: &'a Image,
    pub(super) role: Role,
    pub(super) user_data: &'a str,
    pub(super) groups: &'a [String],
}

impl Request<'_> {
    /// The manifest's volumes, then those of the image that it does not speak of: all are stated,
    /// so that all are encrypted and go with the machine, whatever the image says. The candidate
    /// takes its volumes as the image has them.
    fn volumes(&self, region: &str) -> Vec<BlockDeviceMapping> {
        let root = self.image.root_device_name().unwrap_or("/dev/sda1");
        let stated: &[Volume] = match self.role {
            Role::Builder => &self.plan.builder.volumes,
            Role::Candidate => &[],
        };
        let disks = self.image.block_device_mappings().iter();
        let mapped = disks.filter(|m| m.ebs().is_some());
        let mut devices: Vec<&str> = mapped.filter_map(|m| m.device_name()).collect();
        if !devices.contains(&root) {
            devices.push(root);
        }
        let is_stated = |device: &str| {
            let mut stated = stated.iter().map(|v| v.device.as_deref().unwrap_or(root));
            stated.any(|d| d == device)
        };
        let others = devices.iter().filter(|d| !is_stated(d)).map(|d| Volume {
            device: Some((*d).to_owned()),
            ..Volume::default()
        });
        let all = stated.iter().cloned().chain(others);
        all.map(|volume| self.mapping(region, root, &volume))
            .collect()
    }

    fn mapping(&self, region: &str, root: &str, volume: &Volume) -> BlockDeviceMapping {
        let mut disk = EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_volume_size(volume.size_gib)
            .set_volume_type(volume.kind.as_deref().map(Into::into))
            .set_iops(volume.iops)
            .set_throughput(volume.throughput);
        if self.role == Role::Builder {
            let encrypt = &self.plan.image.encrypt;
            disk = disk
                // What is not stated is as the account's default is.
                .set_encrypted(encrypt.is_on().then_some(true))
                .set_kms_key_id(encrypt.kms_key_in(region).map(str::to_owned));
        }
        let device = volume.device.as_deref().unwrap_or(root);
        BlockDeviceMapping::builder()
            .device_name(device)
            .ebs(disk.build())
            .build()
    }
}

/// Decides on one answer. An instance that is not there yet may be invisible for a while; one that
/// runs, and has been `bare` of its address for long, will not get one.
fn decide(
    instance: Option<Instance>,
    connect: Connect,
    age: Duration,
    bare: &OnceLock<Duration>,
) -> Wait<Instance> {
    let Some(instance) = instance else {
        if age < YOUNG {
            return Wait::Longer("not visible yet".into(), None);
        }
        return Wait::Dead {
            state: "unknown to EC2".into(),
            reason: None,
        };
    };
    match state(&instance) {
        "running" if address(&instance, connect).is_some() => Wait::Done(instance),
        "running" if age > *bare.get_or_init(|| age) + WITHOUT_ADDRESS => Wait::Done(instance),
        "running" => Wait::Longer("without an address yet".into(), None),
        "pending" => Wait::Longer("pending".into(), None),
        other => Wait::Dead {
            state: other.to_owned(),
            reason: reason(&instance),
        },
    }
}

fn no_address(id: &str, connect: Connect) -> TargetError {
    let (kind, hint) = match connect {
        Connect::PublicIp => (
            "public",
            "its subnet gives none: name another in builder.subnet, or use `connect: private-ip` from inside the network",
        ),
        Connect::PrivateIp => ("private", "name another subnet in builder.subnet"),
    };
    TargetError::new(format!("{id} runs and has no {kind} address")).with_hint(hint)
}

/// Returns an instance's state as EC2 spells it.
pub(super) fn state(instance: &Instance) -> &str {
    let state = instance.state().and_then(|s| s.name());
    state.map_or("unknown", |name| name.as_str())
}

/// Returns why it is in that state, if EC2 says so.
pub(super) fn reason(instance: &Instance) -> Option<String> {
    let reason = instance.state_reason()?;
    reason.message().map(str::to_owned)
}

fn address(instance: &Instance, connect: Connect) -> Option<String> {
    let address = match connect {
        Connect::PublicIp => instance.public_ip_address(),
        Connect::PrivateIp => instance.private_ip_address(),
    };
    address.filter(|a| !a.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{InstanceState, InstanceStateName, StateReason};

    fn instance(state: InstanceStateName) -> Instance {
        let state = InstanceState::builder().name(state).build();
        let reason = StateReason::builder()
            .message("Client.InvalidKMSKey")
            .build();
        Instance::builder()
            .state(state)
            .state_reason(reason)
            .private_ip_address("10.0.0.7")
            .build()
    }

    fn decided(instance: Option<Instance>, seconds: u64) -> Wait<Instance> {
        let age = Duration::from_secs(seconds);
        decide(instance, Connect::PrivateIp, age, &OnceLock::new())
    }

    #[test]
    fn an_instance_that_is_not_visible_yet_is_waited_for_but_not_for_ever() {
        assert!(matches!(decided(None, 5), Wait::Longer(..)));
        assert!(matches!(decided(None, 61), Wait::Dead { .. }));
    }

    #[test]
    fn a_running_instance_needs_the_address_that_was_asked_for() {
        let running = instance(InstanceStateName::Running);
        assert_eq!(
            decided(Some(running.clone()), 0),
            Wait::Done(running.clone())
        );
        let bare = OnceLock::new();
        let at = |seconds| {
            let age = Duration::from_secs(seconds);
            decide(Some(running.clone()), Connect::PublicIp, age, &bare)
        };
        assert!(matches!(at(30), Wait::Longer(..)));
        assert!(matches!(at(50), Wait::Longer(..)));
        assert_eq!(at(51), Wait::Done(running.clone()), "it will not get one");
    }

    /// PEERS2026 2.2 row 25.
    #[test]
    fn a_machine_that_died_says_why() {
        let dead = instance(InstanceStateName::Terminated);
        let Wait::Dead { state, reason } = decided(Some(dead), 0) else {
            panic!("a terminated instance is dead");
        };
        assert_eq!(
            (state.as_str(), reason.as_deref()),
            ("terminated", Some("Client.InvalidKMSKey"))
        );
    }
}
