"""Masks out, in the forms that people use."""
