"""A Kubernetes control plane of this machine alone: etcd, API server, controller manager, scheduler, on loopback."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumer.runtime import clock, launch

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 15.0
TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_HOST = "127.0.0.1"
_CALL_SECONDS_MAX = 300.0
_POLL_SECONDS = 0.5


class ClusterError(Exception):
    """The cluster, or what runs in it, does not do what it must; the message says what."""


def wait_for(condition: Callable[[], object], what: str, seconds_max: float) -> None:
    """Wait until the condition holds; ClusterError if it takes too long."""
    deadline = clock.monotonic() + seconds_max
    while not condition():
        if clock.monotonic() > deadline:
            raise ClusterError(f"waited {seconds_max:.0f} s in vain for {what}")
        clock.sleep(_POLL_SECONDS)


class Processes:
    """Processes that log to a folder and end with this one, the last one first. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.logs = directory / "log"
        self.logs.mkdir(parents=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        """Start a command. Must be called by the main thread: the process dies with that."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-ISs", launch.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """ClusterError if one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = (self.logs / f"{name}.log").read_text(errors="replace")
                raise ClusterError(f"{name} ended with status {process.returncode}: {log[-2000:]}")

    def stop(self, name: str) -> None:
        """Stop one, by force if it takes long."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)


def free_ports(number: int) -> Sequence[int]:
    """Return ports of the loopback address that nobody listens on."""
    sockets = [socket.create_server((_HOST, 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class ControlPlane:
    """The control plane and its administrator. `tools` has the programs that deploy/tools/build makes."""

    def __init__(self, processes: Processes, directory: Path, tools: Path) -> None:
        self.processes = processes
        self.tools = tools
        self.kubeconfig = directory / "kubeconfig"
        self._directory = directory
        self._etcd, self._peer, self._port, manager, scheduler, self.spare_port = free_ports(6)
        self._manager, self._scheduler = str(manager), str(scheduler)
        self._token = secrets.token_hex(16)
        self._files()

    def start(self) -> None:
        """Start all of it; return when it answers."""
        self._start_etcd()
        self._start_api_server()
        wait_for(self._answers, "the API server", START_SECONDS_MAX)
        self._start_controllers()
        wait_for(lambda: self.get("/api/v1/namespaces/default/serviceaccounts/default"), "controllers", 60)

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """Run kubectl; return what it says, ClusterError if it fails. `text` is its input."""
        done = subprocess.run(
            [self.tools / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_CALL_SECONDS_MAX,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout + ("" if check else done.stderr)

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Create or change these."""
        self.kubectl("apply", "-f", "-", text="\n---\n".join(map(json.dumps, manifests)))

    def get(self, path: str) -> Any:
        """Return what the API says, None if there is no such thing."""
        request = urllib.request.Request(f"https://{_HOST}:{self._port}{path}")
        request.add_header("Authorization", f"Bearer {self._token}")
        trust = ssl.create_default_context(cafile=str(self._directory / "certs" / "apiserver.crt"))
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)]
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def _files(self) -> None:
        key = self._directory / "accounts.key"
        command = ["openssl", "genrsa", "-out", str(key), "2048"]
        subprocess.run(command, check=True, capture_output=True)
        tokens = self._directory / "tokens.csv"
        tokens.write_text(f"{self._token},admin,admin,system:masters\n")
        tokens.chmod(0o600)
        cluster = {"server": f"https://{_HOST}:{self._port}", "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))
        self.kubeconfig.chmod(0o600)

    def _start_etcd(self) -> None:
        client, peer = f"http://{_HOST}:{self._etcd}", f"http://{_HOST}:{self._peer}"
        self.processes.start(
            "etcd",
            self.tools / "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--initial-cluster=default={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--listen-peer-urls={peer}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
        )

    def _start_api_server(self) -> None:
        issuer, key = "https://kubernetes.default.svc", self._directory / "accounts.key"
        self.processes.start(
            "kube-apiserver",
            self.tools / "kube-apiserver",
            f"--etcd-servers=http://{_HOST}:{self._etcd}",
            f"--bind-address={_HOST}",
            f"--advertise-address={_HOST}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._directory / 'certs'}",
            f"--service-account-issuer={issuer}",
            f"--api-audiences={issuer}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            # Else logs and exec look for the node's host name, which nobody resolves.
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _start_controllers(self) -> None:
        at = [f"--kubeconfig={self.kubeconfig}", f"--bind-address={_HOST}", "--leader-elect=false"]
        self.processes.start(
            "kube-controller-manager",
            self.tools / "kube-controller-manager",
            *at,
            f"--secure-port={self._manager}",
            f"--cert-dir={self._directory / 'certs-manager'}",
            f"--service-account-private-key-file={self._directory / 'accounts.key'}",
            f"--root-ca-file={self._directory / 'certs' / 'apiserver.crt'}",
            "--controllers=*,-nodeipam,-node-route-controller,-cloud-node-lifecycle-controller",
        )
        certificates = f"--cert-dir={self._directory / 'certs-scheduler'}"
        self.processes.start(
            "kube-scheduler", self.tools / "kube-scheduler", *at, f"--secure-port={self._scheduler}", certificates
        )

    def _answers(self) -> bool:
        self.processes.check()
        return (self._directory / "certs" / "apiserver.crt").exists() and self.get("/version") is not None
