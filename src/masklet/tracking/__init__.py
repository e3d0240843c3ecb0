"""Objects from frame to frame.

`bank.py` stores an object's memories, `policies/` decide which are stored and selected, `step.py` tracks
objects to one frame, and `multi_hypothesis.py` tracks by several hypotheses at once.
"""
