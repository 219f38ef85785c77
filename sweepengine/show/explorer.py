"""One interactive page, a marimo app: `sweepengine explore` opens it. Needs the extra `explore`."""

import marimo

app = marimo.App(width="medium", app_title="sweepengine")


@app.cell
def _():
    import altair as alt
    import marimo as mo
    import polars as pl

    import sweepengine as se
    from sweepengine import metrics
    from sweepengine.data.files import known
    from sweepengine.data.speeds import basis, place_of
    from sweepengine.formulas.formats import CACHES, FORMATS, NAMES
    from sweepengine.formulas.serving import SERVING
    from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
    from sweepengine.grid.points import format_problem, layout_problem, stages_of
    from sweepengine.grid.served import read_layout, read_precision

    codes = (FORMATS, NAMES, CACHES)
    return (
        FRAMEWORKS,
        SERVING,
        TIMES,
        alt,
        basis,
        codes,
        format_problem,
        known,
        layout_problem,
        metrics,
        mo,
        pl,
        place_of,
        read_layout,
        read_precision,
        se,
        stages_of,
    )


@app.cell
def _(FRAMEWORKS, SERVING, TIMES, known, mo):
    framework = mo.ui.dropdown(list(FRAMEWORKS), FRAMEWORKS[0], label="framework")
    serving = mo.ui.dropdown(list(SERVING), SERVING[0], label="serving")
    times = mo.ui.dropdown(list(TIMES), TIMES[0], label="times")
    return framework, serving, times


@app.cell
def _(known, mo):
    device = mo.ui.dropdown(list(known("devices")), "h100-sxm", label="device")
    model = mo.ui.dropdown(list(known("models")), "deepseek-ocr-3b", label="model")
    steps = mo.ui.slider(100, 8000, 100, 1000, label="decode steps (K)", show_value=True)
    batch = mo.ui.slider(steps=[1, 2, 4, 8, 16, 32, 64, 128, 256], value=8,
                         label="batch size (B)", show_value=True)  # fmt: skip
    attention = mo.ui.dropdown(["flash", "eager"], "flash", label="attention")
    return attention, batch, device, model, steps


@app.cell
def _(model, se):
    loaded = se.load_model(model.value)
    return (loaded,)


@app.cell
def _(format_problem, layout_problem, loaded, mo, read_layout, read_precision):
    # Layouts and formats that this model may have.
    _layouts = [
        "tp1", "tp2", "tp4", "tp8", "tp16", "tp2-pp2", "tp8-pp2", "dp2", "dp8", "tp8-ep8", "ep8",
        "ep16", "ep32", "dp8-ep64",
    ]  # fmt: skip
    _precisions = [
        "checkpoint", "checkpoint-kv8", "bf16", "fp8", "fp8-kv8", "int8", "w4a16", "mxfp4",
        "nvfp4", "nvfp4-kv8",
    ]  # fmt: skip
    layout = mo.ui.dropdown(
        [one for one in _layouts if not layout_problem(loaded, read_layout(one))],
        "tp1",
        label="layout",
    )
    precision = mo.ui.dropdown(
        [
            one
            for one in _precisions
            if not format_problem(loaded, read_precision(loaded.architecture, one)[0])
        ],
        "checkpoint",
        label="precision",
    )
    return layout, precision


@app.cell
def _(loaded, mo):
    # Controls of what this model has: an image or a prompt, heads that may be regrouped.
    crops = mo.ui.dropdown(
        ["none", "1x2", "2x2", "2x3", "3x3", "3x4", "4x4", "4x5", "5x5"], "2x3", label="crops"
    )
    prompt = mo.ui.slider(steps=[2**power for power in range(5, 18)], value=1024,
                          label="prompt tokens", show_value=True)  # fmt: skip
    _own, _kv_heads = loaded.heads
    _options = [f"{_own}/{kv}" for kv in range(_own, 0, -1) if _own % kv == 0] or ["own"]
    heads = mo.ui.dropdown(
        _options, f"{_own}/{_kv_heads}" if _own else "own", label="heads / KV heads"
    )
    return crops, heads, prompt


@app.cell
def _(
    attention,
    batch,
    crops,
    device,
    framework,
    heads,
    layout,
    loaded,
    mo,
    model,
    precision,
    prompt,
    serving,
    steps,
    times,
):
    asked = crops if loaded.has_vision else prompt
    shown = [asked, heads] if loaded.has["heads"] else [asked]
    mo.vstack(
        [
            mo.md("# What will it cost?"),
            mo.hstack([model, device, *shown, attention], justify="start"),
            mo.hstack([layout, precision, steps, batch], justify="start"),
            mo.hstack([framework, serving, times], justify="start"),
        ]
    )


