"""meshlab: a service-mesh laboratory and policy workbench.

`Lab` deploys a mesh; `validate` checks documents without one; `schema` describes the columns of the frames.
Everything is imported on first use, so that the small processes of a lab stay small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.lab.session import Lab
    from meshlab.model.documents import validate
    from meshlab.telemetry import schema

__version__ = "0.1.0"
__all__ = ["Lab", "__version__", "schema", "validate"]


def __getattr__(name: str) -> Any:
    if name == "Lab":
        from meshlab.lab.session import Lab

        return Lab
    if name == "validate":
        from meshlab.model.documents import validate

        return validate
    if name == "schema":
        import importlib

        return importlib.import_module("meshlab.telemetry.schema")
    raise AttributeError(f"module 'meshlab' has no attribute {name!r}")
