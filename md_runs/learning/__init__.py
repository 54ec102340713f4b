"""Active learning: explore with a model, label what it does not know, fine-tune it, repeat."""
