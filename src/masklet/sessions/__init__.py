"""Sessions: a picture, a stream or a stored video, and a person who says which objects are meant.

Read `image.py`, for pictures, and `tracker.py`, for streams, first: each stands alone. `answer.py` answers
one prompt on a frame, for streams and stored videos alike. For a stored video, `events.py` has what was done,
`object_state.py` what that comes to, and `memory_store.py` what the network made of it, and for which events
that holds; `propagation.py` tracks, and `video.py` is what a person uses.
"""
