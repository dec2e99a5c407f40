"""The kernel of Comity: what several organisations must compute identically.

A node and the clearing service import this package and never each other.
"""

__version__ = "0.1.0"
