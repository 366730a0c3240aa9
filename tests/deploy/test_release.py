"""What `make dist` builds: the same bytes each time, with everything in it; and that there is one version."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer import __version__
from deploy.release import build
from deploy.release.archives import files_below, read_tar_gz, tar_gz
from deploy.release.sbom import bill, jars_of

ROOT = Path(__file__).parents[2]
JARS = jars_of(ROOT / "consumer" / "runtime" / "jars.json")


def test_an_archive_knows_no_time_no_owner_and_no_order(tmp_path: Path) -> None:
    for name in ("b", "a", "__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    first = tar_gz(files_below(tmp_path))
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(0o600)
    assert tar_gz(files_below(tmp_path)) == first == tar_gz({"b": b"b", "a": b"a"})
    assert read_tar_gz(first) == {"a": b"a", "b": b"b"}


def package(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    build._package(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_package_has_what_it_needs(tmp_path: Path) -> None:
    made = package(tmp_path / "first")
    wheel, source = f"{build.NAME}-py3-none-any.whl", f"{build.NAME}.tar.gz"
    assert set(made) == {wheel, source}
    with zipfile.ZipFile(tmp_path / "first" / wheel) as archive:
        names = set(archive.namelist())
    needed = {"cli.py", "py.typed", "runtime/jars.json", "runtime/paced/paced.jar"}
    assert {f"consumer/{name}" for name in needed} <= names
    assert {f"{build.NAME}.dist-info/licenses/LICENSE", f"{build.NAME}.dist-info/entry_points.txt"} <= names
    inside = {name.removeprefix(f"{build.NAME}/") for name in read_tar_gz(made[source])}
    assert {name for name in names if ".dist-info/" not in name} <= inside
    assert {"pyproject.toml", "LICENSE", "README.md"} <= inside


@pytest.mark.deep
def test_the_package_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    """As workflow files test it of all that `make dist` builds."""
    assert package(tmp_path / "first") == package(tmp_path / "second")


def test_the_chart_is_as_helm_takes_it() -> None:
    files = read_tar_gz(build.chart())
    assert {"streamgauge/Chart.yaml", "streamgauge/values.yaml", "streamgauge/values.schema.json"} <= set(files)
    assert {name.partition("/")[0] for name in files} == {"streamgauge"}
    assert not [name for name in files if name.endswith((".helmignore", ".pyc"))]


def test_the_archive_of_observability_has_boards_and_rules() -> None:
    files = read_tar_gz(build.observability())
    assert "alerts.yaml" in files
    boards = [json.loads(data) for name, data in files.items() if name.startswith("dashboards/")]
    assert boards
    assert all("panels" in board for board in boards)


def test_the_module_of_terraform_finds_the_policies_in_the_archive() -> None:
    files = read_tar_gz(build.templates())
    assert "${path.module}/../../iam/${var.role}.yaml" in files["terraform/policy/main.tf"].decode()
    assert {"iam/worker.yaml", "iam/lambda.yaml", "ecs/template.yaml", "lambda/template.yaml"} <= set(files)


@pytest.fixture(scope="module")
def components() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(build.sbom())["components"]
    return found


def test_the_bill_has_every_package_of_the_lock_with_its_hashes(components: list[dict[str, Any]]) -> None:
    lock = (ROOT / "requirements" / "worker.txt").read_text()
    found = [each for each in components if each["purl"].startswith("pkg:pypi/")]
    assert [f"{each['name']}=={each['version']}" for each in found] == re.findall(
        r"^[\w.-]+==[^ ;]+", lock, re.MULTILINE
    )
    assert sum(len(each["hashes"]) for each in found) == lock.count("--hash=sha256:")


def test_the_bill_has_every_jar_with_its_hash(components: list[dict[str, Any]]) -> None:
    found = {each["properties"][0]["value"]: each for each in components if "pypi" not in each["purl"]}
    assert {name: each["hashes"] for name, each in found.items()} == {
        name: [{"alg": "SHA-256", "content": sha256}] for name, sha256 in JARS.items()
    }
    client = found["amazon-kinesis-client-3.1.3.jar"]
    assert client["purl"] == "pkg:maven/software.amazon.kinesis/amazon-kinesis-client@3.1.3"
    assert client["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_most_of_the_bill_says_its_licence_and_each_part_has_a_name_of_its_own(
    components: list[dict[str, Any]],
) -> None:
    assert sum("licenses" in each for each in components) > 0.9 * len(components)
    names = [each["bom-ref"] for each in components]
    assert len(names) == len(set(names))


def test_a_package_that_is_of_another_platform_is_listed_all_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "no-such-package==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
    )
    (only,) = bill(lock, {}, tmp_path)["components"]
    assert only["purl"] == "pkg:pypi/no-such-package@1.0"
    assert [each["content"] for each in only["hashes"]] == ["00", "11"]
    assert only["properties"] == [{"name": "streamgauge:marker", "value": 'sys_platform == "win32"'}]


def test_there_is_one_version() -> None:
    """Of consumer/__init__.py; the package takes it from there."""
    chart = YAML(typ="safe").load(ROOT / "helm" / "streamgauge" / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert 'version = { attr = "consumer.__version__" }' in (ROOT / "pyproject.toml").read_text()
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.*"),
        *(ROOT / "helm").rglob("*.*"),
    ]
    told = {
        (page.name, version)
        for page in pages
        if page.is_file() and page.suffix in {".md", ".yaml", ".yml", ".json", ".tf", ".txt"}
        for version in re.findall(
            r"(?:streamgauge(?:-lambda)?:|streamgauge-|[?]ref=v)(\d+\.\d+\.\d+)\b", page.read_text()
        )
    }
    assert {version for _, version in told} == {__version__}, told
