"""Tables of results as commands: one TOML file a study, what runs it, and its report as tables and as a page.

Imports every room but cli; keras only in the processes that it starts.
"""
