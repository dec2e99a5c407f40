"""A member's wallet: several brands, one view; a mandate is signed here and nowhere else.

`wallet` is what a program uses. A key is made for each brand and never shown to another one, so
no two brands can tell that two of their members are the same person. Whatever must survive a
crash is on disk before it is sent.
"""
