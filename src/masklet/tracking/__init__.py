"""Tracking: memories, the step from frame to frame, and memory policies."""
