"""Load balancers: what a target's health is and why, which rule a request meets, and what goes over a socket."""

import datetime
import http.client
import socket
import ssl
import threading
import time
import unittest

from .asking import BASE_IMAGE, eventually
from .stack_asking import StackAsking, certificate


class Balanced(StackAsking):
    """A test with a load balancer and two target groups, of which a rule names both: blue has everything."""

    def setUp(self):
        super().setUp()
        self.subnets = self.ec2.describe_subnets()["Subnets"]
        ids = [s["SubnetId"] for s in self.subnets[:2]]
        pem, key = certificate()
        self.certificate = self.acm.import_certificate(Certificate=pem, PrivateKey=key)["CertificateArn"]
        self.balancer = self.elb.create_load_balancer(Name="balancer", Subnets=ids)["LoadBalancers"][0]["LoadBalancerArn"]
        self.blue, self.green = self.target_group("blue"), self.target_group("green")
        secure = {"Certificates": [{"CertificateArn": self.certificate}], "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"}
        gone = [
            {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "MessageBody": "nobody", "ContentType": "text/plain"}}
        ]
        listen = lambda port, protocol, actions, **more: self.elb.create_listener(
            LoadBalancerArn=self.balancer, Port=port, Protocol=protocol, DefaultActions=actions, **more
        )["Listeners"][0]["ListenerArn"]
        self.listener = listen(443, "HTTPS", gone, **secure)
        redirect = {
            "Protocol": "HTTPS",
            "Port": "443",
            "Host": "#{host}",
            "Path": "/#{path}",
            "Query": "#{query}",
            "StatusCode": "HTTP_301",
        }
        self.plain = listen(80, "HTTP", [{"Type": "redirect", "RedirectConfig": redirect}])
        self.rule = self.make_rule(100, self.weights(100, 0), {"Field": "path-pattern", "Values": ["*"]})

    def tearDown(self):
        self.control("answers", [])
        self.elb.delete_load_balancer(LoadBalancerArn=self.balancer)
        for group in (self.blue, self.green):
            self.elb.delete_target_group(TargetGroupArn=group)
        super().tearDown()

    def target_group(self, name):
        group = self.elb.create_target_group(
            Name=name,
            Protocol="HTTP",
            Port=8080,
            VpcId=self.subnets[0]["VpcId"],
            HealthCheckPath="/healthz",
            HealthCheckIntervalSeconds=10,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}]
        )
        return group

    def weights(self, blue, green):
        return {"TargetGroups": [{"TargetGroupArn": self.blue, "Weight": blue}, {"TargetGroupArn": self.green, "Weight": green}]}

    def make_rule(self, priority, forward, *conditions):
        return self.elb.create_rule(
            ListenerArn=self.listener,
            Priority=priority,
            Conditions=list(conditions),
            Actions=[{"Type": "forward", "ForwardConfig": forward}],
        )["Rules"][0]["RuleArn"]

    def launched(self, zone=0, **more):
        interface = {"DeviceIndex": 0, "SubnetId": self.subnets[zone]["SubnetId"], "DeleteOnTermination": True}
        instance = self.run_instance(NetworkInterfaces=[interface], **more)
        eventually("it to run", self.is_state(instance, "running"))
        return instance

    def target(self, group, zone=0, **more):
        """An instance that is registered and healthy."""
        instance = self.launched(zone, **more)
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
        eventually("its health", lambda: self.health(group)[instance] == ("healthy", None), 30)
        return instance

    def requests(self, count=1, listener=None, **more):
        return self.control("requests", {"listener": listener or self.listener, "count": count} | more)


