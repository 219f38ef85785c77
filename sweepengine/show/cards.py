"""The answer of `fit` in a terminal: one card with a column for each device."""

from collections.abc import Mapping, Sequence

import polars as pl

from sweepengine.costs.spec_sheet import checkpoint_text
from sweepengine.costs.time_parts import PARTS
from sweepengine.data.devices import GIGA
from sweepengine.data.models import Model
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.lengths import Lengths, condensed
from sweepengine.grid.shorthand import images_text
from sweepengine.search.concurrency import MEETS
from sweepengine.search.declarations import declared
from sweepengine.search.fit import Card, Fit
from sweepengine.search.options import FitOptions
from sweepengine.show.terminal import print_table, say, say_command, say_text, three_digits

LENGTH_TITLES = {"prompt_tokens": "prompt tokens", "text_tokens": "text tokens",
           "cached_tokens": "cached tokens", "shared_tokens": "of them shared by all",
           "decode_steps": "tokens decoded"}  # fmt: skip
PERCENTILES = (("TTFT s: p50, p95, p99", "ttft_s", 1.0),
               ("device s: p50, p95, p99", "device_seconds", 1.0),
               ("KV MB: p50, p95, p99", "cache_bytes", 1e-6))  # fmt: skip
"""Rows for requests of many lengths: title, column, and unit."""
SIZED = "; set --max-num-seqs to the batch, as its default leaves no room"
BAR_WIDTH = 22
"""Characters of a memory bar."""
WIDTH = 80
"""Characters of a line of the card."""
MOST_COLUMNS = 2
"""Devices beside each other; more stand below them."""


def show_fit(fitted: Fit, named: str) -> None:
    """Print the card; `named` is the model as the user named it."""
    model, options = fitted.model, fitted.options
    _say(
        f"{model.name}: {model.parameter_count / 1e9:,.2f} billion parameters, "
        f"{model.kv_bytes_per_token:,} bytes of KV cache per token; "
        f"{lengths_text(fitted.lengths, model)}"
    )
    for first in range(0, len(fitted.cards), MOST_COLUMNS):
        cards = fitted.cards[first : first + MOST_COLUMNS]
        title = "" if first else asked_text(options)
        print_table(title, _rows(fitted, cards), ("", *(card.device.name for card in cards)))
    say()
    for basis in dict.fromkeys(card.basis for card in fitted.cards):
        _say(basis)
    for card in fitted.cards:
        if (nodes := nodes_of(card)) > 1:
            _say(f"{card.device.name}: {card.devices} devices are {nodes} nodes, joined by their "
                 "network: is that what you would run?")  # fmt: skip
    checkpoint = f"checkpoint: {checkpoint_text(model.architecture)}"
    formats = checkpoint if options.precision == OWN else options.precision
    _say(f"{formats}; {engines_text(fitted.cards)}")
    for note in fitted.notes:
        _say(note)
    mean = " (a request of mean lengths)" if fitted.lengths.requests > 1 else ""
    say_command(f"verify{mean}: {verifying(fitted, named)}")
    if model.file is not None and model.file.suffix == ".json":
        say_command(f"counts against torch: sweepengine validate --config {named}")


def _say(text: str) -> None:
    """Print a text in lines of at most `WIDTH` characters, in a pipe too."""
    say_text(text, most=WIDTH)


def asked_text(options: FitOptions) -> str:
    """Describe what the card answers."""
    targets = options.targets
    texts = [
        f"targets: TTFT {targets.ttft_s * 1000:,.4g} ms",
        f"TPOT {targets.tpot_s * 1000:,.4g} ms",
    ]
    if options.users is not None:
        texts.append(f"{options.users:,} requests at once")
    if options.rate is not None:
        texts.append(f"{options.rate:,.4g} requests/s")
    return ", ".join(texts)


def nodes_of(card: Card) -> int:
    """Nodes of a layout; 1 for a device without links."""
    links = card.device.links
    return 1 if links is None else ceil_div(card.devices, links.devices_a_node)


