"""This machine: files, backend, device, child processes, the graphics card.

Imports errors only.
"""