class TargetHealth(Balanced, unittest.TestCase):
    def becomes(self, group, instance, state, reason=None, limit=30):
        return eventually(f"{state} {reason}", lambda: self.health(group).get(instance) == (state, reason), limit)

    def test_a_target_is_registered_checked_and_healthy_and_then_drains(self):
        self.control("stacks", {"second": 0.2})
        instance, seen = self.launched(), []
        self.elb.register_targets(TargetGroupArn=self.blue, Targets=[{"Id": instance}])

        def look():
            told = self.health(self.blue).get(instance)
            if not seen or seen[-1] != told:
                seen.append(told)
            return told

        eventually("its health", lambda: look() == ("healthy", None), 30)
        self.elb.deregister_targets(TargetGroupArn=self.blue, Targets=[{"Id": instance}])
        eventually("its end", lambda: look() is None, 30)
        self.assertEqual(seen[0], ("initial", "Elb.RegistrationInProgress"))
        self.assertEqual(seen[-3:], [("healthy", None), ("draining", "Target.DeregistrationInProgress"), None])
        asked = self.elb.describe_target_health(TargetGroupArn=self.blue, Targets=[{"Id": instance}])["TargetHealthDescriptions"][0][
            "TargetHealth"
        ]
        self.assertEqual((asked["State"], asked["Reason"]), ("unused", "Target.NotRegistered"))

    def test_what_keeps_a_target_from_being_healthy_is_named(self):
        for health, reason, words in (
            (500, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
            ("timeout", "Target.Timeout", "Request timed out"),
            ("refused", "Target.FailedHealthChecks", "Health checks failed"),
        ):
            instance = self.target(self.blue)
            self.control("answers", [{"instance": instance, "health": health}])
            self.becomes(self.blue, instance, "unhealthy", reason)
            told = self.elb.describe_target_health(TargetGroupArn=self.blue, Targets=[{"Id": instance}])["TargetHealthDescriptions"][0]
            self.assertEqual(told["TargetHealth"]["Description"], words)
            self.control("answers", [])
            self.becomes(self.blue, instance, "healthy")

    def test_a_group_that_no_rule_names_is_not_checked_and_weight_0_is_named(self):
        idle = self.target(self.green)
        instance = self.target(self.blue)
        self.elb.modify_rule(RuleArn=self.rule, Actions=[{"Type": "forward", "TargetGroupArn": self.blue}])
        self.becomes(self.green, idle, "unused", "Target.NotInUse")
        self.assertEqual(self.health(self.blue)[instance], ("healthy", None))
        groups = {g["TargetGroupName"]: g["LoadBalancerArns"] for g in self.elb.describe_target_groups()["TargetGroups"]}
        self.assertEqual(groups, {"blue": [self.balancer], "green": []})

    def test_a_zone_that_the_load_balancer_is_not_in_and_an_instance_that_is_stopped_are_unused(self):
        far = self.launched(zone=2)
        self.elb.register_targets(TargetGroupArn=self.blue, Targets=[{"Id": far}])
        self.becomes(self.blue, far, "unused", "Target.NotInUse")
        stopped = self.target(self.blue)
        self.ec2.stop_instances(InstanceIds=[stopped])
        eventually("its stop", self.is_state(stopped, "stopped"))
        self.becomes(self.blue, stopped, "unused", "Target.InvalidState")

    def test_a_group_judges_its_instances_by_the_load_balancer_after_the_grace_period(self):
        launch = self.ec2.create_launch_template(
            LaunchTemplateName="launch", LaunchTemplateData={"ImageId": BASE_IMAGE, "InstanceType": "t3.small"}
        )
        launch = launch["LaunchTemplate"]["LaunchTemplateId"]
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="group",
            MinSize=0,
            MaxSize=4,
            HealthCheckType="ELB",
            HealthCheckGracePeriod=60,
            LaunchTemplate={"LaunchTemplateId": launch, "Version": "1"},
            TargetGroupARNs=[self.blue],
            VPCZoneIdentifier=",".join(s["SubnetId"] for s in self.subnets[:2]),
        )
        try:
            (first,) = self.size("group", 1)
            self.healthy(self.blue, 1)
            self.control("answers", [{"instance": first["InstanceId"], "health": 500}])
            eventually("another in its place", lambda: [m for m in self.members("group") if m["InstanceId"] != first["InstanceId"]], 30)
            causes = [a["Cause"] for a in self.asg.describe_scaling_activities(AutoScalingGroupName="group")["Activities"]]
            self.assertTrue(any("ELB system health check failure" in c for c in causes), causes)
        finally:
            self.asg.delete_auto_scaling_group(AutoScalingGroupName="group", ForceDelete=True)
            eventually("the group to go", lambda: not self.asg.describe_auto_scaling_groups()["AutoScalingGroups"], 30)
            self.ec2.delete_launch_template(LaunchTemplateId=launch)


