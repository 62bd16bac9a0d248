"""What goes with a part of a network when that goes, over moto's."""

from moto.ec2.models.nat_gateways import NatGatewayBackend


def patch(cloud) -> None:
    delete = NatGatewayBackend.delete_nat_gateway

    def delete_nat_gateway(self, nat_gateway_id):
        """Its interface goes with it, and its address is free. moto's would hold the VPC for ever."""
        gateway = delete(self, nat_gateway_id)
        interface = self.enis.pop(gateway._eni.id, None)
        for address in self.addresses:
            if interface is not None and address.eni is interface:
                address.eni = address.association_id = None
        return gateway

    NatGatewayBackend.delete_nat_gateway = delete_nat_gateway
