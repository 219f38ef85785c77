"""The numbers that formulas take: tuples of integers, which Numba accepts.

Each number's unit and bounds stand in its annotation; a model file holds the number alone.
"""

from typing import Annotated, Any, NamedTuple

from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.ocr_parts import OcrParts
from sweepengine.formulas.quantities import Channels, No, NoChannels, NoExperts, Quantity, Yes
from sweepengine.formulas.towers import Towers

EAGER = 0
FLASH = 1
ATTENTIONS = ("eager", "flash")
"""Attention implementations; the position in this tuple is their code in the kernel."""
LATENT = ("expanded", "absorbed")
"""How latent attention decodes, likewise."""


class Attention(NamedTuple):
    """Attention of one kind of layers: grouped heads, or latent (`latent` > 0); no heads: none."""

    heads: Annotated[int, Quantity("heads", 0)]
    key_value_heads: Annotated[int, Quantity("heads", 0)]
    key_width: Channels
    """Of one head; latent attention: plain and rotated part together."""
    value_width: Annotated[int, Quantity("channels", 1, "key_width")]
    rotary_width: Annotated[int, Quantity("channels", 0, "key_width")]
    """Rotated part of `key_width`."""
    window: Annotated[int, Quantity("tokens", 0, 0)]
    """How many tokens a query meets at most, its own among them; 0: all."""
    query_rank: NoChannels
    """Of latent attention; 0: queries are projected at once."""
    latent: NoChannels
    """Width of the latent that keys and values expand from; 0: grouped heads."""
    query_norm: Annotated[int, Quantity("weights", 0, 0)]
    """`key_width` for one norm of all heads, `heads*key_width` for a whole one; 0: none."""
    key_norm: Annotated[int, Quantity("weights", 0, 0)]
    input_bias: No
    output_bias: No
    sinks: No
    softcap: No
    output_gate: Annotated[int, Quantity("values a head", 0, 0)]
    """Gates that the input projects to, by which mixed values are multiplied: each, or a head's."""
    index_heads: Annotated[int, Quantity("heads", 0, 0)]
    """Of the indexer that chooses which keys are attended to; 0: none."""
    index_width: NoChannels
    index_keys: Annotated[int, Quantity("keys", 0, 0)]
    """Keys it chooses, or without one those that an earlier layer chose. Counts meet all keys all
    the same, as transformers masks the others."""
    keys_as_values: No
    """Values are what keys are projected to: they have no projection of their own."""
    value_norm: No
    """Values are normed, without weights."""
    query_unit: No
    """Each head's query is normed, without weights."""
    shared_cache: No
    """Values are the keys, rotated part and all: neither projected nor held of their own."""
    output_rank: NoChannels
    """A group of heads is projected to this width first, all groups together to the hidden; 0: no
    groups."""
    output_groups: Annotated[int, Quantity("groups", 0, 0)]
    index_weighted: Yes
    """The indexer adds its heads up by weights that the hidden state is projected to."""
    stride: Annotated[int, Quantity("tokens", 0, 0)]
    """Tokens that one entry stands for, which all later queries meet beside the window; 0: none."""
    series: Annotated[int, Quantity("series", 1, 1)]
    """Values that a token gives to entries: 2 where it adds to its own and to the next."""
    key_unit: No
    """Each head's key is normed, without weights."""
    norm_biases: No
    """Norms of queries and keys have a bias for each weight."""
    gate_bias: No
    """The output gate is projected with a bias."""
    gate_head_bias: No
    """One bias a head is added to its output gates."""
    mixed_norm: No
    """Mixed values of all heads are normed together, before the output projection."""
    difference: No
    """Queries and keys attend twice, each to half of the value heads, and mixed values are
    subtracted (differential attention)."""
    borrowed_cache: No
    """Keys and values are those of an earlier layer: neither projected nor held."""
    crossed: No
    """Keys and values are made of features of images instead of tokens, once a request."""
    unbiased_keys: No
    """Keys have no bias where queries and values have."""
    gates: Annotated[int, Quantity("gates", 0, 0)]
    """Numbers that scale what the branches of the layer add."""
    unquantised: No = 0
    """Matrices of these layers stay as they are, whatever the format of weights."""
    cache_devices: int = 1
    """Devices that the tokens of the KV cache are spread over; a device holds its share."""


class Span(NamedTuple):
    """Which keys a step meets: those of a window (0: all), or an entry each `stride` tokens."""

    window: int
    stride: int
    series: int


