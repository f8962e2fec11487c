"""Writes a container image from one directory: image.py ROOT OUTPUT.tar VERSION ARCHITECTURE EPOCH

OUTPUT.tar is an OCI image layout, and also what `docker load` and `podman load` read. It has one layer, ROOT with every file
owned by root but `data`, which belongs to user 65532. The same input gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

USER = 65532
NAME = "entityd"


def layer(root: Path, epoch: int) -> bytes:
    """Returns the uncompressed layer: paths in order, times cut to `epoch`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.mtime = epoch
            entry.uname = entry.gname = ""
            entry.uid = entry.gid = USER if entry.name == "data" else 0
            entry.mode = 0o700 if entry.name == "data" else 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            if entry.isfile():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    return out.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config(version: str, architecture: str, created: str, diff_id: str) -> dict:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/entityd"],
            "Cmd": ["serve"],
            "WorkingDir": "/data",
            "Env": [
                "PATH=/",
                "ENTITYD_DATA_DIR=/data",
                "ENTITYD_LISTEN=0.0.0.0:8851",
                "ENTITYD_S3_LISTEN=0.0.0.0:8852",
                "ENTITYD_OPS_LISTEN=0.0.0.0:8853",
            ],
            "ExposedPorts": {"8851/tcp": {}, "8852/tcp": {}, "8853/tcp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": NAME,
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.created": created,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "packaging/build"}],
    }


def as_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main() -> None:
    root, output, version, architecture, epoch = sys.argv[1:]
    created = datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    plain = layer(Path(root), int(epoch))
    blob = gzip.compress(plain, compresslevel=6, mtime=0)
    configuration = as_json(config(version, architecture, created, digest(plain)))
    blobs = {digest(blob): blob, digest(configuration): configuration}

    def descriptor(kind: str, content: bytes, **more: object) -> dict:
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest(content),
            "size": len(content),
            **more,
        }

    manifest = as_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", configuration),
            "layers": [descriptor("layer.v1.tar+gzip", blob)],
        }
    )
    blobs[digest(manifest)] = manifest
    names = {
        "io.containerd.image.name": f"docker.io/library/{NAME}:{version}",
        "org.opencontainers.image.ref.name": version,
    }
    platform = {"architecture": architecture, "os": "linux"}
    index = as_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor("manifest.v1+json", manifest, annotations=names, platform=platform)],
        }
    )
    at = {name: f"blobs/{name.replace(':', '/')}" for name in blobs}
    legacy = as_json(
        [{"Config": at[digest(configuration)], "RepoTags": [f"{NAME}:{version}"], "Layers": [at[digest(blob)]]}]
    )
    files = {at[name]: content for name, content in blobs.items()}
    files |= {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": index, "manifest.json": legacy}
    with tarfile.open(output, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ["blobs", "blobs/sha256"]:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(epoch)
            tar.addfile(entry)
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, int(epoch)
            tar.addfile(entry, io.BytesIO(files[name]))


if __name__ == "__main__":
    main()
