//! Which subnets a builder may use, and who may reach it.

use aws_sdk_ec2::operation::create_security_group::builders::CreateSecurityGroupFluentBuilder;
use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, ResourceType, RouteTable, Subnet as Ec2Subnet,
};

use super::caller::{alone, local_address};
use super::debts::Removal;
use super::error::Ec2Error;
use super::ladder::{Climbed, Network, Place, ladder, types};
use super::offerings::Offerings;
use super::{Ec2, Stage, tags};
use crate::clock;
use crate::ledger::Due;
use crate::manifest::{Connect, Subnet};
use crate::plan::BakePlan;
use crate::targets::{PhaseContext, Role, TargetError};

impl Ec2 {
    /// Returns where the machines of this bake may go; looks once.
    pub(super) async fn network(&self, plan: &BakePlan) -> Result<Network, TargetError> {
        let known = self.state().network.clone();
        if let Some(network) = known {
            return Ok(network);
        }
        let mut network = self.find_network(plan).await?;
        if plan.builder.subnet == Subnet::Default {
            let types = types(plan);
            network.offerings = self.offerings(&types).await?;
            if ladder(&types, Role::Builder, &network, &Climbed::default()).is_empty() {
                return Err(network.offerings.out_of_reach(&types, &self.region));
            }
        }
        self.state().network = Some(network.clone());
        Ok(network)
    }

    /// Returns the subnets that the manifest asks for, or those of the default VPC that reach the
    /// internet.
    async fn find_network(&self, plan: &BakePlan) -> Result<Network, TargetError> {
        let filters = match &plan.builder.subnet {
            Subnet::Id(id) => vec![tags::filter("subnet-id", [id.as_str()])],
            Subnet::Filter(filters) => filters
                .iter()
                .map(|(n, v)| tags::filter(n, v.iter().map(String::as_str)))
                .collect(),
            Subnet::Default => vec![tags::filter("vpc-id", [self.default_vpc().await?.as_str()])],
        };
        let subnets = self.subnets(filters).await?;
        let routes = self.routes(&subnets).await?;
        let wanted = &plan.builder.subnet;
        let open = *wanted == Subnet::Default && plan.builder.connect == Connect::PublicIp;
        choose(&subnets, &routes, open).ok_or_else(|| no_subnet(wanted, &self.region))
    }

    async fn default_vpc(&self) -> Result<String, TargetError> {
        let found = self
            .vpcs(vec![tags::filter("is-default", ["true"])])
            .await?;
        let vpc = found.into_iter().find_map(|vpc| vpc.vpc_id);
        vpc.ok_or_else(|| no_subnet(&Subnet::Default, &self.region))
    }

    pub(super) async fn routes(
        &self,
        subnets: &[Ec2Subnet],
    ) -> Result<Vec<RouteTable>, TargetError> {
        let Some(vpc) = subnets.iter().find_map(Ec2Subnet::vpc_id) else {
            return Ok(Vec::new());
        };
        let tables = self.route_tables(vec![tags::filter("vpc-id", [vpc])]);
        Ok(tables.await?)
    }

    /// Returns the groups for the builder: the manifest's, or a new one of our own.
    ///
    /// A second machine of the run finds the group that the first made.
    pub(super) async fn security_groups(
        &self,
        plan: &BakePlan,
        vpc_id: &str,
        cx: &PhaseContext<'_>,
    ) -> Result<Vec<String>, TargetError> {
        if !plan.builder.security_groups.is_empty() {
            return Ok(plan.builder.security_groups.clone());
        }
        if let Some(id) = self.state().group_id.clone() {
            return Ok(vec![id]);
        }
        let sources = self.ingress(plan).await?;
        let id = self.create_group(plan, vpc_id, cx).await?;
        self.open_ssh(plan, &id, &sources).await?;
        let mut state = self.state();
        state.group_id = Some(id.clone());
        state.admitted.extend(sources);
        Ok(vec![id])
    }

