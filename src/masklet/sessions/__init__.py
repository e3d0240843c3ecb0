"""What a person holds on to: a picture pointed at, a stream being followed, a stored video being edited."""
