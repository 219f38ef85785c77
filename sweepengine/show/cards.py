"""The answer of `fit` in a terminal: one card with a column for each device."""

from collections.abc import Mapping, Sequence

import polars as pl

from sweepengine.costs.spec_sheet import checkpoint_text
from sweepengine.data.devices import GIGA
from sweepengine.data.models import Model
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.shorthand import images_text
from sweepengine.search.declarations import declared
from sweepengine.search.fit import Card, Fit
from sweepengine.show.terminal import print_table, say

LENGTH_TITLES = {"prompt_tokens": "prompt tokens", "text_tokens": "text tokens",
           "cached_tokens": "cached tokens", "shared_tokens": "of them shared by all",
           "decode_steps": "tokens decoded"}  # fmt: skip
PERCENTILES = (("TTFT s: p50, p95, p99", "ttft_s", 1.0),
               ("device s: p50, p95, p99", "device_seconds", 1.0),
               ("KV cache MB: p50, p95, p99", "cache_bytes", 1e-6))  # fmt: skip
"""Rows for requests of many lengths: title, column, and unit."""
SIZED = " (set --max-num-seqs to the batch: its default leaves no room)"
BAR_WIDTH = 30
"""Characters of a memory bar."""


def show_fit(fitted: Fit, named: str) -> None:
    """Print the card; `named` is the model as the user named it."""
    model, cards = fitted.model, fitted.cards
    rows = [("devices", *(_devices(card) for card in cards))]
    rows += [("memory", *(memory_bar(card) for card in cards))]
    rows += [("W: weights, GB", *(_gb(_row(card)["weight_bytes"]) for card in cards))]
    rows += [("c: KV cache, GB", *(_cache(card) for card in cards))]
    rows += [("a: activations, runtime, GB", *(_activations(card) for card in cards))]
    rows += [("KV pool, tokens", *(_pool(card) for card in cards))]
    for tokens in cards[0].largest:
        most = (f"{card.largest[tokens]:,}" for card in cards)
        rows.append((f"max requests of {tokens // 1024}k tokens", *most))
    for i in range(max(card.served.height for card in cards)):
        rows.append(("batch: TTFT, TPOT", *(_latencies(card, i) for card in cards)))
    rows += [(f"{stage} bound by", *(bound_text(card.bound.get(stage, {})) for card in cards))
             for stage in ("prefill", "decode")]  # fmt: skip
    if fitted.lengths.requests > 1:
        rows += [(title, *(_percentiles(card, name, unit) for card in cards))
                 for title, name, unit in PERCENTILES]  # fmt: skip
    throughput = "pages/day" if model.has_vision else "output tokens/s"
    rows += [(throughput, *(_throughput(card, model) for card in cards))]
    title = (
        f"{model.name}: {model.parameter_count / 1e9:,.2f} billion parameters, "
        f"{model.kv_bytes_per_token:,} bytes of KV cache per token; "
        f"{lengths_text(fitted.lengths, model)}"
    )
    print_table(title, rows, ("", *(card.device.name for card in cards)))
    for basis in dict.fromkeys(card.basis for card in cards):
        say(basis)
    options = fitted.options
    checkpoint = f"checkpoint: {checkpoint_text(model.architecture)}"
    formats = checkpoint if options.precision == OWN else options.precision
    say(f"{formats}; {engines_text(cards)}")
    for note in fitted.notes:
        say(note)
    say(f"verify: {verifying(fitted, named)}")


def _row(card: Card) -> dict[str, float]:
    """Return the row of the largest batch."""
    return card.served.row(-1, named=True)


def _devices(card: Card) -> str:
    if not card.fits:
        return f"{card.layout}: does not fit"
    return f"{card.devices}, {card.layout}" if card.devices > 1 else "1"


def memory_bar(card: Card) -> str:
    """Draw weights, KV cache, activations and free memory of a device in characters."""
    row = _row(card)
    capacity = row["device_usable_bytes"]
    parts = {
        "W": row["weight_bytes"],
        "c": cache_bytes(row),
        "a": row["activation_bytes"] + row["runtime_bytes"],
    }
    drawn, filled = "", 0.0
    for letter, part in parts.items():
        filled += part
        drawn += letter * (min(round(filled / capacity * BAR_WIDTH), BAR_WIDTH) - len(drawn))
    over = "+" if filled > capacity else ""
    return f"[{drawn.ljust(BAR_WIDTH, '.')}{over}]"


def _gb(value: float) -> str:
    return f"{value / GIGA:,.1f}"