class FeedForward(NamedTuple):
    """Feed-forward of one kind of layers: an MLP, and beside it routed experts or none."""

    width: NoChannels
    """Of the MLP that every token takes: dense, or the shared experts; 0: none."""
    experts: NoExperts
    experts_per_token: NoExperts
    expert_width: NoChannels
    experts_held: Annotated[int, Quantity("experts", 0, "experts")]
    """In memory; all of them unless an accounting says otherwise."""
    router_flops: Annotated[int, Quantity("FLOPs a logit", 0, 6)]
    """Softmax 5 and top-k 1; sigmoid 3, its correction 1 and top-k 1; top-k alone 1."""
    shared_gate: No
    bias: No
    matrices: Annotated[int, Quantity("matrices", 2, 3)]
    """3 gated, 2 plain."""
    activation_flops: Annotated[int, Quantity("FLOPs a hidden value", 0, 4)]
    """SwiGLU 4, GeGLU 5, both with the multiplication by the gate; relu squared 2."""
    router_norm: No
    """The router norms what it reads, and scales channels and chosen experts."""
    expert_latent: NoChannels
    """Width that routed experts work in, between a projection down and one up; 0: the hidden."""
    correction: No
    """The bias that corrects scores of experts is a parameter."""
    norms: Annotated[int, Quantity("norms", 0, 0)]
    """Norms of the hidden width that layers of this kind have beside those of all layers."""
    idle_experts: NoExperts
    """Experts that the router may choose and that give back their input; of their weights those of
    gate and up are held."""
    inner_norm: No
    """Hidden values of the MLP are normed."""
    activation_weights: Annotated[int, Quantity("weights", 0, 0)]
    """Weights of the activation itself."""
    image_width: NoChannels
    """Of further experts, which tokens of images take: as many, with their own router; 0: none."""
    unquantised: No = 0
    """The MLP of these layers stays as it is, whatever the format of weights."""
    unquantised_experts: No = 0
    """Likewise its routed experts."""
    expert_devices: int = 1
    """Devices that the experts of a token are spread over; a device does its share."""


GATED_DELTA_NET = 0
MAMBA_2 = 1
MAMBA_1 = 2
SHORT_CONVOLUTION = 3
KIMI_DELTA_ATTENTION = 4
LIGHTNING_ATTENTION = 5
RG_LRU = 6
MIXERS = ("gated delta net", "Mamba-2", "Mamba-1", "short convolution", "Kimi delta attention",
          "lightning attention", "RG-LRU")  # fmt: skip
"""Kinds of recurrent mixers; the position in this tuple is their code in formulas."""


class Recurrent(NamedTuple):
    """A recurrent mixer of one kind of layers, beside attention or instead; no heads: none."""

    heads: Annotated[int, Quantity("heads", 0, 0)]
    """Of the state; Mamba-1, short convolution: channels; RG-LRU: blocks of its gates."""
    key_heads: Annotated[int, Quantity("heads", 0, 0)]
    """Mamba-2: groups; Mamba-1, short convolution, RG-LRU: none."""
    key_width: NoChannels
    """Mamba: the state; short convolution: 0; RG-LRU: 1."""
    value_width: NoChannels
    """Of a head."""
    convolution: Annotated[int, Quantity("taps", 0, 0)]
    chunk: Annotated[int, Quantity("tokens", 0, 0)]
    """Tokens that a pass over many works on at once."""
    kind: Annotated[int, Quantity("", 0, 0, names=MIXERS)]
    rank: NoChannels
    """Mamba-1: of the time step; Kimi delta attention: of its two gates, 0: projected at once."""
    bias: No
    """Projections have biases; a short convolution also its own."""
    inner_norm: Yes
    """Mamba-2: mixed values are normed; Mamba-1: time steps, keys and queries. Others ignore it."""
    state_bytes: Annotated[int, Quantity("bytes a value", 0, 0)] = 0
    """Of the state as serving engines hold it; 0: as wide as other values."""


NO_RECURRENT = Recurrent(**dict.fromkeys(Recurrent._fields, 0))


class Group(NamedTuple):
    """Like layers; a model is a few groups, and their order changes no cost."""

    layers: int
    norms: int
    """Block norms a layer: 2, 4, or 7 where an MLP and experts beside it have their own."""
    attention: Attention
    feed_forward: FeedForward
    recurrent: Recurrent = NO_RECURRENT


