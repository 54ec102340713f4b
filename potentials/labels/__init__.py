"""Reference data that we compute ourselves.

Methods, sampling, and runs that can be stopped and go on.
"""
