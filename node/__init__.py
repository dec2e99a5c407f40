"""One brand: its programme, its members, its ledger and its part in a redemption."""
