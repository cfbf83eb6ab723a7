"""`kcnn doctor`: what works on this machine.

Imports data, models, methods and native, to try them.
"""
