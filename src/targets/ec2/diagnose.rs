//! Why a machine that runs does not answer: what EC2 knows of its network, and its console.
//!
//! Only claims what was read. What may not be asked, or cannot be judged (rules that name other
//! groups or prefix lists), is passed over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_sdk_ec2::types::{
    Instance, InstanceNetworkInterface, NetworkAcl, NetworkAclEntry, PortRange, RuleAction,
    SecurityGroup,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::caller::{alone, local_address};
use super::error::Ec2Error;
use super::network::is_public;
use super::{Ec2, launch, tags};
use crate::targets::{Fault, Machine, TargetError, tail};

/// A port that answers go back to: Linux and Windows both use it for connections of their own.
const EPHEMERAL: u16 = 50_000;

impl Ec2 {
    /// Returns likely causes, then the tail of the console.
    pub(super) async fn causes(&self, machine: &Machine) -> Vec<String> {
        let mut lines = Vec::new();
        match self.instance(&machine.id).await {
            Ok(Some(instance)) => {
                lines.extend(state(&instance));
                lines.extend(self.network_causes(machine, &instance).await);
            }
            Ok(None) => lines.push(format!("{} is unknown to EC2", machine.id)),
            Err(_) => {}
        }
        lines.extend(self.end_of_console(&machine.id).await);
        lines
    }

    /// Returns that a machine has ended, with EC2's reason and the end of its console.
    pub(super) async fn ended(&self, machine: &Machine) -> Option<TargetError> {
        let found = self.polled_instance(&machine.id).await.ok()?;
        let error = match found {
            Some(instance) => end(&instance)?,
            None if self.is_young(&machine.id) => return None,
            None => TargetError::new(format!(
                "{} is unknown to EC2: was it removed by hand?",
                machine.id
            )),
        };
        let console = self.end_of_console(&machine.id).await;
        Some(match console.is_empty() {
            true => error,
            false => error.with_hint(console.join("\n")),
        })
    }

    async fn network_causes(&self, machine: &Machine, instance: &Instance) -> Vec<String> {
        let public = instance.public_ip_address() == Some(&machine.host);
        let mut lines = Vec::new();
        if public && let Some(line) = self.route_cause(instance).await {
            lines.push(line);
        }
        let caller = if public {
            self.echo.public_address().await
        } else {
            local_address().await
        };
        if let Ok(caller) = caller {
            lines.extend(self.group_cause(instance, caller, machine.port).await);
            lines.extend(self.acl_cause(instance, caller, machine.port).await);
        }
        lines
    }

    async fn route_cause(&self, instance: &Instance) -> Option<String> {
        let id = instance.subnet_id()?;
        let subnets = self.subnets(vec![tags::filter("subnet-id", [id])]);
        let subnets = subnets.await.ok()?;
        let routes = self.routes(&subnets).await.ok()?;
        let open = is_public(subnets.first()?, &routes);
        (!open).then(|| format!("its subnet, {id}, has no route to an internet gateway"))
    }

    async fn group_cause(&self, instance: &Instance, caller: IpAddr, port: u16) -> Option<String> {
        let ids = groups_of(instance);
        let groups = self.groups(vec![tags::filter("group-id", ids.iter().copied())]);
        let groups = groups.await.ok()?;
        let shut = !groups.is_empty() && !admits(&groups, caller, port)?;
        shut.then(|| {
            format!(
                "none of its security groups ({}) admits {} to port {port}",
                Vec::from_iter(ids).join(", "),
                alone(caller)
            )
        })
    }

    async fn acl_cause(&self, instance: &Instance, caller: IpAddr, port: u16) -> Option<String> {
        let subnet = instance.subnet_id()?;
        let acls = self.network_acls(vec![tags::filter("association.subnet-id", [subnet])]);
        let acls = acls.await.ok()?;
        acl_fault(acls.first()?, caller, port)
    }

    /// Returns the whole console, as far as EC2 has it.
    pub(super) async fn console_of(&self, id: &str) -> Option<Vec<u8>> {
        decoded(&self.console_output(id).await.ok()??)
    }

    /// Returns what EC2 answers, which is not text yet.
    async fn console_output(&self, id: &str) -> Result<Option<String>, Ec2Error> {
        let request = self.ec2.get_console_output().instance_id(id).latest(true);
        let answer = request.send().await;
        let answer = answer.map_err(|e| self.refused("GetConsoleOutput", e))?;
        Ok(answer.output)
    }

    /// Returns the last lines of a console, as far as EC2 has it.
    #[cfg(feature = "stack")]
    pub(crate) async fn console_tail(&self, id: &str) -> Result<Vec<String>, Ec2Error> {
        let output = self.console_output(id).await?;
        let text = output.and_then(|output| decoded(&output));
        Ok(tail(&text.unwrap_or_default()))
    }

