"""Keys lying as files in a folder, as a Secret volume lays them down."""

from pathlib import Path


def read_keys(folder: Path, *names: str) -> list[str]:
    """Several keys of one generation of the Secret, read anew at every call.

    The kubelet swaps the link `..data`: what is read below its target belongs together.
    """
    generation = (folder / "..data").resolve()
    source = generation if generation.is_dir() else folder
    return [
        (source / name).read_text().strip() if (source / name).is_file() else "" for name in names
    ]
