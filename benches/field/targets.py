"""What is measured: a proxy or gateway between a client and the stub upstream."""
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from overhead import Server, family, first_line, free_port  # noqa: E402

# Where there is one core for the proxies, these are through with a burst of 256 requests only after seconds.
SLOW = ("portkey", "litellm")


@dataclass
class Target:
    name: str
    shown: str
    port: int
    pid: int = 0
    version: str = ""
    note: str = ""
    path: str = "/v1/chat/completions"
    headers: dict = field(default_factory=dict)
    # Laid over the body: a gateway has names of its own for models.
    members: dict = field(default_factory=dict)
    # Row to the reason why it stands out of it.
    skipped: dict = field(default_factory=dict)

    def pids(self):
        return family(self.pid) if self.pid else []

    @property
    def slow(self):
        return self.name in SLOW

    def request(self, body):
        lines = [f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json",
                 f"Content-Length: {len(body)}", *(f"{key}: {value}" for key, value in self.headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


SHOWN = {
    "nginx": ("nginx", "1 worker, nothing buffered"),
    "haproxy": ("HAProxy", "1 thread, http-no-delay"),
    "envoy": ("Envoy", "concurrency 1"),
    "tensorzero": ("TensorZero", "the gateway inside its Python package, observability off"),
    "portkey": ("Portkey", "with @hono/node-server 1.3.3: with the one that npm picks today every stream is answered 500"),
    "litellm": ("LiteLLM", "1 worker, no database; prints a line for each request"),
}


def peers(upstream, cpus):
    """Installs and starts the field; `peers.sh stop` ends it."""
    command = [os.path.join(HERE, "peers.sh"), "start", str(upstream)]
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=on(cpus))
    targets = []
    for line in started.stdout.splitlines():
        said = json.loads(line)
        shown, note = SHOWN[said["name"]]
        target = Target(said["name"], shown, urlsplit(said["url"]).port, said["pid"], said["version"], note)
        if target.name in ("portkey", "litellm"):
            target.headers = {"Authorization": f"Bearer {said['key']}"}
        if target.name == "tensorzero":
            target.path, target.members = "/openai/v1/chat/completions", {"model": "tensorzero::model_name::m"}
        if target.name == "portkey":
            target.headers |= {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}
        if target.name == "litellm":
            target.skipped["streams-500"] = "is through with 50 of these streams only after seconds"
        targets.append(target)
    return targets


def stop_peers():
    subprocess.run([os.path.join(HERE, "peers.sh"), "stop"], check=True)


def on(cpus):
    """For `preexec_fn`: the process and all that it starts stay there."""
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def bare(program, upstream, cpus, work):
    port = free_port()
    command = [program, "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream}"]
    server = Server("bare", command, port, os.path.join(work, "bare.log"), cpus).wait()
    return server, Target("bare", "Pingora, no filter", port, server.process.pid, note="1 thread")


def brainstem(program, upstream, cpus, work, classifier):
    port, name = free_port(), "brainstem" if classifier == "on" else "rules"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("BRAINSTEM_", "VICTORIA_", "MLX_"))}
    # As it comes it lets 1,024 connections of one address through; the idle streams are more.
    env |= {"BRAINSTEM_PROXY_THREADS": "1", "BRAINSTEM_CLASSIFIER_MODE": classifier, "BRAINSTEM_LIMITS_CONNECTIONS": "8000",
            "BRAINSTEM_LIMITS_CONNECTIONS_PER_ADDRESS": "8000"}
    admin = free_port()
    command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
               "--upstream", f"http://127.0.0.1:{upstream}"]
    server = Server(name, command, port, os.path.join(work, f"{name}.log"), cpus, env=env, admin=admin).wait()
    shown = "brainstem" if classifier == "on" else "brainstem, classifier off"
    target = Target(name, shown, port, server.process.pid, first_line([program, "--version"]).split()[-1], "1 proxy thread, 8,000 connections, else as shipped")
    return server, target
