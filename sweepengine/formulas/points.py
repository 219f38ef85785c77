"""The input columns: each declared once, in the annotation of its field of `Point`."""

from typing import Annotated, Any, NamedTuple, get_type_hints

from sweepengine.formulas.architecture import ATTENTIONS, LATENT, Architecture
from sweepengine.formulas.cost import formula
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, WEIGHT_FORMATS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speculation import A_TOKEN, DRAFTS
from sweepengine.formulas.speeds import FRAMEWORKS

MOST_DRAFTED = 64
"""Most tokens that a step drafts."""


class Input(NamedTuple):
    """One input column; what is valid is `minimum`..`maximum`, a multiple of `multiple`."""

    unit: str
    meaning: str
    default: int
    """Where an input is missing; the model's own heads stand in for 0, its own formats too."""
    minimum: int
    maximum: int
    multiple: int = 1
    grows: bool = True
    """Whether no cost falls when it grows, all else the same."""
    choices: tuple[str, ...] = ()
    """Names of the values, whose positions are the values; empty: it is a number."""
    workload: bool = True
    """Whether figures of a workload depend on it; if not, columns scale with it."""
    scale: int = 1
    """Its value is held as so many times itself, a whole number; above 1 the column is Float64."""
    needs: str = ""
    """What a model must have to have this input, a key of `NEEDS`; empty: every model has it."""
    timed: bool = True
    """Whether times of passes depend on it."""
    zero: str = ""
    """What 0 stands for, where it is a number above 0 otherwise; the column is null there. Empty:
    0 is a number."""
    name: str = ""

    @property
    def dtype(self) -> str:
        """Type of the column."""
        if self.scale > 1:
            return "Float64"
        return "Enum" if self.choices else "Int32"

    def shown(self, value: int) -> int | float | str:
        """The value that a held number stands for."""
        if self.choices:
            return self.choices[value]
        return value if self.scale == 1 else value / self.scale

    @property
    def without(self) -> int:
        """The value at which a model is as if it had no such input: not split, its own, one."""
        return 1 if self.name == "images" or self.name.endswith("_parallel") else 0

    @property
    def allowed(self) -> str:
        """What is valid, in words."""
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if self.scale > 1:
            most = self.maximum // self.scale
            return f"a number of at most three decimals, 0 ({self.zero})..{most:,}"
        step = f"a multiple of {self.multiple}, " if self.multiple > 1 else "an integer, "
        return f"{step}{self.minimum:,}..{self.maximum:,}"


NEEDS = {
    "vision": "sees images",
    "crops": "takes a global view and tiles",
    "image": "sees images whose size decides their tokens",
    "text": "sees text alone",
    "heads": "has grouped heads of one kind, without norms of their own",
    "latent": "has latent attention",
    "device": "is asked of a device",
}
"""What a model must have for an input, in words."""


