//! A site of real machines behind the test EC2's load balancer: its images, those that do not do among them, its
//! certificate and its stack.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use super::load::{Client, Site};
use super::{Cloud, expect_exit, needed, text};

pub(crate) const DOMAIN: &str = "hello.example.com";

/// Bake times as short as the test EC2's checks, where a second of AWS is less than half of one.
pub(crate) const PACE: [&str; 6] = ["--bake", "3s", "--keep", "1s", "--healthy-within", "80s"];

/// Says its image's version in each answer, as the example application does, and drains when it is told to end:
/// what it has begun is answered, and its health check fails from then on. One that is ill complains on the console.
const SERVER: &str = r#"#!/usr/bin/python3
import http.server, os, signal, threading
VERSION, WELL_FOR = "@VERSION@", float("@WELL_FOR@")
leaves, answered = threading.Event(), 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global answered
        status, body = 200, VERSION.encode()
        if self.path != "/healthz":
            answered += 1
        elif leaves.is_set():
            status = 503
        elif answered >= WELL_FOR or os.path.exists("/run/ill"):
            status = 500
            print("web: the database does not answer", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
def leave(*_):
    leaves.set()
    threading.Timer(3, server.shutdown).start()
signal.signal(signal.SIGTERM, leave)
server.serve_forever()
"#;

/// What it says is on the console: the test EC2's machines have no /dev/console, but what cloud-init writes there on
/// EC2 is looked for in this file.
const UNIT: &str = "[Unit]\nAfter=network.target\n\
                    [Service]\nExecStart=/usr/local/bin/server\nTimeoutStopSec=10\nStandardOutput=append:/var/log/cloud-init-output.log\n\
                    [Install]\nWantedBy=multi-user.target\n";

/// What a kernel says that finds nothing to start, and then does nothing more.
const NO_INIT: &str = "#!/bin/sh\necho 'Kernel panic - not syncing: No working init found.'\n\
                       while :; do sleep 1000; done\n";

/// How the machines of an image do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    Well,
    NotBoot,
    /// Answers 500 to health checks once it has answered so many requests of others.
    FailAfter(u32),
}

impl Cloud {
    /// Makes an image whose application says `version`.
    pub(crate) fn image_of(&self, version: &str) -> String {
        self.image_that(version, Does::Well)
    }

    /// Makes an image whose application says `version`, for as long as it does.
    pub(crate) fn image_that(&self, version: &str, does: Does) -> String {
        let well_for = match does {
            Does::Well | Does::NotBoot => "inf".to_owned(),
            Does::FailAfter(requests) => requests.to_string(),
        };
        let server = SERVER.replace("@VERSION@", version);
        let mut files = json!({
            "usr/local/bin/server": server.replace("@WELL_FOR@", &well_for),
            "etc/systemd/system/web.service": UNIT,
            "etc/systemd/system/multi-user.target.wants/web.service": "-> ../web.service",
            // Nobody logs in, and the console is the application's.
            "etc/cloud/cloud-init.disabled": "",
        });
        if let Does::NotBoot = does {
            files["usr/lib/systemd/systemd"] = json!(NO_INIT);
        }
        let image = json!({"name": format!("web-{version}"), "files": files});
        let made = self.control("image-of-files", Some(image));
        made["image"].as_str().unwrap().to_owned()
    }

    /// Makes a call as any other client of AWS does.
    pub(crate) fn aws(&self, service: &str, operation: &str, params: Json) -> Json {
        let script = r#"
client = boto3.client(sys.argv[2], endpoint_url=sys.argv[1], region_name="eu-west-1")
print(json.dumps(getattr(client, sys.argv[3])(**json.loads(sys.argv[4])), default=str))
"#;
        self.boto3(script, &[service, operation, &params.to_string()])
    }

