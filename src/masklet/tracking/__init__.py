"""Following objects: memories, the step from frame to frame, and the rules that choose."""
