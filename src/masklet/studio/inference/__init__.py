"""Inference: the model and its thread, open videos and their decoders, propagations."""