class Backbone(NamedTuple):
    """What all layers of a decoder share, and its two ends."""

    hidden: Channels
    vocabulary: Annotated[int, Quantity("tokens")]
    norms: Annotated[int, Quantity("norms a layer", 1, 2)]
    tied: No
    scaled_embedding: No
    logit_softcap: No
    angle_products: No
    """Each layer multiplies matrices for rotary angles, as in DeepSeek-OCR's own code."""
    streams: Annotated[int, Quantity("streams", 0, 0)]
    """Residual streams that hyper-connections mix around each branch; 0: one that is added to."""
    stream_rounds: Annotated[int, Quantity("rounds", 0, 0)]
    """Times that the mixing matrix's rows and columns are scaled to sum to one."""
    norm_weights: Annotated[int, Quantity("weights a channel", 0, 1)]
    """Of block norms and the last norm: 1, with a bias 2, without weights 0."""
    norm_flops: Annotated[int, Quantity("FLOPs a value", 0, 3)]
    """RMSNorm 3, LayerNorm 5; of norms of queries and keys too."""
    final_norm: Yes
    """A norm stands before the head."""
    head_bias: No
    head_layer: No
    """A linear layer of the hidden width, GELU and a norm stand before the head."""
    head_layer_bias: No
    table_norm: No
    """Rows of the token table are normed."""
    table_norm_weights: Annotated[int, Quantity("weights a channel", 0, "norm_weights")]
    """Of that norm."""
    positions: Annotated[int, Quantity("rows", 0, 0)]
    """Of a table of learned positions, which are added to the token's row; 0: none."""
    table_width: NoChannels
    """Of token table and head, where two projections lead to the hidden width; 0: the hidden."""
    more_rows: Annotated[int, Quantity("rows", 0, 0)]
    """Rows of the token table beyond the vocabulary, which the head does not have."""
    input_width: NoChannels
    """Of an input that each layer has for itself, out of a table of its own; 0: none."""
    input_layers: Annotated[int, Quantity("layers", 0, 0)]
    """That have one: a row of the table has `input_layers*input_width` values."""
    input_rows: Annotated[int, Quantity("tokens", 0, 0)]
    """Of that table."""
    alternatives: Annotated[int, Quantity("streams", 0, 0)]
    """Residual streams that AltUp predicts from one another and corrects; 0: one."""
    laurel_rank: NoChannels
    """Of the two matrices that LAuReL has beside attention; 0: none."""
    fused: int = 0
    """1: of a draft, whose layers take a projection of a token's row and a hidden state of the
    model together; table and head are the model's."""
    fused_norms: int = 0
    """Norms of the hidden width before that projection."""


class Convention(NamedTuple):
    """How an accounting takes steps, the KV cache and memory; the released model's is torch's."""

    dtype_bytes: Annotated[int, Quantity("bytes a value")]
    step_attends_itself: Yes
    cache_holds_last_token: Yes
    sums_activations: No
    """Adds activations up over layers instead of taking those alive at once."""


class Counts(NamedTuple):
    """What is counted of each operator, in the order of the tuple of operators it is for."""

    layer: tuple[CountedOperator, ...]
    ends: tuple[CountedOperator, ...]
    blocks: tuple[tuple[CountedOperator, ...], ...]
    """Of each group of blocks of the vision towers."""
    joins: tuple[CountedOperator, ...]
    """Of each join of the vision towers."""


class Places(NamedTuple):
    """Positions of a group's keys and entries among spans, and of its routing; -1: it has none."""

    keys: int
    entries: int
    routing: int


class Architecture(NamedTuple):
    """Every number of a model that the formulas use."""

    backbone: Backbone
    groups: tuple[Group, ...]
    """Folded over in Python; the kernel takes one after the other."""
    towers: Towers | None
    convention: Convention
    counts: Counts
    checkpoint: Checkpoint = Checkpoint()
    drafts: tuple["Architecture", ...] = ()
    """Models that draft for it, beside those that follow from itself (`drafts.draft_of`)."""

    def __hash__(self) -> int:
        """Of the numbers that tell most models apart, as caches look it up for each point."""
        return hash((self.backbone, self.groups[-1], self.convention, len(self.groups)))

    @property
    def vision(self) -> Towers:
        """Its towers, where what asks is about vision alone."""
        assert self.towers is not None, "asked for the vision of a model without"
        return self.towers

    @property
    def ocr(self) -> OcrParts:
        """Sections of DeepSeek-OCR's encoder, where what asks is about these."""
        parts = self.vision.ocr
        assert parts is not None, "asked for the encoder of DeepSeek-OCR of a model without"
        return parts

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """Distinct kinds of attention."""
        return tuple(dict.fromkeys(group.attention for group in self.groups))

    @property
    def spans(self) -> tuple[Span, ...]:
        """Which keys steps meet: of each kind of attention, then those of each that compresses."""
        kinds = self.attentions
        return (
            *(Span(attention.window, 0, 1) for attention in kinds),
            *(Span(0, each.stride, each.series) for each in kinds if each.stride),
        )

    @property
    def places(self) -> tuple[Places, ...]:
        """For each group, where its keys, entries and routing stand."""
        attentions, routings = self.attentions, self.routings
        compressed = [attention for attention in attentions if attention.stride]
        found = []
        for group in self.groups:
            forward, own = group.feed_forward, group.attention
            entries = len(attentions) + compressed.index(own) if own.stride else -1
            routing = (forward.experts, forward.experts_per_token)
            chosen = routings.index(routing) if forward.experts else -1
            found.append(Places(attentions.index(own), entries, chosen))
        return tuple(found)

    def crossed_rows(self, features: Any) -> Any:
        """Rows that cross attention meets: the features, counts or columns; 0 where it has none."""
        return features * any(attention.crossed for attention in self.attentions)

    @property
    def routings(self) -> tuple[tuple[int, int], ...]:
        """Distinct (experts, experts a token) of the MoE layers."""
        routed = [group.feed_forward for group in self.groups if group.feed_forward.experts]
        return tuple(dict.fromkeys((ffn.experts, ffn.experts_per_token) for ffn in routed))
