"""Where a model says that the electrons are, and how they answer to a field."""
