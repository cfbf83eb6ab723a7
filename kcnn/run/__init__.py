"""What a run leaves behind: its directory, log, result, manifest and checkpoints.

Imports machine.
"""
