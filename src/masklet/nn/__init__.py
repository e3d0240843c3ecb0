"""The network's modules. They keep no state between calls, and know nothing of files, prompts, objects or time."""
