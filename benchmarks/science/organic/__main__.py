"""`python -m benchmarks.science.organic`."""

from benchmarks.science.organic.command import main

main()
