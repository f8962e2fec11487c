"""Prints a CycloneDX 1.6 bill of materials: sbom.py METADATA.json Cargo.lock BINARY EPOCH >entityd.cdx.json

METADATA.json is what `cargo metadata --filter-platform TARGET` prints; EPOCH is the time of the document, in seconds.
"""

import hashlib
import json
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path

from licences import crates


def purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict, checksums: dict[tuple[str, str], str]) -> dict:
    """Describes a crate, with the checksum of its archive in the registry."""
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def main() -> None:
    metadata, lock, binary, epoch = sys.argv[1:]
    metadata = json.loads(Path(metadata).read_text())
    locked = tomllib.loads(Path(lock).read_text())["package"]
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in locked}
    linked = crates(metadata)
    packages = {package["id"]: package for package in metadata["packages"]}
    root = packages[metadata["resolve"]["root"]]
    refs = {package["id"]: purl(package) for package in [*linked, root]}
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    needs: dict[str, set[str]] = {}
    for node in metadata["resolve"]["nodes"]:
        # The workspace's packages are one component.
        dependent = refs.get(node["id"]) if packages[node["id"]]["source"] else purl(root)
        if dependent:
            needs.setdefault(dependent, set()).update(refs[id_] for id_ in node["dependencies"] if id_ in refs)
    depends = [{"ref": ref, "dependsOn": sorted(needs[ref])} for ref in sorted(needs)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": purl(root),
                "name": root["name"],
                "version": root["version"],
                "purl": purl(root),
                "licenses": [{"expression": root["license"]}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        },
        "components": [component(package, checksums) for package in linked],
        "dependencies": depends,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
