"""Verification by anyone, with the kernel alone: logs, databases, servers, receipts, settlements.

Every function returns a `Report`, plain data with one row for each thing that was checked; none
of them changes anything, and none of them trusts a figure which it can recompute.
"""