class Rules(Balanced, unittest.TestCase):
    def test_weights_share_traffic_and_an_empty_group_is_not_passed_over(self):
        blue, green = self.target(self.blue), self.target(self.green)
        self.assertEqual(self.requests(50)["instances"], {blue: 50})
        self.elb.modify_rule(RuleArn=self.rule, Actions=[{"Type": "forward", "ForwardConfig": self.weights(50, 50)}])
        shared = self.requests(200)["instances"]
        self.assertTrue(60 < shared[blue] < 140, shared)
        self.elb.modify_rule(RuleArn=self.rule, Actions=[{"Type": "forward", "ForwardConfig": self.weights(0, 100)}])
        self.assertEqual(self.requests(50)["instances"], {green: 50})
        self.elb.deregister_targets(TargetGroupArn=self.green, Targets=[{"Id": green}])
        self.assertEqual(self.requests(5)["statuses"], {"503": 5})

    def test_the_first_rule_that_a_request_meets_decides(self):
        blue, green = self.target(self.blue), self.target(self.green)
        header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Smoke", "Values": ["s3cret"]}}
        self.make_rule(10, self.weights(0, 1), header)
        self.make_rule(200, self.weights(0, 1), {"Field": "path-pattern", "Values": ["/never*"]})
        self.assertEqual(self.requests(headers={"X-Smoke": "s3cret"})["instances"], {green: 1})
        self.assertEqual(self.requests(headers={"X-Smoke": "other"})["instances"], {blue: 1})
        self.assertEqual(self.requests(path="/never")["instances"], {blue: 1}, "a rule before it takes everything")
        priorities = [r["Priority"] for r in self.elb.describe_rules(ListenerArn=self.listener)["Rules"]]
        self.assertEqual(priorities, ["10", "100", "200", "default"])
        self.assertEqual(self.code(self.make_rule, priority=100, forward=self.weights(1, 1)), "PriorityInUse")
        self.elb.delete_rule(RuleArn=self.rule)
        self.assertEqual(self.requests()["statuses"], {"503": 1}, "the default")
        self.assertEqual(self.code(self.elb.delete_rule, RuleArn=self.rule), "RuleNotFound")

    def test_only_healthy_targets_are_asked_unless_none_is(self):
        well, ill = self.target(self.blue), self.target(self.blue)
        self.control("answers", [{"instance": ill, "health": 500, "status": 500}])
        eventually("its illness", lambda: self.health(self.blue)[ill][0] == "unhealthy", 30)
        self.assertEqual(
            self.requests(10), {"statuses": {"200": 10}, "instances": {well: 10}, "headers": {"Content-Type": "application/json"}}
        )
        self.control("answers", [{"health": 500, "status": 500}])
        eventually("no health", lambda: {s for s, _ in self.health(self.blue).values()} == {"unhealthy"}, 30)
        self.assertEqual(self.requests(10)["statuses"], {"500": 10})

    def test_what_takes_longer_than_the_deregistration_delay_is_cut(self):
        slow = self.target(self.blue)
        self.control("answers", [{"seconds": 600}])
        told = []
        asker = threading.Thread(target=lambda: told.append(self.requests()["statuses"]))
        asker.start()
        time.sleep(0.3)
        self.elb.deregister_targets(TargetGroupArn=self.blue, Targets=[{"Id": slow}])
        asker.join(60)
        self.assertEqual(told, [{"502": 1}])

    def test_answers_are_counted_by_target_group_as_late_as_a_test_wants(self):
        self.target(self.blue)
        self.control("answers", [{"status": 500}])
        self.control("stacks", {"metrics": 2})
        self.requests(7)
        self.assertEqual(self.counted("HTTPCode_Target_5XX_Count"), [])
        eventually("the values", lambda: self.counted("HTTPCode_Target_5XX_Count") == [7.0], 30)
        self.assertEqual(self.counted("RequestCount"), [7.0])

    def counted(self, name):
        now = datetime.datetime.now(datetime.UTC)
        metric = {
            "Namespace": "AWS/ApplicationELB",
            "MetricName": name,
            "Dimensions": [
                {"Name": "LoadBalancer", "Value": self.balancer.split(":loadbalancer/")[1]},
                {"Name": "TargetGroup", "Value": self.blue.rsplit(":", 1)[1]},
            ],
        }
        query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
        told = self.watch.get_metric_data(
            MetricDataQueries=[query], StartTime=now - datetime.timedelta(minutes=30), EndTime=now + datetime.timedelta(minutes=30)
        )
        return told["MetricDataResults"][0]["Values"]

    def test_a_listener_is_refused_what_it_cannot_be(self):
        ask = lambda **more: self.code(
            self.elb.create_listener,
            LoadBalancerArn=self.balancer,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.blue}],
            **more,
        )
        self.assertEqual(ask(Port=443, Protocol="HTTP"), "DuplicateListener")
        self.assertEqual(ask(Port=444, Protocol="HTTPS"), "CertificateNotFound")
        missing = [{"CertificateArn": self.certificate[:-4] + "0000"}]
        self.assertEqual(ask(Port=444, Protocol="HTTPS", Certificates=missing), "CertificateNotFound")
        self.assertEqual(
            ask(Port=444, Protocol="HTTPS", Certificates=[{"CertificateArn": self.certificate}], SslPolicy="ELBSecurityPolicy-None"),
            "SSLPolicyNotFound",
        )
        one_zone = [self.subnets[0]["SubnetId"]]
        self.assertEqual(self.code(self.elb.create_load_balancer, Name="narrow", Subnets=one_zone), "ValidationError")

    def test_tags_of_a_rule_say_what_they_are_given(self):
        tags = [{"Key": f"amibake:{n}", "Value": str(n)} for n in range(50)]
        self.elb.add_tags(ResourceArns=[self.rule], Tags=tags)
        self.assertEqual(self.elb.describe_tags(ResourceArns=[self.rule])["TagDescriptions"][0]["Tags"], tags)
        self.assertEqual(self.code(self.elb.add_tags, ResourceArns=[self.rule], Tags=[{"Key": "one", "Value": "more"}]), "TooManyTags")


