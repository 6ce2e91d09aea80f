"""The parts of the sidecarless plane that need no kernel."""