def cache_bytes(row: Mapping[str, float]) -> float:
    """Bytes of the KV cache of a batch, of a row of steady states."""
    return row["memory_bytes"] - (row["room_bytes"] - row["kv_pool_bytes"])


def _cache(card: Card) -> str:
    row = _row(card)
    return f"{_gb(cache_bytes(row))} of {row['batch_size']:,} requests"


def _activations(card: Card) -> str:
    row = _row(card)
    return f"{_gb(row['activation_bytes'])}, {_gb(row['runtime_bytes'])}"


def _pool(card: Card) -> str:
    """Tokens of the pool as the log of the serving engine prints them, or what lacks."""
    row = _row(card)
    if row["kv_pool_bytes"] < 0:
        return f"does not start: {-row['kv_pool_bytes'] / GIGA:,.1f} GB lack"
    tokens, longest = row["kv_pool_tokens"], row["request_tokens"]
    return f"{tokens:,} ({tokens / longest:,.2f} requests of {longest:,})"


def engines_text(cards: Sequence[Card]) -> str:
    """Describe the settings of the serving engine that memory is of."""
    rows = [_row(card) for card in cards]
    texts = [
        f"{row['memory_share']:.3g} of the memory, {row['max_sequences']:,} sequences, "
        f"{row['chunk_tokens']:,} tokens a pass{SIZED if card.sized else ''}"
        for card, row in zip(cards, rows, strict=True)
    ]
    if len(set(texts)) == 1:
        return f"the serving engine takes {texts[0]}"
    named = (f"{card.device.name} {text}" for card, text in zip(cards, texts, strict=True))
    return "the serving engine takes: " + "; ".join(named)


def _latencies(card: Card, i: int) -> str:
    if i >= card.served.height:
        return ""
    row = card.served.row(i, named=True)
    tpot = "" if row["tpot_s"] is None else f", {row['tpot_s'] * 1000:,.3g} ms"
    return f"{row['batch_size']:,}: {row['ttft_s'] * 1000:,.4g} ms{tpot}"


def _percentiles(card: Card, name: str, unit: float) -> str:
    rows = card.requests.filter(pl.col("share").is_in([0.5, 0.95, 0.99]))
    return ", ".join(f"{value * unit:,.3g}" for value in rows[name])


def bound_text(parts: Mapping[str, float]) -> str:
    """Describe the two largest shares of the time of a phase, by what bounds them."""
    return ", ".join(f"{name} {part:.0%}" for name, part in list(parts.items())[:2])


def _throughput(card: Card, model: Model) -> str:
    row = _row(card)
    if not card.fits:
        return ""
    rate = row["requests_per_day"] if model.has_vision else row["tokens_per_s"]
    return f"{rate:,.0f} at batch {row['batch_size']:,}"


def lengths_text(lengths: Lengths, model: Model) -> str:
    """Describe the requests."""
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
        names = [name for name in (*IMAGE_COLUMNS, "images") if name in model.inputs]
        shown.insert(0, images_text({n: int(lengths.column(n, model)[0]) for n in names}))
    return ", ".join(shown)


def verifying(fitted: Fit, named: str) -> str:
    """Return a command that checks the counts against torch, or shows the time of each operator."""
    if named.endswith(".json") or "/" in named:
        return f"sweepengine validate --config {named}"
    card = fitted.cards[0]
    batch = card.served["batch_size"][-1]
    words = ["sweepengine explain", f"--model {named}", f"--device {card.device.name}"]
    words += [f"--framework {fitted.options.framework} --serving continuous --batch-size {batch}"]
    lengths = fitted.lengths
    if lengths.requests == 1:
        values = dict(zip(lengths.columns, lengths.values[0].tolist(), strict=True))
        if values.get("crop_rows"):
            words.append(f"--crops {values['crop_rows']}x{values['crop_cols']}")
        if values.get("image_height"):
            words.append(f"--image {values['image_height']}x{values['image_width']}")
        words += [f"--{name.replace('_', '-')} {value}" for name, value in values.items()
                  if name.endswith(("tokens", "steps", "size", "images"))]  # fmt: skip
    if card.layout != "tp1":
        words.append(f"--layout {card.layout}")
    if fitted.options.precision != OWN:
        words.append(f"--precision {fitted.options.precision}")
    words += [
        f"{field.flag} {getattr(of, field.name)}"
        for of in (fitted.options.engine, fitted.options.speculation)
        for field in declared(type(of))
        if getattr(of, field.name) is not None
    ]
    if card.sized:
        words.append(f"--max-num-seqs {int(card.served['max_sequences'][-1])}")
    return " ".join(words)
