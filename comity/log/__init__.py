"""An organisation's append-only Merkle log: RFC 6962 trees and the C2SP transparency formats.

Every module is pure: bytes in, bytes out, no files, no network, no clock.
"""
