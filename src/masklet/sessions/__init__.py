"""Sessions: objects that a user prompts in an image, a stream or a stored video.

Read `image.py`, for images, and `tracker.py`, for streams, first: they are independent. `answer.py` answers
one prompt on a frame, for streams and stored videos. For a stored video, `events.py` defines the events,
`object_state.py` computes the state from them, and `memory_store.py` stores the network's results and the
events for which they are valid; `propagation.py` tracks, and `video.py` has the session that a user calls.
"""
