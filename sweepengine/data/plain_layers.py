"""Layers of a quantised checkpoint whose matrices stay as wide as other values."""

from collections.abc import Mapping, Sequence

from sweepengine.data.attentions import Mixer
from sweepengine.data.configs import Config


def with_plain_layers(
    plain: Mapping[str, frozenset[int]],
    mixers: Sequence[Mixer],
    ffns: Sequence[str],
    attention: Config,
    feed_forward: Config,
) -> tuple[list[Mixer], list[str]]:
    """Name the parts of such layers apart, and add them to the parts of a model file.

    Parameters
    ----------
    plain : mapping of str to frozenset of int
        Weight role to the layers of which its matrices stay.
    mixers, ffns : sequence of Mixer, of str
        Token mixer and name of the feed-forward of each layer.
    attention, feed_forward : dict
        Parts by name; those of such layers are added.

    Returns
    -------
    tuple of list
        Mixer and name of the feed-forward of each layer.
    """
    stays = plain.get("attention", frozenset())
    named_mixers = [
        mixer._replace(plain=layer in stays and mixer.attends) for layer, mixer in enumerate(mixers)
    ]
    for mixer, before in zip(named_mixers, mixers, strict=True):
        if mixer.plain:
            attention[mixer.name] = attention[before.name] | {"unquantised": True}
    names = []
    for layer, name in enumerate(ffns):
        flags = {
            flag: True
            for role, flag in (("mlp", "unquantised"), ("experts", "unquantised_experts"))
            if layer in plain.get(role, frozenset())
        }
        names.append("-".join((name, *flags)))
        if flags:
            feed_forward[names[-1]] = feed_forward[name] | flags
    return named_mixers, names
