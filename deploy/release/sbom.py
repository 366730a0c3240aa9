"""The bill of materials, in CycloneDX 1.6: what the worker's image has of Python packages and jars, with their hashes.

Python packages are those of a lock, with the hashes of every file that the lock allows. Jars are those of
consumer/runtime/jars.json. Licences, and the Maven names of jars, are what the installed packages and jars say of
themselves; where they say nothing, nothing is said.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from consumer import __version__

Component = dict[str, Any]
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "BSD-3-Clause": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT": "MIT",
    "MIT License": "MIT",
    "The Apache License, Version 2.0": "Apache-2.0",
    "The Apache Software License, Version 2.0": "Apache-2.0",
    "The MIT License": "MIT",
    "http://www.eclipse.org/legal/epl-v10.html": "EPL-1.0",
    "http://www.opensource.org/licenses/mit-license.php": "MIT",
    "https://aws.amazon.com/apache2.0": "Apache-2.0",
    "https://opensource.org/licenses/BSD-3-Clause": "BSD-3-Clause",
}
"""Names that packages give to licences, and their SPDX identifiers."""
_OF_GROUPS = {
    "org.apache.httpcomponents": "Apache-2.0",
    "software.amazon.awssdk": "Apache-2.0",
    "software.amazon.kinesis": "Apache-2.0",
}
"""What the parents of Maven projects say, which are not in the jars."""


def bill(lock: Path, jars: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Return the bill of a lock and of jars (file name to SHA-256), which are looked into in `folder`."""
    components = [*_packages(lock.read_text()), *(_jar(name, jars[name], folder) for name in sorted(jars))]
    root = f"pkg:pypi/streamgauge@{__version__}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "streamgauge",
                "version": __version__,
                "purl": root,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def jars_of(file: Path) -> dict[str, str]:
    """Return the jars that jars.json names, and their SHA-256."""
    named: dict[str, str] = json.loads(file.read_text())["sha256"]
    return named


def _packages(lock: str) -> Iterator[Component]:
    for entry in re.split(r"\n(?=\S)", lock.replace("\\\n", "").strip()):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", entry.strip())
        yield _package(Requirement(requirement), hashes)


def _package(requirement: Requirement, hashes: Iterable[str]) -> Component:
    (pin,) = requirement.specifier
    purl = f"pkg:pypi/{requirement.name.lower().replace('_', '-')}@{pin.version}"
    marker = [{"name": "streamgauge:marker", "value": str(requirement.marker)}] if requirement.marker else []
    return {
        "type": "library",
        "bom-ref": purl,
        "name": requirement.name,
        "version": pin.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": each.strip()} for each in hashes],
        **_licences_of_package(requirement.name),
        **({"properties": marker} if marker else {}),
    }


def _licences_of_package(name: str) -> Component:
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return {}  # of another platform
    if "License-Expression" in metadata:
        return {"licenses": [{"expression": metadata["License-Expression"]}]}
    classifiers = [each for each in metadata.get_all("Classifier") or () if each.startswith("License ::")]
    licence = classifiers[-1].rpartition(" :: ")[2] if classifiers else ""
    if not licence and "License" in metadata:
        licence = metadata["License"]
    return _licences(licence if "\n" not in licence else None)


def _jar(name: str, sha256: str, folder: Path) -> Component:
    group, artifact, version, licence = _inside(folder / name)
    stem, _, rest = name.removesuffix(".jar").rpartition("-")
    version = version or rest
    place = f"{group}/{artifact}" if group else stem
    purl = f"pkg:maven/{place}@{version}" if group else f"pkg:generic/{stem}@{version}"
    return {
        "type": "library",
        "bom-ref": f"{purl}#{name}",
        **({"group": group} if group else {}),
        "name": artifact or stem,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        **_licences(licence),
        "properties": [{"name": "streamgauge:file", "value": name}],
    }


def _inside(jar: Path) -> tuple[str, str, str, str | None]:
    """Return a jar's group, artifact, version and licence, as far as it tells; '' and None where it does not."""
    with zipfile.ZipFile(jar) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"META-INF/maven/.*/pom\.properties", name)]
        manifest = archive.read("META-INF/MANIFEST.MF").decode(errors="replace").replace("\r\n ", "").replace("\n ", "")
        found = [
            dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", archive.read(each).decode(), re.MULTILINE)) for each in names
        ]
        own = [each for each in found if jar.name == f"{each['artifactId']}-{each['version']}.jar"]
        if not own:
            return "", "", "", _licence_of_manifest(manifest)
        (names_itself, *_) = own
        place = f"META-INF/maven/{names_itself['groupId']}/{names_itself['artifactId']}/pom.xml"
        pom = archive.read(place).decode(errors="replace") if place in archive.namelist() else ""
    licence = re.search(r"<license>\s*<name>\s*(.*?)\s*</name>", pom, re.DOTALL)
    told = licence[1] if licence else _licence_of_manifest(manifest) or _OF_GROUPS.get(names_itself["groupId"])
    return names_itself["groupId"], names_itself["artifactId"], names_itself["version"], told


def _licence_of_manifest(manifest: str) -> str | None:
    found = re.search(r"^Bundle-License:\s*\"?([^\";,\r\n]+)", manifest, re.MULTILINE)
    return found[1].strip() if found else None


def _licences(named: str | None) -> Component:
    if not named:
        return {}
    if spdx := _SPDX.get(named):
        return {"licenses": [{"license": {"id": spdx}}]}
    if "apache.org/licenses/LICENSE-2.0" in named:
        return {"licenses": [{"license": {"id": "Apache-2.0"}}]}
    return {"licenses": [{"license": {"name": named}}]}
