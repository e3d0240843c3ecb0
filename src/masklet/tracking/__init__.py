"""Objects from frame to frame.

`bank.py` has an object's memories, `policies/` says which of them are stored and selected, `step.py` tracks
objects to one frame, and `multi_hypothesis.py` does so along several paths at once.
"""