    /// Runs a script of Python that asks this cloud, whose address comes before its arguments, and prints JSON.
    fn boto3(&self, script: &str, args: &[&str]) -> Json {
        let output = Command::new(needed("AMIBAKE_TEST_PYTHON"))
            .args([
                "-c",
                &format!("import boto3, json, sys\n{script}"),
                self.url(),
            ])
            .args(args)
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a certificate by `amibake cert`; returns its ARN and itself.
    pub(crate) fn certificate(&self) -> (String, String) {
        let file = self.folder().join("web.pem");
        let mut command = self.amibake(["cert", "web", "--domain", DOMAIN, "--certificate-file"]);
        let output = expect_exit(command.arg(&file), 0);
        let arn = text(&output.stdout).trim().to_owned();
        (arn, std::fs::read_to_string(file).unwrap())
    }

    /// Returns where the only load balancer's listener for HTTPS is.
    pub(crate) fn front(&self) -> SocketAddr {
        let balancers = self.control("balancers", None);
        let balancers = balancers.as_object().unwrap();
        assert_eq!(balancers.len(), 1, "{balancers:?}");
        let only = balancers.values().next().unwrap();
        only["listeners"]["443"].as_str().unwrap().parse().unwrap()
    }

    /// Returns the site, for clients who trust this certificate.
    pub(crate) fn site(&self, certificate: &str) -> Site {
        Site {
            address: self.front(),
            domain: DOMAIN.to_owned(),
            certificate: certificate.to_owned(),
        }
    }

    /// Returns the stack's outputs.
    pub(crate) fn outputs(&self, stack: &str) -> Json {
        let told = self.aws(
            "cloudformation",
            "describe_stacks",
            json!({"StackName": stack}),
        );
        let outputs = told["Stacks"][0]["Outputs"].as_array().unwrap().iter();
        let pairs = outputs.map(|one| {
            (
                one["OutputKey"].as_str().unwrap().to_owned(),
                one["OutputValue"].clone(),
            )
        });
        Json::Object(pairs.collect())
    }
}

/// A stack of one instance a colour, with its first image, which says `v1`, live.
pub(crate) struct Deployed {
    pub(crate) cloud: Cloud,
    pub(crate) site: Site,
    outputs: Json,
}

impl Deployed {
    pub(crate) fn start() -> Self {
        let cloud = Cloud::start();
        let settings = json!({"second": 0.4, "names": "loopback"});
        cloud.control("stacks", Some(settings));
        let (certificate, pem) = cloud.certificate();
        let image = cloud.image_of("v1");
        let mut first = cloud.amibake(["stack", "deploy", "web", "--ami", &image]);
        let given = format!("CertificateArn={certificate}");
        for parameter in [&given, "MinSize=1", "DeregistrationDelay=5"] {
            first.args(["--param", parameter]);
        }
        let told = text(&expect_exit(first.args(PACE), 0).stdout);
        let told: Json = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        assert!(told.to_string().contains("https://"), "{told}");
        let site = cloud.site(&pem);
        let outputs = cloud.outputs("web");
        Self {
            cloud,
            site,
            outputs,
        }
    }

    /// Returns what deploys an image, or `current`.
    pub(crate) fn deploy(&self, image: &str, more: &[&str]) -> Command {
        let mut command = self
            .cloud
            .amibake(["stack", "deploy", "web", "--ami", image]);
        command.args(more);
        command
    }

    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs[name].as_str().unwrap()
    }

    /// Returns the ARN of a colour's target group.
    pub(crate) fn group(&self, colour: &str) -> &str {
        self.output(&format!("TargetGroup{colour}"))
    }

    /// Returns what one client is answered now.
    pub(crate) fn answer(&self) -> (u16, String) {
        Client::new(&self.site).ask("/").what.unwrap()
    }

    /// Returns all that decides how a colour serves: who is in its group, how that is and what launches for it,
    /// what the load balancer says of each, and what its listener does with requests.
    pub(crate) fn picture(&self, colour: &str) -> Json {
        let script = r#"
client = lambda name: boto3.client(name, endpoint_url=sys.argv[1], region_name="eu-west-1")
group, targets, listener, colour = sys.argv[2:]
found = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]
health = client("elbv2").describe_target_health(TargetGroupArn=targets)["TargetHealthDescriptions"]
rules = client("elbv2").describe_rules(ListenerArn=listener)["Rules"]
stack = client("cloudformation").describe_stacks(StackName="web")["Stacks"][0]
print(json.dumps({
    "instances": [[i["InstanceId"], i["LifecycleState"], i["HealthStatus"]] for i in found["Instances"]],
    "sizes": [found["MinSize"], found["DesiredCapacity"], found["MaxSize"]],
    "suspended": [p["ProcessName"] for p in found["SuspendedProcesses"]],
    "health": [[t["Target"]["Id"], t["TargetHealth"]["State"]] for t in health],
    "rules": [[r["Priority"], r["Conditions"], r["Actions"]] for r in rules],
    "parameters": {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"] if p["ParameterKey"].endswith(colour)},
}))
"#;
        let (group, listener) = (format!("Group{colour}"), self.output("Listener"));
        let args = [self.output(&group), self.group(colour), listener, colour];
        self.cloud.boto3(script, &args)
    }

    /// Fires the alarm on blue's 5xx answers, or quiets it; returns its name.
    pub(crate) fn alarm(&self, state: &str) -> &str {
        self.alarm_on("ErrorsBlue", state)
    }

    /// The same of the alarm that the template names so.
    pub(crate) fn alarm_on(&self, what: &str, state: &str) -> &str {
        let mut names = self.output("Alarms").split(',');
        let name = names.find(|name| name.contains(what)).unwrap();
        let asked = json!({"AlarmName": name, "StateValue": state, "StateReason": "a test"});
        self.cloud.aws("cloudwatch", "set_alarm_state", asked);
        name
    }
}

/// Returns what a command said, results and all else.
pub(crate) fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
