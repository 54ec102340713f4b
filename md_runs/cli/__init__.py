"""The ``polcalc`` command.

A command is three things: a line of `app.COMMANDS`; a file here that declares its options, marked
with `commands.does`; and a function with the same parameters in a room of `md_runs` that does the
work and that Python users call as well. Files here import nothing that takes long.
"""
