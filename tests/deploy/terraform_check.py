"""`make terraform-check`: what Terraform itself can do without the AWS provider, which is not to be had everywhere.

It formats, and it runs the module of the policies, which needs no provider: what comes of it must be what policy.py
prints for the same pipeline. The rest of deploy/terraform is read by test_terraform.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy.iam.policy import ROLES, render

ROOT = Path(__file__).parents[2]
NAMES = (
    "CoordinatorTable",
    "DeliveryStreams",
    "Everything",
    "Keys",
    "LeaseTable",
    "LeaseTableIndex",
    "LogGroup",
    "Objects",
    "Queues",
    "StateBucket",
    "StateObjects",
    "StateTable",
    "Stream",
    "StreamConsumers",
    "StreamKey",
    "WorkersTable",
)
OPTIONAL = {"DeliveryStreams", "Keys", "Objects", "Queues", "StateBucket", "StateObjects", "StreamKey"}
CASES: dict[str, tuple[set[str], set[str]]] = {
    "bare": (OPTIONAL, set()),
    "full": (set(), {"firehose", "keys", "s3", "sqs", "state_bucket", "stream_key"}),
}
"""What a pipeline does not have, and the features that it therefore has."""
SWITCHES = ("create_lease_tables", "daemon_metrics", "fan_out")


def main() -> None:
    """Say what is not as it should be, and end with a status."""
    terraform = shutil.which("terraform")
    if terraform is None:
        sys.exit("terraform is not installed: install it, or leave the check to who has it")
    subprocess.run([terraform, "fmt", "-check", "-diff", "-recursive", ROOT / "deploy" / "terraform"], check=True)
    wrong = [
        f"{role}, {case}, {switches}"
        for role in ROLES
        for case in CASES
        for switches in ((), SWITCHES)
        if evaluated(terraform, role, case, switches) != rendered(role, case, switches)
    ]
    if wrong:
        sys.exit("another policy than policy.py gives: " + "; ".join(wrong))
    sys.stdout.write("deploy/terraform is formatted, and its policies are those of deploy/iam\n")


def arns(case: str) -> dict[str, list[str]]:
    return {name: [] if name in CASES[case][0] else [f"arn:of:{name}", f"arn:of:{name}:2"] for name in NAMES}


def rendered(role: str, case: str, switches: tuple[str, ...]) -> dict[str, Any]:
    return render(role, arns(case), CASES[case][1] | set(switches), "leases")


def evaluated(terraform: str, role: str, case: str, switches: tuple[str, ...]) -> dict[str, Any]:
    """Return what the module makes of it."""
    variables = {"role": role, "application": "leases", "arns": arns(case)} | dict.fromkeys(switches, True)
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(ROOT / "deploy" / "iam", Path(temporary, "iam"))
        module = shutil.copytree(ROOT / "deploy" / "terraform" / "policy", Path(temporary, "terraform", "policy"))
        (module / "terraform.tfvars.json").write_text(json.dumps(variables))
        for command in (["init"], ["apply", "-auto-approve"]):
            subprocess.run([terraform, f"-chdir={module}", *command], check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(
            [terraform, f"-chdir={module}", "output", "-raw", "json"], check=True, capture_output=True
        )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    main()
