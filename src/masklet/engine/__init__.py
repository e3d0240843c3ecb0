"""The loop that makes training data: propose masklets, sort them by gates, review what is doubtful, train."""
