"""Measured runs compared with predictions."""
