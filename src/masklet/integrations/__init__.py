"""masklet inside other tools. A file for each tool; the tool is imported when its file is."""