    async fn create_group(
        &self,
        plan: &BakePlan,
        vpc_id: &str,
        cx: &PhaseContext<'_>,
    ) -> Result<String, TargetError> {
        let name = tags::group_name(&plan.run);
        let removal = Removal::DeleteSecurityGroup { name: name.clone() };
        let debt = self.undoing(&plan.run, removal).into();
        let request = self.group_request(plan, vpc_id);
        let (ec2, run) = (self.clone(), plan.run.clone());
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("CreateSecurityGroup", e))
            };
            let id = match ec2.persist(asking).await {
                Ok(answer) => answer.group_id.unwrap_or_default(),
                // The first answer was lost, and it was asked again.
                Err(error) if error.code() == Some("InvalidGroup.Duplicate") => {
                    let found = ec2.look(|| ec2.find_group(&run, &name)).await;
                    let first = found.ok().and_then(|ids| ids.into_iter().next());
                    first.ok_or(error)?
                }
                Err(error) => return Err(error),
            };
            ec2.born(&id);
            Ok(id)
        });
        let made = cx
            .ledger
            .create([(Due::Always, debt)], Ec2Error::is_refusal, call);
        match made.await {
            Ok((_, id)) => Ok(id),
            Err(error) => Err(self.explain(error).await),
        }
    }

    /// Returns what the run's own group is asked for by.
    pub(super) fn group_request(
        &self,
        plan: &BakePlan,
        vpc_id: &str,
    ) -> CreateSecurityGroupFluentBuilder {
        let labels = tags::temporary(plan, "group");
        self.ec2
            .create_security_group()
            .group_name(tags::group_name(&plan.run))
            .description("SSH to a machine of amibake")
            .vpc_id(vpc_id)
            .tag_specifications(tags::specification(ResourceType::SecurityGroup, &labels))
    }

    /// Makes a call about things that were just made, again while EC2 has not heard of them
    /// everywhere.
    pub(super) async fn once_known<T, F, R>(&self, ids: &[String], call: F) -> Result<T, Ec2Error>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, Ec2Error>>,
    {
        loop {
            match call().await {
                Err(error)
                    if error.is_not_found()
                        && self.state().stage != Stage::Unwinding
                        && ids.iter().any(|id| self.is_young(id)) =>
                {
                    clock::sleep(self.poll / 4).await;
                }
                answer => return answer,
            }
        }
    }

    async fn open_ssh(
        &self,
        plan: &BakePlan,
        group_id: &str,
        sources: &[String],
    ) -> Result<(), TargetError> {
        let port = plan.builder.port;
        let mut rule = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(port.into())
            .to_port(port.into());
        for cidr in sources {
            rule = if cidr.contains(':') {
                rule.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build())
            } else {
                rule.ip_ranges(IpRange::builder().cidr_ip(cidr).build())
            };
        }
        let request = self
            .ec2
            .authorize_security_group_ingress()
            .group_id(group_id)
            .ip_permissions(rule.build())
            .tag_specifications(tags::specification(
                ResourceType::SecurityGroupRule,
                &tags::temporary(plan, "rule"),
            ));
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("AuthorizeSecurityGroupIngress", e))
        };
        let new = [group_id.to_owned()];
        let made = self.persist(|| self.once_known(&new, asking));
        match made.await {
            Err(error) if error.code() != Some("InvalidPermission.Duplicate") => {
                Err(self.explain(error).await)
            }
            _ => Ok(()),
        }
    }

    /// Returns the run's group of this name, if it is there.
    pub(super) async fn find_group(
        &self,
        run: &crate::run::RunId,
        name: &str,
    ) -> Result<Vec<String>, Ec2Error> {
        let filters = vec![tags::of_run(run), tags::filter("group-name", [name])];
        let found = self.groups(filters).await?;
        Ok(found.into_iter().filter_map(|g| g.group_id).collect())
    }

    /// Returns who may reach the builder: whom the manifest names, or this machine as the builder
    /// sees it.
    async fn ingress(&self, plan: &BakePlan) -> Result<Vec<String>, TargetError> {
        if let Some(cidrs) = &plan.builder.ingress_cidrs {
            return Ok(cidrs.clone());
        }
        let address = match plan.builder.connect {
            Connect::PrivateIp => local_address().await?,
            Connect::PublicIp => self.echo.public_address().await?,
        };
        Ok(vec![alone(address)])
    }

    /// Lets this machine in from where it is seen now, should that have changed since.
    pub(super) async fn admit_again(&self, plan: &BakePlan) -> Result<(), TargetError> {
        let group_id = self.state().group_id.clone();
        let (Some(group_id), None) = (group_id, &plan.builder.ingress_cidrs) else {
            return Ok(()); // others have decided who comes in
        };
        let mut sources = self.ingress(plan).await?;
        sources.retain(|source| !self.state().admitted.contains(source));
        if sources.is_empty() {
            return Ok(());
        }
        self.open_ssh(plan, &group_id, &sources).await?;
        self.state().admitted.extend(sources);
        Ok(())
    }
}

