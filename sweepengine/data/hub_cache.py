"""The local cache of the Hugging Face Hub: where the config.json of a repository lies."""

import os
import re
from pathlib import Path

CONFIG = "config.json"
"""Name of a Hugging Face model file; the folder that holds it names a model too."""
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""How the Hub names a repository: organisation and model."""
PREFIX = "models--"
"""Folders of models in the cache begin with this, then the repository with ``--`` for ``/``."""


def hub_cache() -> Path:
    """Folder of the cache: as `HF_HUB_CACHE` or `HF_HOME` say, or the Hub's default."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home or Path(caches) / "huggingface").expanduser() / "hub"


def cached_config(repository: str) -> Path | None:
    """The config.json of a repository in the cache; None where there is none.

    Of several revisions it is that of the branch `main`, else the one that was written last.
    """
    if not REPOSITORY.fullmatch(repository):
        return None
    folder = hub_cache() / (PREFIX + repository.replace("/", "--"))
    main = folder / "refs" / "main"
    try:
        revision = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
        configs = [path for path in folder.glob(f"snapshots/*/{CONFIG}") if path.is_file()]
        newest = sorted(configs, key=lambda path: path.stat().st_mtime)
    except (OSError, ValueError):
        return None
    of_main = [path for path in newest if path.parent.name == revision]
    return next(reversed(of_main or newest), None)


def repository_of(path: Path) -> str:
    """The repository that a file of the cache belongs to; empty for any other file."""
    folder = path.parent.parent.parent
    if path.parent.parent.name != "snapshots" or not folder.name.startswith(PREFIX):
        return ""
    return folder.name.removeprefix(PREFIX).replace("--", "/", 1)


def model_of(path: Path) -> str:
    """Name of the model of a config.json: that of its repository, of its folder or of the file."""
    if repository := repository_of(path):
        return repository.rpartition("/")[2]
    if path.name == CONFIG and path.parent.name:
        return path.parent.name
    return path.stem.removesuffix("_config")
