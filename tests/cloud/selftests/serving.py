"""Real machines behind a load balancer: launched by a group, checked over HTTP, and asked over HTTPS."""

import base64
import http.client
import json
import threading
import time

from .asking import BASE_IMAGE, eventually
from .balancers import Balanced, Sockets
from .stack_asking import certificate

# Answers with its instance's id, and slowly where it is asked to.
SERVER = """
import http.server, time, urllib.request
def ask(method, path, **headers):
    request = urllib.request.Request("http://169.254.169.254/latest" + path, method=method, headers=headers)
    return urllib.request.urlopen(request).read()
token = ask("PUT", "/api/token", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"}).decode()
me = ask("GET", "/meta-data/instance-id", **{"X-aws-ec2-metadata-token": token})
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", str(len(me)))
        self.end_headers()
        self.wfile.write(me)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
USER_DATA = (
    "#cloud-config\n"
    + json.dumps(
        {
            "write_files": [{"path": "/run/server.py", "content": SERVER}],
            "runcmd": [["systemd-run", "--unit=web", "python3", "/run/server.py"]],
        }
    )
    + "\n"
)


class Serving(Balanced):
    """With machines alone: selftest.py says where they come from."""

    https, where = Sockets.https, Sockets.where

    def setUp(self):
        super().setUp()
        self.control("stacks", {"second": 0.1})
        self.launch = self.ec2.create_launch_template(
            LaunchTemplateName="launch",
            LaunchTemplateData={
                "ImageId": BASE_IMAGE,
                "InstanceType": "t3.small",
                "UserData": base64.b64encode(USER_DATA.encode()).decode(),
            },
        )
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="group",
            MinSize=0,
            MaxSize=4,
            LaunchTemplate={"LaunchTemplateName": "launch", "Version": "1"},
            VPCZoneIdentifier=",".join(s["SubnetId"] for s in self.subnets[:2]),
            TargetGroupARNs=[self.blue],
        )

    def tearDown(self):
        self.asg.delete_auto_scaling_group(AutoScalingGroupName="group", ForceDelete=True)
        eventually("the group to go", lambda: not self.asg.describe_auto_scaling_groups()["AutoScalingGroups"])
        self.ec2.delete_launch_template(LaunchTemplateName="launch")
        super().tearDown()

    def ask(self, path="/"):
        connection = self.https(certificate()[0])
        connection.request("GET", path, headers={"Host": "web.test"})
        answer = connection.getresponse()
        told = answer.status, answer.read().decode()
        connection.close()
        return told

    def test_machines_of_a_group_answer_in_turn_and_one_that_leaves_ends_what_it_does(self):
        members = {m["InstanceId"] for m in self.size("group", 2)}
        self.healthy(self.blue, 2)
        self.assertEqual({self.ask() for _ in range(4)}, {(200, m) for m in members})
        slow = []
        askers = [threading.Thread(target=lambda: slow.append(self.ask("/slow"))) for _ in range(2)]
        for asker in askers:
            asker.start()
        time.sleep(0.5)
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=1, MinSize=1)
        eventually("one to leave", lambda: "draining" in [state for state, _ in self.health(self.blue).values()])
        stays = {i for i, (state, _) in self.health(self.blue).items() if state == "healthy"}
        self.assertEqual({self.ask() for _ in range(4)}, {(200, i) for i in stays}, "nothing new reaches it")
        for asker in askers:
            asker.join(30)
        self.assertEqual(sorted(slow), sorted((200, m) for m in members), "what was under way was answered")

    def test_a_server_that_dies_is_noticed_and_answered_for(self):
        (member,) = self.size("group", 1)
        self.healthy(self.blue, 1)
        self.control("cut", {"instance": member["InstanceId"], "cut": True})
        eventually("its illness", lambda: self.health(self.blue)[member["InstanceId"]] == ("unhealthy", "Target.Timeout"))
        self.control("cut", {"instance": member["InstanceId"], "cut": False})
        self.healthy(self.blue, 1)
        self.assertEqual(self.ask(), (200, member["InstanceId"]))

    def test_no_request_fails_while_traffic_moves_and_a_colour_leaves(self):
        blue = {m["InstanceId"] for m in self.size("group", 2)}
        green = self.launched(ImageId=BASE_IMAGE, UserData=USER_DATA)
        self.elb.register_targets(TargetGroupArn=self.green, Targets=[{"Id": green}])
        self.healthy(self.blue, 2)
        self.healthy(self.green, 1)
        answers, ended = [], threading.Event()
        askers = [threading.Thread(target=self.keep_asking, args=(answers, ended)) for _ in range(3)]
        for asker in askers:
            asker.start()
        for weights in ((50, 50), (0, 100)):
            self.elb.modify_rule(RuleArn=self.rule, Actions=[{"Type": "forward", "ForwardConfig": self.weights(*weights)}])
            time.sleep(2)
        moved = len(answers)
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", MinSize=0, DesiredCapacity=0)
        eventually("the colour to be gone", lambda: not self.group("group")["Instances"])
        ended.set()
        for asker in askers:
            asker.join(30)
        self.assertEqual({status for status, _ in answers}, {200})
        self.assertEqual({who for _, who in answers}, blue | {green}, "all had their turn")
        self.assertEqual({who for _, who in answers[moved:]}, {green})

    def keep_asking(self, answers, ended):
        """One client on one connection: what it is told, or what goes wrong."""
        connection = self.https(certificate()[0])
        while not ended.is_set():
            try:
                connection.request("GET", "/", headers={"Host": "web.test"})
                answer = connection.getresponse()
                answers.append((answer.status, answer.read().decode()))
            except (OSError, http.client.HTTPException) as failed:
                answers.append((repr(failed), None))
                connection = self.https(certificate()[0])
            time.sleep(0.01)
        connection.close()
