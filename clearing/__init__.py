"""The operator: who takes part, what was decided, who owes whom."""
