"""Where a node comes from in the user's model."""

import ast

import onnx_ir as ir

SCOPES = "pkg.torch.onnx.name_scopes"
CLASSES = "pkg.torch.onnx.class_hierarchy"


def module_of(node: ir.Node) -> str:
    """The path and class of the module that `node` was traced from: "layer1.0.conv1 (torch...Conv2d)"."""
    if SCOPES not in node.metadata_props:
        return "(unknown)"
    scopes = ast.literal_eval(node.metadata_props[SCOPES])[:-1]
    classes = ast.literal_eval(node.metadata_props.get(CLASSES, "[]"))[:-1]
    path = scopes[-1] if scopes and scopes[-1] else "(the model itself)"
    return f"{path} ({classes[-1]})" if classes else path
