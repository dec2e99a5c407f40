"""One brand of the network: its programme, its members, its signed points ledger."""
