"""Images of one static program each (pause, CoreDNS), packed without an image builder."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image_name(binary: Path) -> str:
    """The name of the image of `binary`; its tag is the hash that names the binary's folder."""
    return f"localhost/llmcloud/{binary.name}:{binary.parent.name}"


def add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def pack(binary: Path, archive: Path) -> None:
    """Write an OCI image archive whose only file, and entrypoint, is `binary` at the root."""
    machine = os.uname().machine
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as layer_archive:
            add(layer_archive, binary.name, binary.read_bytes(), mode=0o755)
        layer = buffer.getvalue()
    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [f"/{binary.name}"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", configuration),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    entry = {
        **descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
        "annotations": {"io.containerd.image.name": image_name(binary)},
    }
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    with tarfile.open(archive, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add(tar, "index.json", index)
        for blob in (layer, configuration, manifest):
            add(tar, f"blobs/sha256/{digest(blob).removeprefix('sha256:')}", blob)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}
