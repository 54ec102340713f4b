"""Reference data that we compute ourselves: methods, sampling, and runs that can be stopped and go on."""
