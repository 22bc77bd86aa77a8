"""Conversations that drift: held, replayed, measured, and what moved them."""
