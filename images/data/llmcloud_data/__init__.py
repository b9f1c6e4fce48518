"""Dataset preparation: text in a store becomes a tokenizer and packed token shards."""
