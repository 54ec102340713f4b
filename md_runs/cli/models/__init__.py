"""Commands on models: train, judge, look into them."""
