"""A picture that is prompted, a stream that is tracked, a stored video that is edited."""
