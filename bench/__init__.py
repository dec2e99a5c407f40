"""How fast Comity is, each figure measured beside a plain baseline on the same machine."""