class Point(NamedTuple):
    """Input columns of one point; a choice is its position. A model has those that it `needs`."""

    view_size: Annotated[
        int, Input("pixels", "side of the global view", 1024, 64, 4096, 64, needs="crops")
    ]
    tile_size: Annotated[int, Input("pixels", "side of a tile", 640, 64, 4096, 64, needs="crops")]
    crop_rows: Annotated[
        int, Input("tiles", "rows of tiles; 0 without tiles", 0, 0, 1000, needs="crops")
    ]
    crop_cols: Annotated[
        int, Input("tiles", "columns of tiles; 0 without tiles", 0, 0, 1000, needs="crops")
    ]
    text_tokens: Annotated[
        int,
        Input("tokens", "text tokens besides images", 10, 0, 1_000_000, needs="vision"),
    ]
    decode_steps: Annotated[
        int,
        Input("steps", "tokens decoded (K)", 100, 0, 1_000_000, workload=False, timed=False),
    ]
    batch_size: Annotated[
        int, Input("sequences", "sequences per step (B)", 1, 1, 65_536, workload=False)
    ]
    attention_heads: Annotated[
        int, Input("heads", "query heads (Nh)", 0, 1, 65_536, grows=False, needs="heads")
    ]
    key_value_heads: Annotated[
        int, Input("heads", "key-value heads (Nkv)", 0, 1, 65_536, grows=False, needs="heads")
    ]
    attention: Annotated[
        int,
        Input(
            "",
            "attention implementation: eager or flash; times are of fused kernels",
            1,
            0,
            1,
            1,
            False,
            ATTENTIONS,
        ),
    ]
    prompt_tokens: Annotated[
        int, Input("tokens", "tokens of the prompt", 1024, 1, 10_000_000, needs="text")
    ] = 0
    cached_tokens: Annotated[
        int, Input("tokens", "tokens before those, already in the KV cache", 0, 0, 10_000_000)
    ] = 0
    latent: Annotated[
        int,
        Input(
            "",
            "latent attention of decode steps: expanded as transformers runs it, or "
            "absorbed as engines do; times are of absorbed steps",
            1,
            0,
            1,
            1,
            False,
            LATENT,
            needs="latent",
        ),
    ] = 0
    weight_format: Annotated[
        int,
        Input("", "format of linear layers; checkpoint: its own", 0, 0, len(WEIGHT_FORMATS) - 1, 1,
              False, WEIGHT_FORMATS),
    ] = 0  # fmt: skip
    activation_format: Annotated[
        int,
        Input("", "activations that GEMMs take; the checkpoint's own, else bf16", 0, 0,
              len(FORMAT_NAMES) - 1, 1, True, FORMAT_NAMES, False),
    ] = 0  # fmt: skip
    cache_format: Annotated[
        int,
        Input("", "format of the KV cache; the checkpoint's own, else bf16", 0, 0,
              len(CACHE_FORMATS) - 1, 1, False, CACHE_FORMATS),
    ] = 0  # fmt: skip
    tensor_parallel: Annotated[
        int, Input("devices", "devices that share heads and widths", 1, 1, 1024, grows=False)
    ] = 1
    expert_parallel: Annotated[
        int, Input("devices", "devices that share the routed experts", 1, 1, 1024, grows=False)
    ] = 1
    pipeline_parallel: Annotated[
        int, Input("stages", "pipeline stages that share the layers", 1, 1, 1024, grows=False)
    ] = 1
    data_parallel: Annotated[
        int, Input("groups", "tensor groups with sequences of their own", 1, 1, 1024, grows=False)
    ] = 1
    device_tensor_tflops: Annotated[
        int, Input("TFLOP/s", "bf16 tensor peak instead of a device's", 0, 0, 10**9, scale=1000,
                   workload=False,
                   zero="the device's own")
    ] = 0  # fmt: skip
    device_bandwidth_gbs: Annotated[
        int, Input("GB/s", "memory bandwidth instead of a device's", 0, 0, 10**9, scale=1000,
                   workload=False,
                   zero="the device's own")
    ] = 0  # fmt: skip
    device_memory_gb: Annotated[
        int,
        Input(
            "GB",
            "memory instead of a device's",
            0,
            0,
            10**9,
            scale=1000,
            workload=False,
            zero="the device's own",
        ),
    ] = 0
    link_bandwidth_gbs: Annotated[
        int, Input("GB/s", "bandwidth of its links one way instead of a device's", 0, 0, 10**9,
                   scale=1000, workload=False,
                   zero="the device's own")
    ] = 0  # fmt: skip
    device: Annotated[
        int, Input("", "device that runs it, by name or file; with one there are times", 0, 0, 126,
                   choices=("none",), workload=False, needs="device")
    ] = 0  # fmt: skip
    framework: Annotated[
        int, Input("", "serving engine whose kernels run", 0, 0, len(FRAMEWORKS) - 1,
                   choices=FRAMEWORKS, workload=False, needs="device")
    ] = 0  # fmt: skip
    serving: Annotated[
        int, Input("", "one batch after the other, or requests that join a running batch", 1, 0,
                   len(SERVING) - 1, choices=SERVING, workload=False, needs="device")
    ] = 0  # fmt: skip
    image_height: Annotated[
        int, Input("pixels", "height of an image as given; 0: view and crops as stated", 1024, 0,
                   65_536, needs="image")
    ] = 0  # fmt: skip
    image_width: Annotated[
        int, Input("pixels", "width of an image as given; 0: view and crops as stated", 1024, 0,
                   65_536, needs="image")
    ] = 0  # fmt: skip
    images: Annotated[
        int, Input("images", "images of a request, all of one size", 1, 0, 1000, needs="vision")
    ] = 1
    shared_tokens: Annotated[
        int, Input("tokens", "first tokens of the prompt that all requests share, cached once a "
                   "replica", 0, 0, 10_000_000, grows=False)
    ] = 0  # fmt: skip
    max_sequences: Annotated[
        int, Input("sequences", "most sequences that the serving engine runs at once; 0: its "
                   "default for the device", 0, 0, 65_536, workload=False, needs="device",
                   timed=False,
                   zero="the serving engine's default")
    ] = 0  # fmt: skip
    chunk_tokens: Annotated[
        int, Input("tokens", "most tokens of one pass of the serving engine; 0: its default for "
                   "the device", 0, 0, 10_000_000, workload=False, needs="device",
                   zero="the serving engine's default")
    ] = 0  # fmt: skip
    memory_share: Annotated[
        int, Input("", "share of the memory that the serving engine takes; 0: its default", 0, 0,
                   1000, scale=1000, workload=False, needs="device", timed=False,
                   zero="the serving engine's default")
    ] = 0  # fmt: skip
    framework_version: Annotated[
        int, Input("", "version of the serving engine, which decides its memory", 0, 0, 126,
                   choices=("newest",), workload=False, needs="device", timed=False)
    ] = 0  # fmt: skip
    decode_context_parallel: Annotated[
        int,
        Input("devices", "devices of a tensor group that share the tokens of its KV cache", 1, 1,
              1024, grows=False),
    ] = 1  # fmt: skip
    draft_tokens: Annotated[
        int, Input("tokens", "tokens drafted a step (speculative decoding); 0: none", 0, 0,
                   MOST_DRAFTED, grows=False)
    ] = 0  # fmt: skip
    accepted_tokens: Annotated[
        int, Input("tokens", "tokens that a step yields on average, of those verified", 0, 0,
                   (1 + MOST_DRAFTED) * A_TOKEN, scale=A_TOKEN, grows=False,
                   zero="1 + half of draft_tokens")
    ] = 0  # fmt: skip
    draft: Annotated[
        int, Input("", "what drafts tokens: the model's own MTP layer, an EAGLE head, or a model "
                   "by name or file", 0, 0, 126, choices=DRAFTS, grows=False)
    ] = 0  # fmt: skip


