"""The model as it was trained: nothing adapts (the row "Source" of every paper)."""

from toolchain.methods.declaration import Method

NONE = (Method(name="source", source="the model as it was trained", train="none", statistics="running"),)