    async fn end_of_console(&self, id: &str) -> Vec<String> {
        let text = self.console_of(id).await.unwrap_or_default();
        let tail = tail(&text);
        let mut lines = Vec::new();
        if !tail.is_empty() {
            lines.push("the end of its console:".to_owned());
        }
        lines.extend(tail.into_iter().map(|line| format!("  {line}")));
        lines
    }
}

fn decoded(output: &str) -> Option<Vec<u8>> {
    let text = BASE64_STANDARD.decode(output.trim()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// Returns that a machine has ended or is about to, and why, if it has.
fn end(instance: &Instance) -> Option<TargetError> {
    let told = TargetError::new(state(instance)?);
    let reason = instance.state_reason().and_then(|reason| reason.code());
    let told = match reason {
        Some("Client.InstanceInitiatedShutdown") => told.blamed_on(Fault::Machine),
        _ => told,
    };
    let has_ended = matches!(
        launch::state(instance),
        "stopping" | "stopped" | "shutting-down" | "terminated"
    );
    has_ended.then_some(told)
}

/// A machine that runs is as it should be.
fn state(instance: &Instance) -> Option<String> {
    let (state, reason) = (launch::state(instance), launch::reason(instance));
    let id = instance.instance_id().unwrap_or_default();
    (state != "running").then(|| match reason {
        Some(reason) => format!("{id} is {state}: {reason}"),
        None => format!("{id} is {state}"),
    })
}

/// A group counts on whichever interface it is.
fn groups_of(instance: &Instance) -> BTreeSet<&str> {
    let interfaces = instance.network_interfaces().iter();
    let theirs = interfaces.flat_map(InstanceNetworkInterface::groups);
    let all = instance.security_groups().iter().chain(theirs);
    all.filter_map(|group| group.group_id()).collect()
}

/// Whether one of the groups lets `caller` in; `None` when a rule cannot be judged.
fn admits(groups: &[SecurityGroup], caller: IpAddr, port: u16) -> Option<bool> {
    let mut obscure = false;
    for rule in groups.iter().flat_map(SecurityGroup::ip_permissions) {
        if !covers(rule.ip_protocol(), rule.from_port(), rule.to_port(), port) {
            continue;
        }
        let v4 = rule.ip_ranges().iter().filter_map(|r| r.cidr_ip());
        let v6 = rule.ipv6_ranges().iter().filter_map(|r| r.cidr_ipv6());
        if v4.chain(v6).any(|cidr| holds(cidr, caller)) {
            return Some(true);
        }
        // Members of a group are recognised by their private addresses alone.
        obscure |= !rule.prefix_list_ids().is_empty()
            || (!rule.user_id_group_pairs().is_empty() && is_private(caller));
    }
    (!obscure).then_some(false)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

fn covers(protocol: Option<&str>, from: Option<i32>, to: Option<i32>, port: u16) -> bool {
    match protocol {
        Some("-1") => true,
        Some("tcp" | "6") => {
            let port = i32::from(port);
            from.is_none_or(|f| f == -1 || f <= port) && to.is_none_or(|t| t == -1 || port <= t)
        }
        _ => false,
    }
}

/// Returns what a network ACL holds back: the way in, or the way of the answers.
fn acl_fault(acl: &NetworkAcl, caller: IpAddr, port: u16) -> Option<String> {
    let id = acl.network_acl_id().unwrap_or_default();
    let from = alone(caller);
    if !acl_allows(acl.entries(), false, caller, port) {
        return Some(format!(
            "the network ACL {id} of its subnet denies {from} the way in to port {port}"
        ));
    }
    if !acl_allows(acl.entries(), true, caller, EPHEMERAL) {
        return Some(format!(
            "the network ACL {id} of its subnet denies the answers their way back to {from} (ports 1024-65535)"
        ));
    }
    None
}

/// The entry with the lowest number that fits decides; none means no.
fn acl_allows(entries: &[NetworkAclEntry], egress: bool, caller: IpAddr, port: u16) -> bool {
    let fits = |entry: &&NetworkAclEntry| {
        let range = entry.port_range();
        let cidr = entry.cidr_block().or_else(|| entry.ipv6_cidr_block());
        entry.egress() == Some(egress)
            && cidr.is_some_and(|cidr| holds(cidr, caller))
            && covers(
                entry.protocol(),
                range.and_then(PortRange::from),
                range.and_then(PortRange::to),
                port,
            )
    };
    let first = entries.iter().filter(fits).min_by_key(|e| e.rule_number());
    first.is_some_and(|e| e.rule_action() == Some(&RuleAction::Allow))
}

/// Whether a range such as `203.0.113.0/24` holds an address.
fn holds(cidr: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let rest = 32 - bits;
            u32::from(network).checked_shr(rest) == u32::from(address).checked_shr(rest)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let rest = 128 - bits;
            u128::from(network).checked_shr(rest) == u128::from(address).checked_shr(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{InstanceState, IpPermission, IpRange, PrefixListId, StateReason};

    const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    #[test]
    fn a_machine_that_ends_is_told_with_ec2_s_reason() {
        let told = |state: &str, code: &str, message: &str| {
            let name = state.into();
            let reason = StateReason::builder().code(code).message(message);
            let ended = end(&Instance::builder()
                .instance_id("i-1")
                .state(InstanceState::builder().name(name).build())
                .state_reason(reason.build())
                .build());
            ended.map(|error| (error.to_string(), error.fault))
        };
        let (code, message) = (
            "Server.InternalError",
            "Server.InternalError: Internal error",
        );
        let ended = "i-1 is terminated: Server.InternalError: Internal error".to_owned();
        let by_ec2 = told("terminated", code, message);
        assert_eq!(by_ec2, Some((ended, Fault::World)));
        assert!(told("shutting-down", code, message).is_some());
        assert_eq!(told("running", code, message), None);
        assert_eq!(told("pending", code, message), None);
        let itself = "Client.InstanceInitiatedShutdown";
        let fault = told("stopping", itself, itself).unwrap().1;
        assert_eq!(fault, Fault::Machine);
    }

    fn group(from: i32, to: i32, cidr: &str) -> SecurityGroup {
        let rule = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(from)
            .to_port(to)
            .ip_ranges(IpRange::builder().cidr_ip(cidr).build());
        SecurityGroup::builder()
            .ip_permissions(rule.build())
            .build()
    }

    #[test]
    fn a_group_admits_by_range_and_port() {
        let judged = |from, to, cidr| admits(&[group(from, to, cidr)], CALLER, 22);
        assert_eq!(judged(22, 22, "203.0.113.7/32"), Some(true));
        assert_eq!(judged(0, 65535, "0.0.0.0/0"), Some(true));
        assert_eq!(judged(22, 22, "203.0.113.8/32"), Some(false));
        assert_eq!(judged(2222, 2222, "203.0.113.0/24"), Some(false));
        assert_eq!(admits(&[], CALLER, 22), Some(false));
    }

    #[test]
    fn a_rule_that_names_a_prefix_list_is_not_judged() {
        let list = PrefixListId::builder().prefix_list_id("pl-1").build();
        let rule = IpPermission::builder()
            .ip_protocol("-1")
            .prefix_list_ids(list);
        let obscure = SecurityGroup::builder()
            .ip_permissions(rule.build())
            .build();
        assert_eq!(admits(&[obscure], CALLER, 22), None);
    }

    fn entry(
        number: i32,
        egress: bool,
        cidr: &str,
        ports: (i32, i32),
        action: RuleAction,
    ) -> NetworkAclEntry {
        let ports = PortRange::builder().from(ports.0).to(ports.1).build();
        NetworkAclEntry::builder()
            .rule_number(number)
            .egress(egress)
            .protocol("6")
            .cidr_block(cidr)
            .port_range(ports)
            .rule_action(action)
            .build()
    }

    #[test]
    fn of_a_network_acl_the_first_entry_that_fits_decides_in_both_directions() {
        let acl = |entries: Vec<NetworkAclEntry>| {
            NetworkAcl::builder()
                .network_acl_id("acl-1")
                .set_entries(Some(entries))
                .build()
        };
        let open_in = entry(200, false, "0.0.0.0/0", (0, 65535), RuleAction::Allow);
        let open_out = entry(100, true, "0.0.0.0/0", (1024, 65535), RuleAction::Allow);
        let deny = entry(100, false, "203.0.113.0/24", (22, 22), RuleAction::Deny);
        let fault = |entries| acl_fault(&acl(entries), CALLER, 22);
        assert_eq!(fault(vec![open_in.clone(), open_out.clone()]), None);
        let denied = fault(vec![open_in.clone(), deny, open_out]).unwrap();
        assert!(
            denied.contains("acl-1") && denied.contains("way in"),
            "{denied}"
        );
        let mute = fault(vec![open_in]).unwrap();
        assert!(mute.contains("way back"), "{mute}");
    }

    #[test]
    fn ranges_hold_addresses_of_their_family() {
        assert!(holds("0.0.0.0/0", CALLER));
        assert!(holds("203.0.113.0/29", CALLER));
        assert!(!holds("203.0.113.8/29", CALLER));
        assert!(!holds("::/0", CALLER));
        assert!(holds("2001:db8::/32", "2001:db8::7".parse().unwrap()));
        assert!(!holds("nonsense", CALLER));
    }
}
