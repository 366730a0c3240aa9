"""Nodes of the cluster: ones that only pretend (kwok), or one whose pods really run (containerd, kubelet, CoreDNS)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.image.docker import Docker
from tests.cluster.plane import ClusterError, ControlPlane, Processes, wait_for

NODE = "node-0"
FAKE_TOOLS = ("kwok",)
REAL_TOOLS = ("kubelet", "coredns", "pause")
PAUSE_IMAGE = "streamgauge-pause:1"
DEBIAN = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
}
"""Programs that a real node needs, and Debian's packages of them."""
PLUGINS = Path("/usr/lib/cni")
_BRIDGE = "sg-cluster0"
_ADDRESS = "10.213.0.1"
_SUBNET = "10.213.0.0/24"
_ADDRESSES = " 10.213.0."
_CHAIN = "CNI-FORWARD"
_RESULTS = Path("/var/lib/cni/results")
"""Where containerd keeps what the plugins have made for each pod; of those that it does not end it stays there."""
_SECONDS_MAX = 90.0


def fake_nodes(plane: ControlPlane, number: int) -> None:
    """Add nodes whose pods get ready without running."""
    plane.processes.start(
        "kwok",
        plane.tools / "kwok",
        f"--kubeconfig={plane.kubeconfig}",
        f"--config={plane.tools / 'kwok-stages.yaml'}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{plane.spare_port}",
    )
    plane.apply(*(_fake_node(f"fake-{one}", f"zone-{one}") for one in range(number)))
    plane.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")


def _fake_node(name: str, zone: str) -> Mapping[str, Any]:
    room = {"cpu": "8", "memory": "32Gi", "pods": "50"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone}
    metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {},
        "status": {"allocatable": room, "capacity": room},
    }


def check_machine() -> None:
    """ClusterError, with the remedy, if a real node cannot run here."""
    if os.geteuid() != 0:
        raise ClusterError("a real node needs root: run it as root, in a virtual machine or a container of your own")
    missing = {package for program, package in DEBIAN.items() if shutil.which(program) is None}
    if not (PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        raise ClusterError(f"a real node needs programs that are missing: apt-get install {' '.join(sorted(missing))}")


@contextmanager
def real_node(plane: ControlPlane, directory: Path, docker: Docker, images: Sequence[str]) -> Iterator[None]:
    """Run a node with images of a Docker daemon, until the block ends.

    Pods reach each other, the node and its DNS, and nothing else; this machine reaches the pods. Network policies are
    stored, and not enforced.
    """
    node = _Node(plane, directory / "node", docker)
    try:
        node.start(images)
        yield
    finally:
        node.stop()


class _Node:
    def __init__(self, plane: ControlPlane, directory: Path, docker: Docker) -> None:
        self._plane = plane
        self._directory = directory
        self._docker = docker
        self._socket = directory / "containerd.sock"

    def start(self, images: Sequence[str]) -> None:
        processes = self._plane.processes
        (self._directory / "cni").mkdir(parents=True)
        self._write_files()
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{_ADDRESS}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        processes.start("containerd", _path("containerd"), "-c", self._directory / "containerd.toml")
        processes.start("coredns", self._plane.tools / "coredns", "-conf", self._directory / "Corefile")
        wait_for(self._socket.exists, "containerd", _SECONDS_MAX)
        self._load_images(images)
        self._start_kubelet(processes)
        wait_for(lambda: self._plane.get(f"/api/v1/nodes/{NODE}"), "the kubelet", _SECONDS_MAX)
        self._plane.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")

    def stop(self) -> None:
        """Stop everything, and leave no process, mount, interface or rule of a firewall behind."""
        processes = self._plane.processes
        processes.stop("kubelet")
        if self._socket.exists():
            listed = self._ctr("tasks", "ls", "-q", check=False)
            for task in listed.split():
                self._ctr("tasks", "kill", "-s", "KILL", task, check=False)
            wait_for(lambda: "RUNNING" not in self._ctr("tasks", "ls", check=False), "the end of all containers", 30)
            for task in listed.split():
                self._ctr("containers", "rm", task, check=False)
                for result in _RESULTS.glob(f"*-{task}-*"):
                    result.unlink()
        processes.stop("coredns")
        processes.stop("containerd")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self._directory}/")), reverse=True):
            _run("umount", "--lazy", mount, check=False)
        _run("ip", "link", "del", _BRIDGE, check=False)
        for rule in _run("iptables", "-S", _CHAIN, check=False).splitlines():
            if _ADDRESSES in rule:
                _run("iptables", *rule.replace("-A", "-D", 1).split(), check=False)

    def _start_kubelet(self, processes: Processes) -> None:
        processes.start(
            "kubelet",
            self._plane.tools / "kubelet",
            f"--kubeconfig={self._plane.kubeconfig}",
            f"--config={self._directory / 'kubelet.json'}",
            f"--root-dir={self._directory / 'kubelet'}",
            f"--cert-dir={self._directory / 'certs'}",
            f"--hostname-override={NODE}",
            f"--node-ip={_ADDRESS}",
        )

    def _load_images(self, images: Sequence[str]) -> None:
        if not self._docker.has_image(PAUSE_IMAGE):
            pause = self._directory / "pause.tar"
            _run("tar", "-C", str(self._plane.tools), "-cf", str(pause), "pause")
            self._docker.run("import", "--change", 'ENTRYPOINT ["/pause"]', str(pause), PAUSE_IMAGE)
        for image in (PAUSE_IMAGE, *images):
            archive = self._directory / "image.tar"
            self._docker.run("save", "--output", str(archive), image)
            self._ctr("images", "import", str(archive))
            archive.unlink()

    def _ctr(self, *arguments: str, check: bool = True) -> str:
        return _run("ctr", "--address", str(self._socket), "--namespace", "k8s.io", *arguments, check=check)

    def _write_files(self) -> None:
        at = self._directory
        (at / "containerd.toml").write_text(_CONTAINERD.format(at=at, plugins=PLUGINS, pause=PAUSE_IMAGE))
        (at / "kubelet.json").write_text(json.dumps(_kubelet(at)))
        (at / "Corefile").write_text(_COREFILE.format(address=_ADDRESS, kubeconfig=self._plane.kubeconfig))
        (at / "cni" / "10-bridge.conflist").write_text(json.dumps(_network(at)))


_CONTAINERD = """\
version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/library/{pause}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{at}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
_COREFILE = """\
.:53 {{
  bind {address}
  kubernetes cluster.local {{
    kubeconfig {kubeconfig} test
    pods insecure
  }}
  cache 5
}}
"""


def _kubelet(at: Path) -> Mapping[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": _ADDRESS,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{at}/containerd.sock",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": f"{at}/podlogs",
        "clusterDNS": [_ADDRESS],
        "clusterDomain": "cluster.local",
    }


def _network(at: Path) -> Mapping[str, Any]:
    # No masquerading and no default route: pods reach the node and each other. The firewall plugin lets them do so
    # where Docker's rules would drop what is forwarded.
    addresses = {
        "type": "host-local",
        "dataDir": f"{at}/addresses",
        "ranges": [[{"subnet": _SUBNET}]],
    }
    bridge = {"type": "bridge", "bridge": _BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {
        "cniVersion": "0.4.0",
        "name": "streamgauge",
        "plugins": [
            bridge,
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "firewall", "backend": "iptables"},
        ],
    }


def _path(program: str) -> str:
    found = shutil.which(program)
    assert found is not None, "check_machine has looked for it"
    return found


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
