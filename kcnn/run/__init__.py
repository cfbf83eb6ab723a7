"""What a run leaves behind: its directory, log, manifest and checkpoints.

Imports machine.
"""
