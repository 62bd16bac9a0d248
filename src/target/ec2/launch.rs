//! From a plan to a running instance with an address: the capacity ladder, RunInstances, waiting.

use std::time::Duration;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Image,
    Instance, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    ResourceType, ShutdownBehavior,
};

use super::error::{Ec2Error, is_capacity};
use super::network::Network;
use super::{Ec2, tags, user_data};
use crate::ledger::{DebtId, Due, Undo};
use crate::manifest::{Arch, Connect, Volume};
use crate::plan::BakePlan;
use crate::target::{Base, Cx, Keys, Machine, Role, TargetError};

/// How long a new instance may stay invisible to DescribeInstances.
const INVISIBLE: Duration = Duration::from_secs(60);

/// How long a running instance may be without the address that is wanted.
const WITHOUT_ADDRESS: Duration = Duration::from_secs(20);

/// One rung of the capacity ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rung {
    instance_type: String,
    subnet_id: String,
}

impl Ec2 {
    /// Starts a machine and waits until it runs and has an address.
    pub(super) async fn start(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &Cx<'_>,
    ) -> Result<Machine, TargetError> {
        let keys = Keys::make()?;
        let own = plan
            .builder
            .user_data
            .as_deref()
            .filter(|_| role == Role::Builder);
        let user_data = user_data::render(&keys, plan.builder.timeouts.unattended, own)?;
        let image = self.image(&base.id).await?;
        let network = self.network(plan).await?;
        let groups = self.security_groups(plan, &network.vpc_id, cx).await?;
        let (region, run) = (self.region.clone(), plan.run.clone());
        let debt = cx
            .ledger
            .owe(Due::Always, Undo::TerminateInstance { region, run, role })?;
        let request = Request {
            plan,
            image: &image,
            role,
            user_data: &user_data,
            groups: &groups,
        };
        let id = self.climb(&request, &network, debt, cx).await?;
        cx.ledger.learn(debt, &id)?;
        let instance = self.wait_until_running(plan, &id, cx).await?;
        Ok(Machine {
            host: address(&instance, plan.builder.connect).unwrap_or_default(),
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

    /// Tries types and subnets in order, on the capacity errors only.
    async fn climb(
        &self,
        request: &Request<'_>,
        network: &Network,
        debt: DebtId,
        cx: &Cx<'_>,
    ) -> Result<String, TargetError> {
        let mut last = None;
        for (index, rung) in ladder(request.plan, request.role, network)
            .iter()
            .enumerate()
        {
            match self.run_instances(request, rung, index + 1).await {
                Ok(id) => return Ok(id),
                Err(error) if error.code().is_some_and(is_capacity) => {
                    cx.phase.progress(
                        format!(
                            "no {} in {} ({})",
                            rung.instance_type,
                            rung.subnet_id,
                            error.code().unwrap_or_default()
                        ),
                        None,
                    );
                    last = Some(error);
                }
                Err(error) => {
                    if error.is_refusal() {
                        cx.ledger.settle(debt)?;
                    }
                    return Err(self.explain(error).await);
                }
            }
        }
        cx.ledger.settle(debt)?;
        Err(last.map_or_else(
            || TargetError::manifest("builder.instance_type is an empty list"),
            Into::into,
        ))
    }

    async fn run_instances(
        &self,
        request: &Request<'_>,
        rung: &Rung,
        attempt: usize,
    ) -> Result<String, Ec2Error> {
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
            .set_block_device_mappings(Some(request.volumes()));
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
        let answer = call
            .send()
            .await
            .map_err(|e| self.refused("RunInstances", e))?;
        let id = answer
            .instances
            .unwrap_or_default()
            .into_iter()
            .find_map(|i| i.instance_id);
        Ok(id.unwrap_or_default())
    }

    async fn wait_until_running(
        &self,
        plan: &BakePlan,
        id: &str,
        cx: &Cx<'_>,
    ) -> Result<Instance, TargetError> {
        let (connect, limit) = (plan.builder.connect, plan.builder.timeouts.launch);
        let started = tokio::time::Instant::now();
        let mut without_address = None;
        loop {
            let found = self.instance(id).await?;
            let age = started.elapsed();
            match judge(found.as_ref(), connect, age) {
                Wait::Done => {
                    return found
                        .ok_or_else(|| TargetError::new("an instance that is there is not"));
                }
                Wait::Dead { state, reason } => {
                    let what = id.to_owned();
                    return Err(Ec2Error::DeadEnd {
                        what,
                        state,
                        wanted: "running",
                        reason,
                    }
                    .into());
                }
                Wait::Longer(state) => cx.phase.progress(format!("{id} is {state}"), None),
                Wait::Address => {
                    let since = *without_address.get_or_insert(age);
                    if age > since + WITHOUT_ADDRESS {
                        return Err(no_address(id, connect));
                    }
                    cx.phase
                        .progress(format!("{id} is without an address yet"), None);
                }
            }
            if age > limit {
                let what = id.to_owned();
                return Err(Ec2Error::TooSlow {
                    what,
                    wanted: "running",
                    after: limit,
                }
                .into());
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Returns the instance with this id, by filter: an unknown id is no error then.
    pub(super) async fn instance(&self, id: &str) -> Result<Option<Instance>, Ec2Error> {
        let found = self
            .instances(vec![tags::filter("instance-id", [id])])
            .await?;
        Ok(found.into_iter().next())
    }

    pub(super) async fn instances(
        &self,
        filters: Vec<aws_sdk_ec2::types::Filter>,
    ) -> Result<Vec<Instance>, Ec2Error> {
        let mut pages = self
            .ec2
            .describe_instances()
            .set_filters(Some(filters))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.refused("DescribeInstances", e))?;
            found.extend(
                page.reservations
                    .unwrap_or_default()
                    .into_iter()
                    .flat_map(|r| r.instances.unwrap_or_default()),
            );
        }
        Ok(found)
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
struct Request<'a> {
    plan: &'a BakePlan,
    image: &'a Image,
    role: Role,
    user_data: &'a str,
    groups: &'a [String],
}

impl Request<'_> {
    /// The root is stated always, so that it is encrypted and goes with the machine. The candidate
    /// takes its volumes as the image has them.
    fn volumes(&self) -> Vec<BlockDeviceMapping> {
        let root = self.image.root_device_name().unwrap_or("/dev/sda1");
        let stated: &[Volume] = match self.role {
            Role::Builder => &self.plan.builder.volumes,
            Role::Candidate => &[],
        };
        let mut mappings: Vec<_> = stated
            .iter()
            .map(|volume| self.mapping(root, volume))
            .collect();
        if !stated
            .iter()
            .any(|v| v.device.as_deref().is_none_or(|d| d == root))
        {
            mappings.push(self.mapping(root, &Volume::default()));
        }
        mappings
    }

    fn mapping(&self, root: &str, volume: &Volume) -> BlockDeviceMapping {
        let mut disk = EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_volume_size(volume.size_gib)
            .set_volume_type(volume.kind.as_deref().map(Into::into))
            .set_iops(volume.iops)
            .set_throughput(volume.throughput);
        if self.role == Role::Builder {
            let key = self
                .plan
                .image
                .encrypt
                .as_ref()
                .and_then(|e| e.kms_key.clone());
            disk = disk.encrypted(true).set_kms_key_id(key);
        }
        let device = volume.device.as_deref().unwrap_or(root);
        BlockDeviceMapping::builder()
            .device_name(device)
            .ebs(disk.build())
            .build()
    }
}

/// Returns all types in all subnets, types first; for a candidate the smallest of them comes first.
fn ladder(plan: &BakePlan, role: Role, network: &Network) -> Vec<Rung> {
    let usual: &[&str] = match plan.arch {
        Arch::Amd64 => &["t3.small", "t3a.small"],
        Arch::Arm64 => &["t4g.small"],
    };
    let mut types = plan.builder.instance_types.clone();
    if types.is_empty() {
        types.extend(usual.iter().map(|t| (*t).to_owned()));
    }
    if role == Role::Candidate {
        types.sort_by_key(|t| size(t)); // stable: among equals the manifest's order stays
    }
    let rung = |t: &String, s: &String| Rung {
        instance_type: t.clone(),
        subnet_id: s.clone(),
    };
    types
        .iter()
        .flat_map(|t| network.subnet_ids.iter().map(move |s| rung(t, s)))
        .collect()
}

/// Returns a type's place among the sizes of its family: `t3.micro` before `m5.2xlarge`.
fn size(instance_type: &str) -> u32 {
    let named = ["nano", "micro", "small", "medium", "large", "xlarge"];
    let size = instance_type.split_once('.').map_or("", |(_, size)| size);
    if let Some(place) = (0..).zip(named).find_map(|(n, s)| (s == size).then_some(n)) {
        return place;
    }
    let times = size.strip_suffix("xlarge").and_then(|n| n.parse().ok());
    times.map_or(u32::MAX, |n: u32| n.saturating_add(5)) // metal is the largest
}

/// What a look at an instance says.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Done,
    /// It runs, and has not got its address.
    Address,
    Longer(String),
    Dead {
        state: String,
        reason: Option<String>,
    },
}

/// Decides on one answer. An instance that is not there yet may be invisible for a while.
fn judge(instance: Option<&Instance>, connect: Connect, age: Duration) -> Wait {
    let Some(instance) = instance else {
        if age < INVISIBLE {
            return Wait::Longer("not visible yet".into());
        }
        return Wait::Dead {
            state: "unknown to EC2".into(),
            reason: None,
        };
    };
    let state = instance
        .state()
        .and_then(|s| s.name())
        .map_or("unknown", |n| n.as_str());
    let reason = || {
        instance
            .state_reason()
            .and_then(|r| r.message())
            .map(str::to_owned)
    };
    match state {
        "running" if address(instance, connect).is_some() => Wait::Done,
        "running" => Wait::Address,
        "pending" => Wait::Longer("pending".into()),
        other => Wait::Dead {
            state: other.to_owned(),
            reason: reason(),
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

    #[test]
    fn sizes_are_in_order() {
        let in_order = [
            "t3.nano",
            "t3.small",
            "m5.large",
            "m5.xlarge",
            "m5.2xlarge",
            "m5.12xlarge",
            "m5.metal",
        ];
        assert!(in_order.is_sorted_by_key(|t| size(t)));
    }

    #[test]
    fn an_instance_that_is_not_visible_yet_is_waited_for_but_not_for_ever() {
        let at = |seconds| judge(None, Connect::PrivateIp, Duration::from_secs(seconds));
        assert!(matches!(at(5), Wait::Longer(_)));
        assert!(matches!(at(61), Wait::Dead { .. }));
    }

    #[test]
    fn a_running_instance_needs_the_address_that_was_asked_for() {
        let running = instance(InstanceStateName::Running);
        assert_eq!(
            judge(Some(&running), Connect::PrivateIp, Duration::ZERO),
            Wait::Done
        );
        assert!(matches!(
            judge(Some(&running), Connect::PublicIp, Duration::ZERO),
            Wait::Address
        ));
    }

    #[test]
    fn a_machine_that_died_says_why() {
        let dead = instance(InstanceStateName::Terminated);
        let Wait::Dead { state, reason } = judge(Some(&dead), Connect::PrivateIp, Duration::ZERO)
        else {
            panic!("a terminated instance is dead");
        };
        assert_eq!(
            (state.as_str(), reason.as_deref()),
            ("terminated", Some("Client.InvalidKMSKey"))
        );
    }
}
