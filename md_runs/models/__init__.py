"""What models are like: errors against references, what their encodings learned."""