class Sockets(Balanced, unittest.TestCase):
    """What goes over loopback."""

    def where(self, port):
        host, _, number = self.control("balancers")[self.balancer]["listeners"][str(port)].rpartition(":")
        return host, int(number)

    def https(self, pem):
        """A connection that trusts one certificate and asks for its name."""
        context = ssl.create_default_context(cadata=pem.decode())
        host, port = self.where(443)
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=10)
        sock = context.wrap_socket(socket.create_connection((host, port), 10), server_hostname="web.test")
        connection.sock = sock
        return connection

    def test_the_certificate_is_the_one_that_was_imported_and_a_new_one_counts_at_once(self):
        instance = self.target(self.blue)
        pem, key = certificate()
        connection = self.https(pem)
        for _ in range(2):  # the connection stays
            connection.request("GET", "/", headers={"Host": "web.test"})
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.read().decode()), (200, f'{{"instance": "{instance}"}}'))
        self.assertEqual(connection.sock.version(), "TLSv1.3")
        connection.close()
        new, new_key = certificate(days=(-1, 60))
        self.acm.import_certificate(Certificate=new, PrivateKey=new_key, CertificateArn=self.certificate)
        self.https(new).close()
        with self.assertRaises(ssl.SSLError):
            self.https(pem)

    def test_http_is_sent_to_https(self):
        connection = http.client.HTTPConnection(*self.where(80), timeout=10)
        connection.request("GET", "/a/b?c=d", headers={"Host": "web.test"})
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["Location"], answer.read()), (301, "https://web.test:443/a/b?c=d", b""))
        connection.close()

    def test_a_load_balancer_that_goes_stops_to_listen(self):
        host, port = self.where(80)
        self.elb.delete_listener(ListenerArn=self.plain)

        def refused():
            try:
                socket.create_connection((host, port), 1).close()
            except OSError:
                return True

        eventually("the port to close", refused, 10)


