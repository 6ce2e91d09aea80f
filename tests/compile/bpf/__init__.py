"""What a node's kernel is told."""