@app.cell
def _(
    attention,
    batch,
    codes,
    crops,
    device,
    framework,
    heads,
    layout,
    loaded,
    model,
    pl,
    place_of,
    precision,
    prompt,
    read_layout,
    read_precision,
    se,
    serving,
    steps,
    times,
):
    inputs = {"decode_steps": steps.value, "attention": attention.value}
    for _kind, _size in read_layout(layout.value)._asdict().items():
        inputs[f"{_kind}_parallel"] = _size
    for _column, _names, _code in zip(
        ("weight_format", "activation_format", "cache_format"),
        codes,
        read_precision(loaded.architecture, precision.value),
        strict=True,
    ):
        inputs[_column] = _names[_code]
    if loaded.has_vision:
        rows, cols = (0, 0) if crops.value == "none" else map(int, crops.value.split("x"))
        inputs |= {"crop_rows": rows, "crop_cols": cols}
    else:
        inputs["prompt_tokens"] = prompt.value
    if loaded.has["heads"]:
        query_heads, kv_heads_chosen = map(int, heads.value.split("/"))
        inputs |= {"attention_heads": query_heads, "key_value_heads": kv_heads_chosen}
    card = se.load_device(device.value)
    # Silicon where the device has rates.
    place = place_of(card, framework.value, "roofline" if times.value == "roofline" else None)
    inputs |= {"device": device.value, "framework": framework.value, "serving": serving.value}
    batches = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, batch.value})
    points = se.evaluate(
        pl.DataFrame({"batch_size": batches}).with_columns(
            **{name: pl.lit(value) for name, value in inputs.items()}
        ),
        model.value,
        place.times,
    )
    return card, place, points


@app.cell
def _(batch, card, loaded, metrics, pl, points, stages_of):
    stages = stages_of(loaded)
    figures = points.filter(pl.col("batch_size") == batch.value).select(
        ttft_s="ttft_seconds",
        tpot_ms=pl.col("tpot_seconds") * 1000,
        device_tokens_per_s=pl.col("batch_size")
        * pl.col("decode_steps")
        / (pl.col("ttft_seconds") + pl.col("decode_seconds"))
        / pl.col("devices"),
        memory_gb=metrics.memory_needed_bytes(stages) / 1e9,
        largest_batch=metrics.largest_batch(card, stages),
        decode_bound=metrics.bound(card, "decode"),
    )
    figures = figures.row(0, named=True)
    return figures, stages


@app.cell
def _(basis, card, figures, loaded, mo, place, serving):
    fits = figures["memory_gb"] * 1e9 <= card.memory_bytes
    _stats = mo.hstack(
        [
            mo.stat(f"{figures['ttft_s'] * 1000:,.4g} ms", label="TTFT"),
            mo.stat(f"{figures['tpot_ms']:,.4g} ms", label="TPOT"),
            mo.stat(f"{figures['device_tokens_per_s']:,.0f}", label="tokens/s/device"),
            mo.stat(f"{figures['memory_gb']:,.1f} GB", label="memory" if fits else "does not fit"),
            mo.stat(f"{figures['largest_batch']:,}", label="largest batch that fits"),
            mo.stat(figures["decode_bound"], label="decode is bound by"),
        ]
    )
    said = basis(loaded.architecture, place, serving.value == "continuous")
    mo.vstack([_stats, mo.md(said)])
    return (said,)


@app.cell
def _(batch, mo, pl, points, stages):
    chosen = points.filter(pl.col("batch_size") == batch.value).row(0, named=True)
    costs = [
        {
            "stage": stage,
            "tensor TFLOP": chosen[f"{stage}_tensor_flops"] / 1e12,
            "CUDA TFLOP": chosen[f"{stage}_cuda_flops"] / 1e12,
            "activation GB": chosen[f"{stage}_activation_io_bytes"] / 1e9,
            "weight GB": chosen[f"{stage}_weight_io_bytes"] / 1e9,
            "KV GB": chosen[f"{stage}_kv_io_bytes"] / 1e9,
            "link GB": chosen[f"{stage}_link_bytes"] / 1e9,
        }
        for stage in stages
    ]
    formats = dict.fromkeys(list(costs[0])[1:], "{:,.4g}")
    mo.ui.table(costs, selection=None, format_mapping=formats)


@app.cell
def _(alt, card, pl, points):
    drawn = points.select("batch_size", tpot_ms=pl.col("tpot_seconds") * 1000)
    alt.Chart(drawn).mark_line(point=True).encode(
        x=alt.X("batch_size:Q", scale=alt.Scale(type="log", base=2), title="batch size (B)"),
        y=alt.Y("tpot_ms:Q", title="TPOT, ms"),
    ).properties(width=640, height=260, title=f"TPOT on {card.name} against the batch")


@app.cell
def _(mo):
    ttft = mo.ui.slider(steps=[0.1, 0.2, 0.5, 1, 2, 5, 10], value=2, label="TTFT, s",
                        show_value=True)  # fmt: skip
    tpot = mo.ui.slider(steps=[5, 10, 20, 30, 50, 100, 200], value=50, label="TPOT, ms",
                        show_value=True)  # fmt: skip
    mo.vstack([mo.md("## What stops it"), mo.hstack([ttft, tpot], justify="start")])
    return tpot, ttft


@app.cell
def _(
    crops,
    device,
    framework,
    layout,
    loaded,
    model,
    place,
    precision,
    steps,
    tpot,
    ttft,
):
    from sweepengine.answers.limits_map import Asked, find_maps
    from sweepengine.answers.objectives import Objectives
    from sweepengine.grid.lengths import lengths_of
    from sweepengine.show.map_chart import maps_chart

    # A map of so few points needs no compiler.
    _asked = Asked(
        Objectives(ttft.value, tpot.value / 1000), cells=2500, layout=layout.value,
        precision=precision.value, framework=framework.value, times=place.times,
    )  # fmt: skip
    _request = {"crops": [crops.value]} if loaded.has_vision else {"answer": [steps.value]}
    maps = find_maps(model.value, [device.value], lengths_of("explore", loaded, _request), _asked)
    maps_chart(maps)
    return (maps,)


if __name__ == "__main__":
    app.run()
