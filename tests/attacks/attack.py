"""What an attack is, and the promise that each is held to."""

import os
import resource
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import fuzz

SECONDS = 300
"""How long a command may take before that counts as a hang."""
GRID = """name = "small"
[axes]
crops = ["none", "2x3"]
decode_steps = [0, 10, 100]
batch_size = [1, 8]
attention = ["eager", "flash"]
[targets]
ttft_s = 1.0
tpot_s = 0.05
"""
MODEL = 'extends = "deepseek-ocr-3b"\nname = "own"\ndescription = "d"\n'
CONFIG = """{"model_type": "qwen3", "hidden_size": 1024, "vocab_size": 1000, "head_dim": 128,
"intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 4,
"num_hidden_layers": 2, "hidden_act": "silu", "tie_word_embeddings": false,
"torch_dtype": "bfloat16"}
"""
Content = str | bytes | Callable[[Path], object]


class Attack(NamedTuple):
    """A command that a hostile user runs, and what must come of it."""

    group: str
    name: str
    arguments: Sequence[str | bytes]
    """Of the command; in a folder that holds `g.toml`, a dataset `data` of it, and `files`."""
    files: Mapping[str, Content] = {}
    """Path to content, or to a function that makes it; laid over what is there."""
    status: Sequence[int] = (2,)
    says: str = ""
    """What the line on stderr holds, whatever the case of its letters."""
    variables: Mapping[str, str] = {}
    limits: Mapping[str, int] = {}
    """Resource limits by their names: "NOFILE"."""
    leaves: Sequence[str] = ()
    """New files that may be there afterwards; each else counts as left behind."""
    output: str | None = None
    """What stdout must hold; None: whatever."""
    shell: str = ""
    """Run instead of the command: a shell's line, in which $SE is the command."""


def needs_process(attack: Attack) -> bool:
    """Whether an attack is on more than what a command reads: a shell, variables, limits."""
    needed = attack.shell or attack.variables or attack.limits
    return bool(needed) or not all(isinstance(argument, str) for argument in attack.arguments)


def in_own_process(attack: Attack, folder: Path) -> tuple[int, bytes, bytes]:
    """Status, stdout and stderr of the attack, in a process of its own."""
    executable = [sys.executable, "-m", "sweepengine"]
    variables = {**os.environ, **attack.variables, "SE": " ".join(executable)}

    def limit() -> None:
        for name, value in attack.limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            resource.setrlimit(kind, (value, value))

    command = ["bash", "-c", attack.shell] if attack.shell else [*executable, *attack.arguments]
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, timeout=SECONDS,
        preexec_fn=limit if attack.limits else None, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def in_this_process(attack: Attack, folder: Path) -> tuple[int, bytes, bytes]:
    """Status, stdout and stderr of the attack's command, within this process."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        status, *streams = fuzz.outcome([str(argument) for argument in attack.arguments])
    except Exception:
        return 1, b"", traceback.format_exc().encode()
    finally:
        os.chdir(before)
    out, error = (stream.encode() for stream in streams)
    return status, out, error


def cheapest(attack: Attack, folder: Path) -> tuple[int, bytes, bytes]:
    """The same, in a process of its own only where the attack needs one."""
    return (in_own_process if needs_process(attack) else in_this_process)(attack, folder)


def outcome(
    attack: Attack,
    folder: Path,
    run: Callable[[Attack, Path], tuple[int, bytes, bytes]] = in_own_process,
) -> str:
    """Run an attack in a folder of its own; what is wrong with how it ended, or nothing.

    Parameters
    ----------
    attack : Attack
    folder : Path
    run : callable
        Runs the attack; its status, stdout and stderr.
    """
    for path, content in attack.files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(place)
        elif isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.write_text(content, encoding="utf-8")
    before = _listed(folder)
    try:
        status, out, error = run(attack, folder)
    except subprocess.TimeoutExpired:
        return f"hangs for {SECONDS} seconds"
    said, printed = (stream.decode("utf-8", "replace") for stream in (error, out))
    problems = []
    if status not in attack.status:
        problems.append(f"status {status}, expected {attack.status}")
    lines = said.splitlines()
    if status and not attack.shell and len(lines) != 1:
        problems.append(f"{len(lines)} lines on stderr")
    if "Traceback" in said or "panicked" in said:
        problems.append("a traceback")
    if any(not character.isprintable() and character != "\n" for character in said):
        problems.append("control characters on stderr")
    if any(ord(c) < 32 and c not in "\n\r\t" for c in printed):
        problems.append("control characters on stdout")
    if attack.says.lower() not in said.lower():
        problems.append(f"does not say {attack.says!r}")
    if attack.output is not None and attack.output not in printed:
        problems.append(f"does not print {attack.output!r}: {printed[-300:]!r}")
    after = _listed(folder)
    left = [name for name in after if name not in before
            and not any(name.startswith(kept) for kept in attack.leaves)]  # fmt: skip
    if left:
        problems.append(f"left behind: {', '.join(left[:5])}")
    changed = [name for name, state in before.items() if after.get(name) != state
               and not any(name.startswith(kept) for kept in attack.leaves)]  # fmt: skip
    if changed:
        problems.append(f"changed: {', '.join(changed[:5])}")
    return f"{'; '.join(problems)}: {said.strip()[-400:]}" if problems else ""


def _listed(folder: Path) -> dict[str, object]:
    """Paths under a folder, with what tells whether they changed."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        if not path.is_dir():
            name = os.fsencode(path.relative_to(folder)).decode("utf-8", "replace")
            found[name] = (state.st_size, state.st_mtime_ns, state.st_mode)
    return found


def prepare(folder: Path) -> None:
    """Lay out what every attack finds: a grid, a dataset of it, a model and a config."""
    (folder / "g.toml").write_text(GRID)
    (folder / "own.toml").write_text(MODEL)
    (folder / "config.json").write_text(CONFIG)
    subprocess.run(
        [sys.executable, "-m", "sweepengine", "run", "g.toml", "--out", "data"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


def fresh(prepared: Path, folder: Path) -> Path:
    """A copy of what was prepared."""
    shutil.copytree(prepared, folder, symlinks=True)
    return folder
