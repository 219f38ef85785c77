"""Manifests of datasets as tests read and change them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from sweepengine.store.manifest import KEY, MANIFEST


def text_of(content):
    """The JSON in the bytes of a manifest."""
    return pq.read_metadata(pa.BufferReader(content)).metadata[KEY].decode()


def with_text(content, text):
    """The bytes of a manifest with another text, or other bytes, as its JSON."""
    schema = pq.read_schema(pa.BufferReader(content))
    raw = text if isinstance(text, bytes) else text.encode()
    changed = schema.with_metadata({**schema.metadata, KEY: raw})
    out = pa.BufferOutputStream()
    pq.write_table(changed.empty_table(), out)
    return out.getvalue().to_pybytes()


def facts_of(folder):
    """The manifest of the dataset in a folder."""
    return json.loads(text_of((folder / MANIFEST).read_bytes()))


def write_facts(folder, facts):
    """Replace the manifest of the dataset in a folder."""
    path = folder / MANIFEST
    path.write_bytes(with_text(path.read_bytes(), json.dumps(facts)))


def change(folder, **facts):
    """Change facts of the manifest of the dataset in a folder."""
    write_facts(folder, facts_of(folder) | facts)