class Certificates(Balanced, unittest.TestCase):
    def test_a_certificate_is_replaced_by_one_like_it_alone(self):
        again = lambda name="web.test", size=256, days=(-1, 60), **more: self.code(
            self.acm.import_certificate,
            **dict(zip(("Certificate", "PrivateKey"), certificate(name, size, days))) | {"CertificateArn": self.certificate} | more,
        )
        self.assertEqual(again("other.test"), None)
        self.assertEqual([again(size=384), again(size=2048), again(days=(1, 60)), again(days=(-60, -1))], ["ValidationException"] * 4)
        self.assertEqual(again(Tags=[{"Key": "a", "Value": "b"}]), "ValidationException")
        self.assertEqual(again(PrivateKey=certificate("third.test")[1]), "ValidationException")
        told = self.acm.describe_certificate(CertificateArn=self.certificate)["Certificate"]
        self.assertEqual((told["DomainName"], told["InUseBy"], told["KeyAlgorithm"]), ("other.test", [self.balancer], "EC_prime256v1"))

    def test_acm_lists_one_kind_of_key_where_no_other_is_asked_for_and_a_page_at_a_time(self):
        rsa = dict(zip(("Certificate", "PrivateKey"), certificate("rsa.test", 2048)))
        rsa = self.acm.import_certificate(**rsa)["CertificateArn"]
        arns = lambda **more: [one["CertificateArn"] for one in self.acm.list_certificates(**more)["CertificateSummaryList"]]
        self.assertEqual(arns(), [rsa])
        both = {"Includes": {"keyTypes": ["RSA_2048", "EC_prime256v1"]}}
        self.assertEqual(sorted(arns(**both)), sorted([rsa, self.certificate]))
        self.control("stacks", {"page": 1})
        first = self.acm.list_certificates(**both)
        self.assertEqual(len(first["CertificateSummaryList"]), 1)
        self.assertEqual(len(arns(**both, NextToken=first["NextToken"])), 1)

    def test_iam_keeps_certificates_by_name_and_path_and_none_goes_that_is_shown(self):
        iam = self.client("iam", account=self.account)
        pem, key = (text.decode() for text in certificate("other.test"))
        upload = lambda name, **more: iam.upload_server_certificate(
            **{"ServerCertificateName": name, "CertificateBody": pem, "PrivateKey": key, "Path": "/a/"} | more
        )["ServerCertificateMetadata"]
        one = upload("one")
        self.assertEqual(one["Arn"], f"arn:aws:iam::{self.account}:server-certificate/a/one")
        told = iam.get_server_certificate(ServerCertificateName="one")["ServerCertificate"]["ServerCertificateMetadata"]
        self.assertAlmostEqual((told["Expiration"] - told["UploadDate"]).days, 30, delta=1)
        self.assertEqual(self.code(upload, name="ONE"), "EntityAlreadyExists")
        self.assertEqual(self.code(upload, name="two", PrivateKey=certificate("third.test")[1].decode()), "KeyPairMismatch")
        self.assertEqual(self.code(upload, name="two", CertificateBody="hello"), "MalformedCertificate")
        upload("two", Path="/b/")
        listed = lambda path: [known["ServerCertificateName"] for known in iam.list_server_certificates(PathPrefix=path)["ServerCertificateMetadataList"]]
        self.assertEqual([listed("/"), listed("/a/"), listed("/c/")], [["one", "two"], ["one"], []])
        self.control("stacks", {"page": 1})
        self.assertTrue(iam.list_server_certificates()["IsTruncated"])
        pages = iam.get_paginator("list_server_certificates").paginate()
        self.assertEqual(len([known for page in pages for known in page["ServerCertificateMetadataList"]]), 2)
        more = lambda call: call(ListenerArn=self.listener, Certificates=[{"CertificateArn": one["Arn"]}])
        more(self.elb.add_listener_certificates)
        self.elb.modify_listener(ListenerArn=self.listener, Certificates=[{"CertificateArn": self.certificate}])
        self.assertEqual(self.code(iam.delete_server_certificate, ServerCertificateName="one"), "DeleteConflict")
        more(self.elb.remove_listener_certificates)
        iam.delete_server_certificate(ServerCertificateName="one")
        self.assertEqual(self.code(iam.get_server_certificate, ServerCertificateName="one"), "NoSuchEntity")

    def test_one_in_use_cannot_be_deleted_and_a_listener_can_take_another(self):
        self.assertEqual(self.code(self.acm.delete_certificate, CertificateArn=self.certificate), "ResourceInUseException")
        pem, key = certificate("other.test")
        iam = self.client("iam", account=self.account)
        other = iam.upload_server_certificate(ServerCertificateName="other", CertificateBody=pem.decode(), PrivateKey=key.decode())
        other = other["ServerCertificateMetadata"]["Arn"]
        self.elb.modify_listener(ListenerArn=self.listener, Certificates=[{"CertificateArn": other}])
        self.assertEqual(
            self.elb.describe_listeners(ListenerArns=[self.listener])["Listeners"][0]["Certificates"], [{"CertificateArn": other}]
        )
        self.assertEqual(self.code(self.acm.delete_certificate, CertificateArn=self.certificate), None)
