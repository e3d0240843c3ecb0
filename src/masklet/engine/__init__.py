"""The loop that makes training data: propose masklets, sort them by gates, review the doubtful ones,
train."""
