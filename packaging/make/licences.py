"""Writes the licences of the crates in the binary: licences.py METADATA.json >third-party-licences.txt

METADATA.json is what `cargo metadata --filter-platform TARGET` prints. A crate's texts are the files of its source; equal texts
are printed once, after the crates that have them.
"""

import json
import re
import sys
from pathlib import Path

NAMES = re.compile(r"^(licen[cs]e|copying|unlicense|notice|copyright)", re.IGNORECASE)


def crates(metadata: dict) -> list[dict]:
    """Returns the crates from the registry that the root package is built of, without those that only build or test it."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, open_ = set(), [root]
    while open_:
        for dependency in nodes[open_.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_linked and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                open_.append(dependency["pkg"])
    linked = (packages[id_] for id_ in found if packages[id_]["source"])
    return sorted(linked, key=lambda package: (package["name"], package["version"]))


def texts(package: dict) -> list[str]:
    folder = Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if NAMES.match(file.name) and file.is_file())
    return [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]


def main() -> None:
    metadata = json.loads(Path(sys.argv[1]).read_text())
    by_text: dict[str, list[str]] = {}
    print("Crates in entityd and their licences. The texts follow.\n")
    for package in crates(metadata):
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see its text'}")
        for text in texts(package):
            by_text.setdefault(text, []).append(name)
    print("\nSQLite, in libsqlite3-sys, is in the public domain.")
    for text, names in by_text.items():
        print(f"\n{'=' * 78}\n{', '.join(names)}\n{'-' * 78}\n{text}")


if __name__ == "__main__":
    main()
