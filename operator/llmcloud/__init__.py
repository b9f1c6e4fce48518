"""llmcloud: from raw text in a bucket to an autoscaled, OpenAI-compatible endpoint."""
