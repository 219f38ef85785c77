"""A model on devices as a card of few lines, for a terminal or to paste."""

from collections.abc import Mapping

import polars as pl

from sweepengine.data.devices import GIGA
from sweepengine.data.models import Model
from sweepengine.grid.axes import AXES
from sweepengine.grid.lengths import Lengths
from sweepengine.search.fit import Card, Fit
from sweepengine.show.terminal import print_table, say

LENGTH_TITLES = {"prompt_tokens": "prompt tokens", "text_tokens": "text tokens",
           "cached_tokens": "cached tokens", "decode_steps": "tokens decoded"}  # fmt: skip
SHARED = (("TTFT s of 50, 95, 99 %", "ttft_s", 1.0), ("device s of those", "device_seconds", 1.0),
          ("cache MB of those", "cache_bytes", 1e-6))  # fmt: skip
"""Of requests of many lengths: what so many of them see at most."""
BAR = 30
"""Characters of a memory bar."""


def show_fit(found: Fit, named: str) -> None:
    """Print a card: a column a device."""
    model, cards = found.model, found.cards
    rows = [("devices", *(_devices(card) for card in cards))]
    rows += [("memory", *(memory_bar(card) for card in cards))]
    rows += [("W weights, GB", *(_gb(_row(card)["weight_bytes"]) for card in cards))]
    rows += [("c cache, GB", *(_cache(card) for card in cards))]
    rows += [("a a prefill's, . free", *(_beside(card) for card in cards))]
    for tokens in cards[0].largest:
        most = (f"{card.largest[tokens]:,}" for card in cards)
        rows.append((f"most requests of {tokens // 1024}k", *most))
    for i in range(max(card.served.height for card in cards)):
        rows.append(("batch: TTFT, TPOT", *(_served(card, i) for card in cards)))
    rows += [(f"{stage} bound by", *(bound_text(card.bound.get(stage, {})) for card in cards))
             for stage in ("prefill", "decode")]  # fmt: skip
    if found.lengths.requests > 1:
        rows += [(title, *(_shares(card, name, unit) for card in cards))
                 for title, name, unit in SHARED]  # fmt: skip
    made = "pages a day" if model.has_vision else "output tokens/s"
    rows += [(made, *(_made(card, model) for card in cards))]
    title = (
        f"{model.name}: {model.parameter_count / 1e9:,.2f} billion parameters, "
        f"{model.kv_bytes_per_token:,} bytes of cache a token; {lengths_text(found.lengths, model)}"
    )
    print_table(title, rows, ("", *(card.device.name for card in cards)))
    for said in dict.fromkeys(card.basis for card in cards):
        say(said)
    serving = found.options.serving
    say(f"{found.formats}; engines take {serving.memory_share:.0%} of the memory")
    say(f"verify: {verifying(found, named)}")


def _row(card: Card) -> dict[str, float]:
    """The largest batch that a card shows."""
    return card.served.row(-1, named=True)


def _devices(card: Card) -> str:
    if not card.fits:
        return f"{card.layout}: does not fit"
    return f"{card.devices}, {card.layout}" if card.devices > 1 else "1"


def memory_bar(card: Card) -> str:
    """Weights, cache, activations and what is free of a device's memory, in characters."""
    row, whole = _row(card), card.device.memory_bytes
    parts = {
        "W": row["weight_bytes"],
        "c": row["memory_bytes"] - row["weight_bytes"] - row["prefill_bytes"],
        "a": row["prefill_bytes"],
    }
    drawn, filled = "", 0.0
    for letter, part in parts.items():
        filled += part
        drawn += letter * (min(round(filled / whole * BAR), BAR) - len(drawn))
    over = "+" if filled > whole else ""
    return f"[{drawn.ljust(BAR, '.')}{over}]"


def _gb(value: float) -> str:
    return f"{value / GIGA:,.1f}"


def _cache(card: Card) -> str:
    row = _row(card)
    held = row["memory_bytes"] - row["weight_bytes"] - row["prefill_bytes"]
    return f"{_gb(held)} of {row['batch_size']:,} requests"


def _beside(card: Card) -> str:
    row = _row(card)
    free = card.device.memory_bytes - row["memory_bytes"]
    return f"{_gb(row['prefill_bytes'])}, {_gb(free)}"


def _served(card: Card, i: int) -> str:
    if i >= card.served.height:
        return ""
    row = card.served.row(i, named=True)
    tpot = "" if row["tpot_s"] is None else f", {row['tpot_s'] * 1000:,.3g} ms"
    return f"{row['batch_size']:,}: {row['ttft_s'] * 1000:,.4g} ms{tpot}"


def _shares(card: Card, name: str, unit: float) -> str:
    kept = card.requests.filter(pl.col("share").is_in([0.5, 0.95, 0.99]))
    return ", ".join(f"{value * unit:,.3g}" for value in kept[name])


def bound_text(parts: Mapping[str, float]) -> str:
    """The two largest parts of a stage's time, by what binds them."""
    return ", ".join(f"{name} {part:.0%}" for name, part in list(parts.items())[:2])


def _made(card: Card, model: Model) -> str:
    row = _row(card)
    if not card.fits:
        return ""
    made = row["requests_per_day"] if model.has_vision else row["tokens_per_s"]
    return f"{made:,.0f} at batch {row['batch_size']:,}"


def lengths_text(lengths: Lengths, model: Model) -> str:
    """Requests in words."""
    if lengths.requests > 1:
        steps = lengths.mean("decode_steps", model)
        return f"{lengths.requests:,} lengths from {lengths.source}, {steps:,.0f} tokens decoded"
    values = {
        name: int(lengths.column(name, model)[0]) for name in LENGTH_TITLES if name in model.inputs
    }
    shown = [
        f"{values[name]:,} {title}" for name, title in LENGTH_TITLES.items() if values.get(name)
    ]
    if model.has_vision:
        rows, cols = (int(lengths.column(name, model)[0]) for name in AXES["crops"].columns)
        shown.insert(0, f"{rows}x{cols} crops" if rows else "an image without crops")
    return ", ".join(shown)


def verifying(found: Fit, named: str) -> str:
    """A command that checks a card: the counts against torch, or the times operator by operator."""
    if named.endswith(".json") or "/" in named:
        return f"sweepengine validate --config {named}"
    card = found.cards[0]
    batch = card.served["batch_size"][-1]
    asked = ["sweepengine explain", f"--model {named}", f"--device {card.device.name}"]
    asked += [f"--framework {found.options.framework} --serving continuous --batch-size {batch}"]
    lengths = found.lengths
    if lengths.requests == 1:
        values = dict(zip(lengths.columns, lengths.values[0].tolist(), strict=True))
        if values.get("crop_rows"):
            asked.append(f"--crops {values['crop_rows']}x{values['crop_cols']}")
        asked += [f"--{name.replace('_', '-')} {value}" for name, value in values.items()
                  if name.endswith(("tokens", "steps", "size"))]  # fmt: skip
    if card.layout != "tp1":
        asked.append(f"--layout {card.layout}")
    if found.options.precision != "checkpoint":
        asked.append(f"--precision {found.options.precision}")
    return " ".join(asked)
