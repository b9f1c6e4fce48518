"""Lays out the embedded store's volume before versitygw starts on it.

`objects/` holds a folder per bucket, `versions/` older versions of objects. With --samples there
is a bucket `samples` with the Python standard library's own source below `python/`: real text that
every image with Python has. It runs on nothing but that library, with no network.
"""

import argparse
import errno
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PACKAGES = frozenset(
    {
        "asyncio",
        "collections",
        "concurrent",
        "ctypes",
        "dbm",
        "email",
        "html",
        "http",
        "importlib",
        "json",
        "logging",
        "multiprocessing",
        "pathlib",
        "re",
        "sqlite3",
        "string",
        "sysconfig",
        "tomllib",
        "unittest",
        "urllib",
        "wsgiref",
        "xml",
        "xmlrpc",
        "zipfile",
        "zoneinfo",
    }
)
TESTS = frozenset({"test", "tests"})
ETAG = "user.etag"
"""Where versitygw keeps the ETag; without it two samples could not be told apart."""


def library_sources(library: Path) -> Iterator[Path]:
    """The standard library's modules and the packages named above, without tests."""
    yield from sorted(library.glob("*.py"))
    for package in sorted(PACKAGES):
        for path in sorted((library / package).rglob("*.py")):
            if TESTS.isdisjoint(path.relative_to(library).parts):
                yield path


def lay_down(source: Path, destination: Path) -> int:
    """Copy one file as the object that versitygw would have made; its bytes."""
    content = source.read_bytes()
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_bytes(content)
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    os.setxattr(destination, ETAG, f'"{etag}"'.encode())
    return len(content)


def prepare(data: Path, samples: bool) -> str:
    """Make the folders, and the samples once; a sentence that says what was done."""
    objects = data / "objects"
    objects.mkdir(exist_ok=True)
    (data / "versions").mkdir(exist_ok=True)
    bucket = objects / "samples" / "python"
    if not samples or bucket.exists():
        return f"Store laid out at {data}"
    library = Path(sysconfig.get_path("stdlib"))
    draft = data / "samples.draft"
    sizes = [
        lay_down(source, draft / source.relative_to(library)) for source in library_sources(library)
    ]
    bucket.parent.mkdir(exist_ok=True)
    draft.rename(bucket)
    return f"Store laid out at {data}, with {len(sizes)} samples of {sum(sizes)} bytes"


def main() -> int:
    """The exit status; 1 with a sentence if the volume cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the volume")
    parser.add_argument("--samples", action="store_true", help="make the bucket `samples`")
    options = parser.parse_args()
    try:
        print(prepare(options.data, options.samples))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        print(
            f"The volume at {options.data} keeps no extended attributes, which the embedded store "
            "needs: choose another storage class.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
