"""meshlab: a service-mesh laboratory and policy workbench."""

__version__ = "0.1.0"