def _rows(fitted: Fit, cards: Sequence[Card]) -> list[tuple[str, ...]]:
    """Rows of a table with a column for each card."""
    model, longest = fitted.model, int(_row(cards[0])["request_tokens"])
    rows: list[tuple[str, ...]] = [("devices", *map(_devices, cards))]
    rows += [("within the targets?", *map(verdict_text, cards))]
    throughput = "pages/day" if model.has_vision else "output tokens/s"
    rows += [(throughput, *(_throughput(card, model) for card in cards))]
    rows += [("batch: TTFT, TPOT ms", *("* meets the targets" for _ in cards))]
    for i in range(max(card.served.height for card in cards)):
        rows.append(("", *(_latencies(card, i) for card in cards)))
    whose = "parts of TTFT, TPOT ms" if fitted.lengths.requests == 1 else "parts, mean request, ms"
    rows += [(whose, *(f"at batch {card.verdict.batch:,}" for card in cards))]
    names = [name for name in PARTS if any(name in card.parts.names for card in cards)]
    rows += [(f"  {name}", *(_part(card, name) for card in cards)) for name in names]
    rows += [(f"{what} limited by", *(_limit(card, what) for card in cards))
             for what in cards[0].parts.limits]  # fmt: skip
    rows += [("memory, GB", *map(memory_bar, cards))]
    rows += [("W: weights", *(_gb(_row(card)["weight_bytes"]) for card in cards))]
    rows += [("c: KV cache", *map(_cache, cards))]
    rows += [("a: activations, graphs", *map(_activations, cards))]
    rows += [("a: runtime", *(_gb(_row(card)["runtime_bytes"]) for card in cards))]
    rows += [("KV cache size, tokens", *map(_pool, cards))]
    rows += [(f"requests of {longest:,} tokens", *map(_at_once, cards))]
    for tokens in cards[0].largest:
        most = (f"{card.largest[tokens]:,}" for card in cards)
        rows.append((f"requests of {tokens:,} tokens", *most))
    if fitted.lengths.requests > 1:
        rows += [(title, *(_percentiles(card, name, unit) for card in cards))
                 for title, name, unit in PERCENTILES]  # fmt: skip
    return rows


def verdict_text(card: Card) -> str:
    """Say whether a replica meets the targets, and with how many requests at once."""
    found = card.verdict
    return f"yes, {found.batch:,} at once" if found.yes else f"no: {found.reason}"


def _part(card: Card, name: str) -> str:
    return ", ".join(three_digits(of.get(name, 0.0) * 1000) for of in card.parts if of)


def _limit(card: Card, what: str) -> str:
    if what not in card.parts.limits:
        return ""
    part, share = card.parts.limits[what]
    return f"{part} {share:.0%}"


def _row(card: Card) -> dict[str, float]:
    """Return the row of the largest batch."""
    return card.served.row(-1, named=True)


def _devices(card: Card) -> str:
    return f"{card.devices}, {card.layout}" if card.devices > 1 else "1"


def memory_bar(card: Card) -> str:
    """Draw weights, KV cache, activations and free memory of a device in characters."""
    row = _row(card)
    capacity = row["device_usable_bytes"]
    parts = {
        "W": row["weight_bytes"],
        "c": cache_bytes(row),
        "a": row["activation_bytes"] + row["graph_bytes"] + row["runtime_bytes"],
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
    return f"{_gb(row['activation_bytes'])}, {_gb(row['graph_bytes'])}"


def _pool(card: Card) -> str:
    """Tokens of the pool as the log of the serving engine prints them, or what lacks."""
    row = _row(card)
    if row["kv_pool_bytes"] < 0:
        return f"{-row['kv_pool_bytes'] / GIGA:,.1f} GB are missing"
    return f"{row['kv_pool_tokens']:,}"


def _at_once(card: Card) -> str:
    """Requests of the longest length that the pool holds, as the log of vLLM prints them."""
    row = _row(card)
    return f"{max(row['kv_pool_tokens'], 0) / row['request_tokens']:,.2f}x"


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
    tpot = "" if row["tpot_s"] is None else f", {three_digits(row['tpot_s'] * 1000)}"
    mark = " *" if row[MEETS] else "  "
    return f"{row['batch_size']:,}: {three_digits(row['ttft_s'] * 1000)}{tpot}{mark}"


def _percentiles(card: Card, name: str, unit: float) -> str:
    rows = card.requests.filter(pl.col("share").is_in([0.5, 0.95, 0.99]))
    return ", ".join(f"{value * unit:,.3g}" for value in rows[name])


def _throughput(card: Card, model: Model) -> str:
    row = card.answered
    if not row[MEETS]:
        return ""
    rate = row["requests_per_day"] if model.has_vision else row["tokens_per_s"]
    return f"{three_digits(rate)} at batch {row['batch_size']:,}"


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
    """Return a command that shows the first card's answer operator by operator.

    Of requests of many lengths it is that of one with their mean lengths.
    """
    card = fitted.cards[0]
    batch = card.verdict.batch
    words = ["sweepengine explain", f"--model {named}", f"--device {card.device.name}"]
    words += [f"--framework {fitted.options.framework} --serving continuous --batch-size {batch}"]
    if fitted.options.times is not None:
        words.append(f"--times {fitted.options.times}")
    lengths = condensed(fitted.lengths, 1)
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
        words.append(f"--max-num-seqs {int(card.answered['max_sequences'])}")
    return " ".join(words)
