"""What two brands agree, and what any party must compute from it identically.

Everything here is arithmetic and checks over plain messages: no storage, no clock, no peers.
"""
