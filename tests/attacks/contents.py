"""Contents of files that hostile users have, and what makes some of them."""

import os
import stat
from pathlib import Path

from tests.manifests import text_of, with_text

SMALL = 'name = "x"\n[axes]\n'
MANY = SMALL + "crops = {min = 2, max = 29}\ndecode_steps = {start = 1, stop = 4000, step = 1}\n"
BIG = str(2**70)
LONG = "9" * 5_000
DEVICE = """schema_version = 1
name = "own"
description = ""
tensor_bf16 = {value = 100.0, unit = "TFLOP/s", source = "s"}
cuda_fp32 = {value = 10.0, unit = "TFLOP/s", source = "s"}
bandwidth = {value = 1000.0, unit = "GB/s", source = "s"}
memory = {value = 80.0, unit = "GB", source = "s"}
"""
SLO = ("--device", "h100-sxm", "--ttft", "1", "--tpot", "0.05")


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def link_to(target: str):
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


def large(size: int):
    """A sparse file."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def read_only(path: Path) -> None:
    """A file that is precious."""
    path.write_text("precious")
    path.chmod(stat.S_IRUSR)


def copy_of_data(path: Path) -> None:
    """The dataset that is there, under another name."""
    root = next(parent for parent in path.parents if (parent / "data").is_dir())
    path.mkdir(parents=True)
    for file in (root / "data").iterdir():
        (path / file.name).write_bytes(file.read_bytes())


def manifest_with(old: str, new: str):
    """Change the text of a manifest."""

    def make(path: Path) -> None:
        text = text_of(path.read_bytes())
        assert old in text, old
        path.write_bytes(with_text(path.read_bytes(), text.replace(old, new, 1)))

    return make


def manifest_of(text: str | bytes):
    """Another text as the JSON of a manifest."""

    def make(path: Path) -> None:
        path.write_bytes(with_text(path.read_bytes(), text))

    return make
