"""Our stages and datatrove's over the same documents, on the same core, in turns."""
