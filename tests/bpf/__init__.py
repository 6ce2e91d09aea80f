"""The kernel programs against a real kernel: pods of their own, a stand-in for the node's Envoy."""