class Tokens(NamedTuple):
    """Tokens of a point, counts or columns of them."""

    image: int
    """Of its images, in the context."""
    features: int
    """Rows of its images that enter the decoder."""
    context: int
    """All that a first decode step finds: cached, image and text."""
    prefill: int
    """That prefill runs over."""
    cached: int
    """Before those, in the KV cache already."""


@formula
def tokens_of(case: Point, image: int, features: int) -> Tokens:
    """Tokens of a point: counts, or a column each.

    Tokens that all requests share are cached already, by the first of them.

    Parameters
    ----------
    case : Point
        Inputs.
    image, features : int
        Tokens and features of each of its images.
    """
    text = case.text_tokens + case.prompt_tokens
    seen = case.images * image
    return Tokens(
        image=seen,
        features=case.images * features,
        context=seen + text + case.cached_tokens,
        prefill=seen + text - case.shared_tokens,
        cached=case.cached_tokens + case.shared_tokens,
    )


def rows_of_images(arch: Architecture, tokens: Any, features: Any) -> Any:
    """Rows of images that layers tell from text, counts or columns of them; 0 where none does.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    tokens : int or array of int
        Of images in the prompt, which experts of their own may take.
    features : int or array of int
        Of images, which cross attention may meet.
    """
    chosen = any(group.feed_forward.image_width for group in arch.groups)
    return arch.crossed_rows(features) + tokens * chosen


INPUTS = {
    name: hint.__metadata__[0]._replace(name=name)
    for name, hint in get_type_hints(Point, include_extras=True).items()
}
"""Input column to its declaration, in the order of `Point`."""
INPUT_NAMES = tuple(INPUTS)
TIMED_COLUMNS = tuple(name for name, column in INPUTS.items() if column.timed)
"""Inputs that decide how long a prefill and a step take."""
WORKLOAD_COLUMNS = tuple(name for name, column in INPUTS.items() if column.workload)
"""Inputs that make a workload."""
CROP_COLUMNS = ("view_size", "tile_size", "crop_rows", "crop_cols")
SIZE_COLUMNS = ("image_height", "image_width")
DRAFT_COLUMNS = ("draft_tokens", "accepted_tokens", "draft")
IMAGE_COLUMNS = (*CROP_COLUMNS, *SIZE_COLUMNS)
"""Inputs that decide what each image of a point becomes."""
