"""Sessions: a picture, a stream or a stored video, and a person who says which objects are meant.

Read `image.py`, for pictures, and `tracker.py`, for streams, first: each stands alone. A stored video takes
four files: `events.py` has what was done, `object_state.py` what that comes to, `memory_store.py` what the
network made of it and for which events that holds, and `video.py` runs the network. `answer.py` answers one
prompt on a frame, for streams and stored videos alike.
"""