fn no_subnet(wanted: &Subnet, region: &str) -> TargetError {
    match wanted {
        Subnet::Id(id) => TargetError::manifest(format!("the subnet {id} does not exist in {region}"))
            .with_hint("look at builder.subnet, and at the account and region that are used"),
        Subnet::Filter(filters) => TargetError::manifest(format!(
            "no subnet in {region} has {}",
            tags::told(filters)
        ))
        .with_hint("look at builder.subnet, and at the account and region that are used"),
        Subnet::Default => TargetError::manifest(format!("no subnet in {region} for the builder"))
            .with_hint("set builder.subnet: the default VPC is missing, or none of its subnets routes to an internet gateway"),
    }
}

/// Chooses among subnets of one VPC: in order of free addresses, and if `open` only those that
/// route to an internet gateway.
fn choose(subnets: &[Ec2Subnet], routes: &[RouteTable], open: bool) -> Option<Network> {
    let vpc_id = subnets.iter().find_map(Ec2Subnet::vpc_id)?;
    let mut fit: Vec<&Ec2Subnet> = subnets
        .iter()
        .filter(|s| s.vpc_id() == Some(vpc_id) && (!open || is_public(s, routes)))
        .collect();
    fit.sort_by_key(|s| std::cmp::Reverse(s.available_ip_address_count()));
    let place = |s: &Ec2Subnet| {
        let zone = s.availability_zone.clone().unwrap_or_default();
        s.subnet_id.clone().map(|id| Place { id, zone })
    };
    let subnets: Vec<Place> = fit.into_iter().filter_map(place).collect();
    (!subnets.is_empty()).then(|| Network {
        vpc_id: vpc_id.to_owned(),
        subnets,
        offerings: Offerings::Unknown,
    })
}

/// A subnet without a table of its own follows the VPC's main table.
pub(super) fn is_public(subnet: &Ec2Subnet, routes: &[RouteTable]) -> bool {
    let own = routes.iter().find(|t| {
        t.associations()
            .iter()
            .any(|a| a.subnet_id() == subnet.subnet_id() && a.subnet_id().is_some())
    });
    let main = || {
        routes
            .iter()
            .find(|t| t.associations().iter().any(|a| a.main() == Some(true)))
    };
    own.or_else(main).is_some_and(|t| {
        t.routes()
            .iter()
            .any(|r| r.gateway_id().is_some_and(|g| g.starts_with("igw-")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{Route, RouteTableAssociation};

    fn subnet(id: &str, free: i32) -> Ec2Subnet {
        Ec2Subnet::builder()
            .subnet_id(id)
            .vpc_id("vpc-1")
            .available_ip_address_count(free)
            .build()
    }

    fn table(subnet: Option<&str>, gateway: &str) -> RouteTable {
        let association = RouteTableAssociation::builder()
            .main(subnet.is_none())
            .set_subnet_id(subnet.map(Into::into));
        let route = Route::builder().gateway_id(gateway).build();
        RouteTable::builder()
            .associations(association.build())
            .routes(route)
            .build()
    }

    #[test]
    fn a_subnet_that_does_not_reach_the_internet_is_left_out_when_it_must() {
        let subnets = [subnet("subnet-a", 5), subnet("subnet-b", 9)];
        let routes = [table(None, "igw-1"), table(Some("subnet-b"), "local")];
        let ids = |open| {
            let network = choose(&subnets, &routes, open).unwrap();
            let ids = network.subnets.into_iter().map(|s| s.id);
            ids.collect::<Vec<_>>()
        };
        assert_eq!(ids(true), ["subnet-a"]);
        assert_eq!(ids(false), ["subnet-b", "subnet-a"]);
    }

    #[test]
    fn a_subnet_that_is_not_there_is_named() {
        let told = |wanted: &Subnet| no_subnet(wanted, "eu-west-1").to_string();
        assert_eq!(
            told(&Subnet::Id("subnet-0abc".into())),
            "the subnet subnet-0abc does not exist in eu-west-1"
        );
        let filters = [
            ("tag:tier".to_owned(), vec!["build".to_owned()]),
            ("vpc-id".to_owned(), vec!["vpc-1".to_owned()]),
        ];
        assert_eq!(
            told(&Subnet::Filter(filters.into())),
            "no subnet in eu-west-1 has tag:tier=build and vpc-id=vpc-1"
        );
    }

    #[test]
    fn without_a_route_there_is_no_network() {
        assert_eq!(choose(&[subnet("subnet-a", 5)], &[], true), None);
        assert_eq!(choose(&[], &[], false), None);
    }
}
